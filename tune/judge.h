// Private to tune/: whole plans, timed end to end.
#ifndef TMAC_TUNE_JUDGE_H
#define TMAC_TUNE_JUDGE_H

#include "tune/session.h"

typedef struct tmac_named_plan {
    char name[32];
    tmac_plan plan;
} tmac_named_plan;

// The plans worth timing, each once: "measured", what the database makes of its trials; "joint", with the layouts that
// another number of threads runs with (options->with_threads); "rule", what runs untuned;
// "workload", the fastest for the decode to prefill ratio that was asked for; "runner-up", where the second-best layout
// of the closest decision takes its place. plans has room for TMAC_TUNE_PLANS.
tmac_status tmac_plans_to_judge(const tmac_tuning *t, tmac_named_plan *plans, uint32_t *count);

#define TMAC_PLAN_JOINT "joint"

// Times these plans on the model for about `seconds`, stores which was fastest (tmac_db_put_judgement), and fills in the
// report. Plans that time or memory do not allow are left out, the last ones first; with less than two nothing is done.
tmac_status tmac_judge_plans(tmac_tuning *t, double seconds);

// Waits for a child that measures, no longer than until `last`; returns the processors that others used meanwhile.
double tmac_wait_for_child(tmac_sentinel *sentinel, pid_t child, uint64_t last);

// Times the head of one token, screened with each width that there is, on the model, within about `seconds`, stores which
// was fastest (tmac_db_put_screening), and fills in the report. Nothing is done where a head is too small to matter.
tmac_status tmac_screen_widths(tmac_tuning *t, double seconds);

#endif

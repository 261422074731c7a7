// Search strategies compared on paper: a tuning session whose samples are drawn from stored measurements and whose clock
// counts what they would have taken. The strategies are the tuner's own code; only the stopwatch is made up.
#ifndef TMAC_TUNE_REPLAY_H
#define TMAC_TUNE_REPLAY_H

#include <stdio.h>

#include "tune/measurer.h"

typedef struct tmac_replay_line {
    tmac_rigor rigor;
    uint32_t trials; // kernels timed to an end
    uint64_t samples;
    double seconds; // that the session would have taken, without the gate
    double
        loss; // time of the workload over that of the best plan, less one: the median over the repetitions
    double loss_worst;
    double spread; // largest over smallest time of the workload, less one
} tmac_replay_line;

// Replays `db` on this host for each rigor, `repetitions` times with seeds from options->seed on. lines has room for
// TMAC_RIGORS. TMAC_NOT_FOUND when the database has no measurements of the work on this host with these threads.
tmac_status tmac_replay_all(const char *db, const tmac_work *work, const tmac_tune_options *options,
                            uint32_t repetitions, tmac_replay_line *lines, uint32_t *count);

void tmac_replay_print(const tmac_work *work, const tmac_replay_line *lines, uint32_t count,
                       FILE *stream);

// For a session: the clock, the database, and a competition.
uint64_t tmac_replay_now(const tmac_replay *replay);
tmac_db *tmac_replay_db(const tmac_replay *replay);
tmac_status tmac_replay_run(tmac_replay *replay, const tmac_kernel *const *candidates,
                            const tmac_job *job, const tmac_job_events *events);

#endif

// Private to tune/: a tuning session, shared by its parts: which kernels (candidates.c), which problems and for how long
// (problems.c), the frame (tune.c).
#ifndef TMAC_TUNE_SESSION_H
#define TMAC_TUNE_SESSION_H

#include "base/progress.h"
#include "tune/measurer.h"
#include "tune/noise.h"
#include "tune/tune.h"

typedef struct tmac_tuning {
    const tmac_work *work;
    const tmac_tune_options *options;
    tmac_tune_report *report;
    tmac_rigor rigor;
    tmac_host host;
    tmac_isa_set isa;
    uint32_t threads;
    double bucket_share[TMAC_BUCKETS]; // of a token's time, by the workload
    tmac_random random;
    const tmac_kernel **candidates; // that passed the gate
    size_t candidate_count;
    size_t candidate_room;
    bool *out;       // candidates that failed while being measured
    bool *rematch;   // candidates that are measured although the database has a trial of them
    tmac_plan seeds; // what the database says of this host, or of the nearest one it knows
    tmac_plan
        joint; // that of options->with_threads, whose layouts this number of threads might share; no entries: none
    tmac_db *db;
    tmac_measurer measurer;
    tmac_sentinel sentinel;
    tmac_db_name host_name, problem_name;
    uint32_t set, bucket; // being measured
    uint64_t problem_started;
    bool problem_noisy;
    uint64_t started, deadline, ticked;
    double share_left; // of the problems not yet done
    tmac_progress progress;
    uint32_t *noise; // thousandths, one a trial
    uint32_t noise_room;
} tmac_tuning;

// What each rigor spends.
typedef struct tmac_spending {
    double seconds;   // of the session
    double judging;   // of these, on whole plans
    double compiling; // of these, on kernels compiled for the hottest problems
    uint32_t compiled_problems, compiled_kernels; // so many problems, so many kernels of each
    uint64_t sample_ns;                           // one sample at N = 1
    uint32_t rounds_min, rounds_max;
    uint32_t prefill_layouts; // that enter the larger buckets, besides the incumbent's
    double drop_ratio;
    bool halve, prune;
} tmac_spending;
const tmac_spending *tmac_spending_of(tmac_rigor rigor);

uint64_t tmac_tuning_now(const tmac_tuning *t); // the replay's clock, where there is one

// t->db, which is NULL before and after: the session's database, or the one in memory that a replay brings along.
tmac_status tmac_tuning_open(tmac_tuning *t, tmac_db_mode mode);
void tmac_tuning_close(tmac_tuning *t);

// ------------------------------------------------------------------------------------------------------- candidates

// The kernels that are to be proved: of the host's instruction sets, asked for, and in a layout that holds some set.
size_t tmac_select_candidates(const tmac_tuning *t, const tmac_kernel **chosen);

// Whether a kernel is a candidate, and has not failed while being measured.
bool tmac_takes_part(const tmac_tuning *t, const tmac_kernel *kernel);

// Fills t->candidates with those that pass, and results[i] for every kernel of `all`. known[i]: it failed before.
tmac_status tmac_pass_gate(tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                           tmac_gate_result *results, bool *known);

// The same for a kernel that is made while the session runs: it becomes a candidate when it passes.
tmac_status tmac_pass_gate_late(tmac_tuning *t, const tmac_kernel *kernel,
                                tmac_gate_result *result);

// Stores the failures, as trials of every set at N = 1, where lookups will meet them.
tmac_status tmac_record_failures(tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                                 const tmac_gate_result *results, const bool *known);

// One failure at the current problem.
tmac_status tmac_record_failure(tmac_tuning *t, const tmac_kernel *kernel,
                                const tmac_gate_result *result);

// Numbers of the candidates that enter a problem: the sentinel, where it is a candidate, first, then seeds. `contenders`
// has room for all candidates.
tmac_status tmac_contenders_of(const tmac_tuning *t, uint32_t set, uint32_t bucket,
                               uint16_t *contenders, uint32_t *count, bool *sentinel);

// Whether registers and caches rule a kernel out: another of its family and instruction set moves far less.
bool tmac_hopeless(const tmac_tuning *t, const tmac_input_set *set, uint32_t bucket,
                   const tmac_kernel *kernel);

// --------------------------------------------------------------------------------------------------------- problems

double tmac_problem_share(const tmac_tuning *t, uint32_t set, uint32_t bucket);

// Takes out who has a trial that serves; the sentinel stays while anybody else is to be measured.
tmac_status tmac_take_out_measured(const tmac_tuning *t, uint32_t set, uint32_t bucket,
                                   uint16_t *contenders, uint32_t *count, bool *sentinel,
                                   uint32_t *reused);

// Measures all problems until they are decided or time is up.
tmac_status tmac_measure_all(tmac_tuning *t);

// ------------------------------------------------------------------------------------------- kernels for these shapes

// Compiles the fastest kernels of the problems that a token spends most time in for their shapes, and measures them
// against those until `deadline`. Without a compiler it says so in the report and does nothing.
tmac_status tmac_measure_specialised(tmac_tuning *t);

// One competition, by itself.
tmac_status tmac_measure_problem(tmac_tuning *t, uint32_t set, uint32_t bucket, double of,
                                 uint16_t *contenders);

#endif

// Private to tune/: the measuring process, and the watchdog over it.
//
// Kernels are timed in a child that owns the thread pool and the working set. The parent, which owns the database and
// no threads, sends it one job at a time, a competition of some candidates at one problem, and gets each result as it
// is finished. Memory shared between both holds the candidate that runs and a count of passes. When the child dies, or
// the count stands still too long, the candidate named there is the cause: the parent learns which one and how, kills
// the child, and may start another. A database must not be open meanwhile: no handle crosses a fork.
#ifndef TMAC_TUNE_MEASURER_H
#define TMAC_TUNE_MEASURER_H

#include <sys/types.h>

#include "tune/measure.h"
#include "tune/tune.h"

enum { TMAC_JOB_CONTENDERS = 2048 };

typedef struct tmac_measurer {
    const tmac_work *work;
    const tmac_host *host;
    const tmac_kernel *const *candidates; // as they were when the child was started
    uint32_t threads;
    const tmac_cpu_list *cpus; // NULL: threads are tied to none
    uint32_t patience_ms;      // without a pass before a kernel counts as hanging
    pid_t child;               // 0: none
    int socket;
    struct tmac_shared *shared;
} tmac_measurer;

// A competition. The first contender may be a sentinel, who stays to the end.
typedef struct tmac_job {
    uint32_t set, bucket;
    bool sentinel;
    bool halve;
    double drop_ratio;
    uint32_t rounds_min, rounds_max;
    uint64_t sample_ns, deadline_ns, time_up_ns, seed;
    uint32_t count;
    uint16_t contenders[TMAC_JOB_CONTENDERS]; // numbers of candidates
} tmac_job;

typedef struct tmac_finished {
    uint32_t candidate, passes, count;
    uint64_t samples[TMAC_SAMPLES_MAX];
} tmac_finished;

// How a child ended. candidate UINT32_MAX: between candidates.
typedef struct tmac_loss {
    bool lost;
    uint32_t candidate;
    tmac_gate_result result;
} tmac_loss;

typedef struct tmac_job_events {
    tmac_status (*finished)(void *context, const tmac_finished *finished);
    void (*tick)(void *context); // twenty times a second
    void *context;
} tmac_job_events;

// The production pool: tied to `cpus`, where given, before it touches memory, which lies near who writes it first.
tmac_status tmac_measurer_pool(uint32_t threads, const tmac_cpu_list *cpus, tmac_pool **pool);

// Starts the child. No threads and no database handle may exist in this process.
tmac_status tmac_measurer_start(tmac_measurer *measurer);
void tmac_measurer_stop(tmac_measurer *measurer); // harmless on a zeroed struct

// Bytes per second that the pool's threads read together from memory no cache holds; 0 when it cannot tell.
tmac_status tmac_measurer_bandwidth(tmac_measurer *measurer, uint64_t *bandwidth);

// Runs a job to its end. When loss->lost the child is gone and the job is not finished: what it had finished was handed
// out. An error of `finished` ends the job, and the child.
tmac_status tmac_measurer_run(tmac_measurer *measurer, const tmac_job *job,
                              const tmac_job_events *events, tmac_loss *loss);

#endif

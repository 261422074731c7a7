// A pool of worker threads that runs one function on all of them and waits: a phase.
//
// Workers spin for a short while after a phase and then sleep, so that a token's hundreds of phases cost a fraction of
// a microsecond each while an idle program costs nothing. The calling thread is worker 0. A pool is an object: several
// models can share one, but only one thread at a time may run phases on it.
#ifndef TMAC_BASE_POOL_H
#define TMAC_BASE_POOL_H

#include <stdint.h>

#include "base/status.h"

typedef struct tmac_pool tmac_pool;

// The body of a phase, run once on each worker: worker in [0, workers).
typedef void (*tmac_phase)(void *argument, uint32_t worker, uint32_t workers);

enum { TMAC_POOL_MAX = 1024 };

// threads in [1, TMAC_POOL_MAX]; 1 makes a pool that runs everything on the caller. The caller frees it.
tmac_status tmac_pool_new(uint32_t threads, tmac_pool **pool);
void tmac_pool_free(tmac_pool *pool); // joins the workers; NULL is harmless

// Ties worker i, the caller among them, to processor cpus[i % count] for good. TMAC_USAGE names the first processor that
// the system refuses.
tmac_status tmac_pool_pin(tmac_pool *pool, const uint16_t *cpus, uint32_t count);
uint32_t tmac_pool_threads(const tmac_pool *pool);

// Runs the phase on all workers and returns when all have finished. What they wrote is visible to the caller, and to
// every worker of the next phase.
void tmac_pool_run(tmac_pool *pool, tmac_phase phase, void *argument);

// Called by every worker inside a phase: returns when all have called it. What they wrote before is visible after. Half
// the price of ending one phase and starting another.
void tmac_pool_barrier(tmac_pool *pool);

// Nanoseconds that workers have waited for each other inside phases and at their ends, all added up, since the pool was made.
uint64_t tmac_pool_waited(const tmac_pool *pool);

// How work is split among cores of different speeds: worker i's shares become proportional to speeds[i], each from 1 to
// TMAC_POOL_SPEED. Between phases only. Until then shares are equal.
enum { TMAC_POOL_SPEED = 1 << 16 };
void tmac_pool_set_speeds(tmac_pool *pool, const uint32_t *speeds);

// Sets them from what the workers achieve when all run together, pinned before; differences of less than a tenth count
// as none. Takes some milliseconds.
void tmac_pool_measure_speeds(tmac_pool *pool);

// The part [*begin, *end) of `count` items, below 2^37, that the worker takes: contiguous, by speed.
void tmac_pool_share(const tmac_pool *pool, uint64_t count, uint32_t worker, uint64_t *begin,
                     uint64_t *end);

// The part [*begin, *end) of `count` items that worker `worker` of `workers` takes: contiguous, sizes differ by one.
static inline void tmac_share(uint64_t count, uint32_t worker, uint32_t workers, uint64_t *begin,
                              uint64_t *end)
{
    *begin = count * worker / workers;
    *end = count * (worker + 1) / workers;
}

#endif

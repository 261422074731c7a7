// One counter starts a phase and one ends it. The caller publishes the phase and its argument, then raises `started`;
// workers see it rise, run, and lower `running`; the caller waits for zero. That is all of a phase when everybody is
// awake: two cache lines move once each. A barrier inside a phase needs one of the two moves: whoever arrives last
// raises `rounds`, for which the others wait.
//
// Who waits first spins, then yields the processor between looks (so that more threads than processors still make
// progress), then sleeps on a condition variable. A sleeper announces itself in `sleepers` before it looks at the
// counter for the last time, and the one who moves a counter looks at `sleepers` afterwards; both are sequentially
// consistent, so one of the two sees the other and no wake-up is lost.
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/topology.h"

enum {
    SPINS = 4000, // 50 to 200 us of pauses: longer than any gap between two phases of a token
    YIELDS = 200, // then looks between yields; after that, sleep
};

struct tmac_pool {
    _Alignas(64) atomic_uint started; // phases begun so far
    tmac_phase phase;
    void *argument;
    _Alignas(64) atomic_uint running; // workers that have not finished the current phase
    _Alignas(64) atomic_uint arrived; // workers that wait at the barrier of this round
    _Alignas(64) atomic_uint rounds;  // barriers passed so far
    _Alignas(64) atomic_uint sleepers;
    _Alignas(64) _Atomic uint64_t waited; // nanoseconds
    pthread_mutex_t mutex;
    pthread_cond_t moved; // started or rounds rose, or running reached zero
    bool stop;            // written before the last rise of `started`
    uint32_t threads;
    atomic_int spins; // none where threads outnumber processors: whoever is awaited needs this one
    uint64_t *before; // [threads + 1]: the speeds of all workers before this one
    struct worker {
        tmac_pool *pool;
        uint32_t index;
        pthread_t thread;
    } * workers; // threads of them; [0] is the caller and has no thread
};

static inline void spin_pause(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

// Waits until *counter differs from (or, with `equal`, equals) value.
static void wait_until(tmac_pool *pool, atomic_uint *counter, unsigned value, bool equal)
{
#define DONE() ((atomic_load_explicit(counter, memory_order_acquire) == value) == equal)
    const int spins = atomic_load_explicit(&pool->spins, memory_order_relaxed);
    for (int i = 0; i < spins; i++) {
        if (DONE()) return;
        spin_pause();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (DONE()) return;
        sched_yield();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while ((atomic_load(counter) == value) != equal)
        pthread_cond_wait(&pool->moved, &pool->mutex);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
#undef DONE
}

// The same for somebody whose work is done while others' is not.
static void wait_for_others(tmac_pool *pool, atomic_uint *counter, unsigned value, bool equal)
{
    const uint64_t began = tmac_now_ns();
    wait_until(pool, counter, value, equal);
    atomic_fetch_add_explicit(&pool->waited, tmac_now_ns() - began, memory_order_relaxed);
}

uint64_t tmac_pool_waited(const tmac_pool *pool)
{
    return atomic_load_explicit(&pool->waited, memory_order_relaxed);
}

static void wake_sleepers(tmac_pool *pool)
{
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->moved);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    tmac_pool *pool = worker->pool;
    for (unsigned seen = 0;; seen++) {
        wait_until(pool, &pool->started, seen, false);
        if (pool->stop) return NULL;
        pool->phase(pool->argument, worker->index, pool->threads);
        if (atomic_fetch_sub(&pool->running, 1) == 1) wake_sleepers(pool);
    }
}

static void start_phase(tmac_pool *pool)
{
    atomic_store_explicit(&pool->running, pool->threads - 1, memory_order_relaxed);
    atomic_fetch_add(&pool->started, 1);
    wake_sleepers(pool);
}

void tmac_pool_run(tmac_pool *pool, tmac_phase phase, void *argument)
{
    if (pool->threads == 1) {
        phase(argument, 0, 1);
        return;
    }
    pool->phase = phase;
    pool->argument = argument;
    start_phase(pool);
    phase(argument, 0, pool->threads);
    wait_for_others(pool, &pool->running, 0, true);
}

void tmac_pool_barrier(tmac_pool *pool)
{
    if (pool->threads == 1) return;
    // Cannot rise before this worker has arrived.
    const unsigned round = atomic_load_explicit(&pool->rounds, memory_order_relaxed);
    if (atomic_fetch_add(&pool->arrived, 1) + 1 < pool->threads) {
        wait_for_others(pool, &pool->rounds, round, false);
        return;
    }
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    atomic_fetch_add(&pool->rounds, 1);
    wake_sleepers(pool);
}

// Ends and joins workers [1, count), then frees everything.
static void dissolve(tmac_pool *pool, uint32_t count)
{
    pool->stop = true;
    start_phase(pool);
    for (uint32_t i = 1; i < count; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->moved);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->before);
    free(pool->workers);
    free(pool);
}

tmac_status tmac_pool_new(uint32_t threads, tmac_pool **out)
{
    *out = NULL;
    if (threads < 1 || threads > TMAC_POOL_MAX)
        return tmac_fail(TMAC_USAGE, "threads must be between 1 and %d, not %u", TMAC_POOL_MAX,
                         threads);
    tmac_pool *pool = aligned_alloc(64, sizeof *pool);
    if (!pool)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a pool of %u threads", threads);
    memset(pool, 0, sizeof *pool);
    pool->threads = threads;
    cpu_set_t usable;
    bool crowded =
        sched_getaffinity(0, sizeof usable, &usable) == 0 && (uint32_t)CPU_COUNT(&usable) < threads;
    atomic_store(&pool->spins, crowded ? 0 : SPINS);
    pool->workers = calloc(threads, sizeof *pool->workers);
    pool->before = calloc(threads + 1u, sizeof *pool->before);
    if (!pool->workers || !pool->before) {
        free(pool->before);
        free(pool->workers);
        free(pool);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a pool of %u threads", threads);
    }
    for (uint32_t i = 0; i <= threads; i++)
        pool->before[i] = i;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->moved, NULL);
    for (uint32_t i = 1; i < threads; i++) {
        struct worker *worker = &pool->workers[i];
        worker->pool = pool;
        worker->index = i;
        if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
            dissolve(pool, i);
            return tmac_fail(TMAC_UNSUPPORTED, "the system refuses to start thread %u of %u", i,
                             threads);
        }
    }
    *out = pool;
    return tmac_ok();
}

void tmac_pool_free(tmac_pool *pool)
{
    if (pool) dissolve(pool, pool->threads);
}

uint32_t tmac_pool_threads(const tmac_pool *pool)
{
    return pool->threads;
}

typedef struct pinning {
    const uint16_t *cpus;
    uint32_t count;
    atomic_uint refused; // a processor, plus one; 0: none
} pinning;

static void pin_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    pinning *pin = argument;
    if (!tmac_thread_tie(&pin->cpus[worker % pin->count], 1))
        atomic_store(&pin->refused, pin->cpus[worker % pin->count] + 1u);
}

tmac_status tmac_pool_pin(tmac_pool *pool, const uint16_t *cpus, uint32_t count)
{
    if (count == 0)
        return tmac_fail(TMAC_USAGE, "no processors to pin %u threads to", pool->threads);
    pinning pin = {.cpus = cpus, .count = count};
    if (count < pool->threads)
        atomic_store(&pool->spins, 0); // somebody shares a processor with who is awaited
    tmac_pool_run(pool, pin_phase, &pin);
    const uint32_t refused = atomic_load(&pin.refused);
    if (refused)
        return tmac_fail(TMAC_USAGE, "processor %u is not one that this process may run on",
                         refused - 1);
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------- shares by speed

void tmac_pool_set_speeds(tmac_pool *pool, const uint32_t *speeds)
{
    for (uint32_t i = 0; i < pool->threads; i++)
        pool->before[i + 1] = pool->before[i] + speeds[i];
}

void tmac_pool_share(const tmac_pool *pool, uint64_t count, uint32_t worker, uint64_t *begin,
                     uint64_t *end)
{
    // 1024 workers of speed 2^16: the sum is at most 2^26, the product below 2^63.
    const uint64_t all = pool->before[pool->threads];
    *begin = count * pool->before[worker] / all;
    *end = count * pool->before[worker + 1] / all;
}

typedef struct speed_test {
    uint64_t ns[TMAC_POOL_MAX]; // for one round, the fastest
} speed_test;

// Dot products within the first cache: what a core does per cycle counts, and not only its clock.
static void speed_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    enum { ROUNDS = 8, REPEATS = 64, LENGTH = 2048 };
    speed_test *test = argument;
    uint32_t a[LENGTH], sum = worker;
    for (uint32_t i = 0; i < LENGTH; i++)
        a[i] = i + worker;
    uint64_t fastest = UINT64_MAX;
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t started = tmac_now_ns();
        for (int r = 0; r < REPEATS; r++)
            for (uint32_t i = 0; i < LENGTH; i++)
                a[i] = a[i] * 5 + (sum += a[LENGTH - 1 - i]);
        const uint64_t ns = tmac_now_ns() - started;
        if (ns < fastest) fastest = ns;
    }
    volatile uint32_t kept = sum; // or the loop would be dropped
    (void)kept;
    test->ns[worker] = fastest ? fastest : 1;
}

void tmac_pool_measure_speeds(tmac_pool *pool)
{
    static const double ALIKE = 0.9;
    speed_test test;
    tmac_pool_run(pool, speed_phase, &test);
    uint64_t least = test.ns[0], most = test.ns[0];
    for (uint32_t i = 1; i < pool->threads; i++) {
        if (test.ns[i] < least) least = test.ns[i];
        if (test.ns[i] > most) most = test.ns[i];
    }
    const bool alike = (double)least >= ALIKE * (double)most;
    uint32_t speeds[TMAC_POOL_MAX];
    for (uint32_t i = 0; i < pool->threads; i++) {
        const double speed = alike ? 1.0 : (double)least / (double)test.ns[i];
        speeds[i] = 1 + (uint32_t)(speed * (TMAC_POOL_SPEED - 1));
    }
    tmac_pool_set_speeds(pool, speeds);
}

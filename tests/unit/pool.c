#include <criterion/criterion.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/pool.h"
#include "base/topology.h"

static atomic_uint ran;
static uint32_t written[2][16]; // by odd and even phases: phase + 1

static atomic_uint wrong;

static void body(void *argument, uint32_t worker, uint32_t workers)
{
    uint32_t *phase = argument;
    // The last phase's writes of all workers are visible. (Counted: only the test's own thread may assert.)
    for (uint32_t w = 0; w < workers; w++)
        if (written[(*phase + 1) % 2][w] != *phase) atomic_fetch_add(&wrong, 1);
    written[*phase % 2][worker] = *phase + 1;
    atomic_fetch_add(&ran, 1);
}

Test(pool, every_worker_runs_every_phase_once)
{
    for (uint32_t threads = 1; threads <= 9; threads += 2) {
        tmac_pool *pool;
        cr_assert_eq(tmac_pool_new(threads, &pool).code, TMAC_OK);
        cr_assert_eq(tmac_pool_threads(pool), threads);
        atomic_store(&ran, 0);
        memset(written, 0, sizeof written);
        for (uint32_t phase = 0; phase < 300; phase++) {
            tmac_pool_run(pool, body, &phase);
            cr_assert_eq(atomic_load(&ran), threads * (phase + 1));
            cr_assert_eq(atomic_load(&wrong), 0);
            if (phase % 100 == 99) usleep(20000); // long enough for everybody to fall asleep
        }
        tmac_pool_free(pool);
    }
}

static void rounds(void *argument, uint32_t worker, uint32_t workers)
{
    tmac_pool *pool = argument;
    for (uint32_t round = 0; round < 300; round++) {
        for (uint32_t w = 0; w < workers; w++)
            if (written[(round + 1) % 2][w] != round) atomic_fetch_add(&wrong, 1);
        written[round % 2][worker] = round + 1;
        if (round % 100 == worker % 100) usleep(20000); // the others fall asleep meanwhile
        tmac_pool_barrier(pool);
    }
}

static void one_is_late(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    tmac_pool *pool = argument;
    if (worker == 1) usleep(20000);
    tmac_pool_barrier(pool);
}

Test(pool, waiting_for_others_is_counted)
{
    tmac_pool *pool;
    cr_assert_eq(tmac_pool_new(3, &pool).code, TMAC_OK);
    cr_assert_eq(tmac_pool_waited(pool), 0);
    tmac_pool_run(pool, one_is_late, pool);
    cr_assert(tmac_pool_waited(pool) >= 1000000);
    tmac_pool_free(pool);
}

Test(pool, barriers_keep_workers_together)
{
    for (uint32_t threads = 1; threads <= 9; threads += 2) {
        tmac_pool *pool;
        cr_assert_eq(tmac_pool_new(threads, &pool).code, TMAC_OK);
        memset(written, 0, sizeof written);
        tmac_pool_run(pool, rounds, pool);
        cr_assert_eq(atomic_load(&wrong), 0);
        for (uint32_t w = 0; w < threads; w++)
            cr_assert_eq(written[1][w], 300);
        tmac_pool_free(pool);
    }
}

Test(pool, impossible_sizes_are_refused)
{
    tmac_pool *pool;
    cr_assert_eq(tmac_pool_new(0, &pool).code, TMAC_USAGE);
    cr_assert_eq(tmac_pool_new(TMAC_POOL_MAX + 1, &pool).code, TMAC_USAGE);
    cr_assert_null(pool);
    tmac_pool_free(pool);
}

Test(pool, shares_cover_everything_once)
{
    for (uint64_t count = 0; count < 50; count++)
        for (uint32_t workers = 1; workers < 8; workers++) {
            uint64_t next = 0, begin, end;
            for (uint32_t w = 0; w < workers; w++) {
                tmac_share(count, w, workers, &begin, &end);
                cr_assert(begin == next && end >= begin && end - begin <= count / workers + 1);
                next = end;
            }
            cr_assert_eq(next, count);
        }
}

Test(pool, shares_follow_the_speeds)
{
    tmac_pool *pool;
    cr_assert_eq(tmac_pool_new(3, &pool).code, TMAC_OK);
    static const uint32_t speeds[][3] = {
        {1, 1, 1}, {2, 1, 1}, {TMAC_POOL_SPEED, 1, TMAC_POOL_SPEED}, {1, 5, 94}};
    for (size_t s = 0; s < sizeof speeds / sizeof *speeds; s++) {
        tmac_pool_set_speeds(pool, speeds[s]);
        const double all = (double)speeds[s][0] + speeds[s][1] + speeds[s][2];
        for (uint64_t count = 0; count < 300; count += 7) {
            uint64_t next = 0, begin, end;
            for (uint32_t w = 0; w < 3; w++) {
                tmac_pool_share(pool, count, w, &begin, &end);
                cr_assert(begin == next && end >= begin);
                cr_assert_float_eq((double)(end - begin), (double)count * speeds[s][w] / all, 1.0);
                next = end;
            }
            cr_assert_eq(next, count);
        }
    }
    tmac_pool_measure_speeds(pool); // whatever it finds, everybody gets something and all is dealt
    uint64_t begin, end, next = 0;
    for (uint32_t w = 0; w < 3; w++) {
        tmac_pool_share(pool, 100000, w, &begin, &end);
        cr_assert(begin == next && end > begin);
        next = end;
    }
    cr_assert_eq(next, 100000);
    tmac_pool_free(pool);
}

Test(pool, workers_are_pinned)
{
    tmac_pool *pool;
    cr_assert_eq(tmac_pool_new(3, &pool).code, TMAC_OK);
    tmac_cpu_list allowed;
    tmac_cpu_list_allowed(&allowed);
    const uint16_t cpu = allowed.cpu[allowed.count - 1], absent = TMAC_CPUS_MAX - 1;
    cr_assert_eq(tmac_pool_pin(pool, &cpu, 1).code, TMAC_OK);
    cr_assert_eq(sched_getcpu(), cpu);
    uint32_t phase = 0;
    memset(written, 0, sizeof written);
    tmac_pool_run(pool, body, &phase);
    cr_assert_eq(tmac_pool_pin(pool, &absent, 1).code, TMAC_USAGE);
    cr_assert_eq(tmac_pool_pin(pool, &cpu, 0).code, TMAC_USAGE);
    tmac_pool_free(pool);
}

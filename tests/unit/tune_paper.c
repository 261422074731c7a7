// The tuner on paper: a database of made-up measurements, in which the best plan is known. Every rigor replays it; and two
// numbers of threads are offered one layout.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "tests/unit/scratch.h"
#include "tune/judge.h"
#include "tune/replay.h"
#include "tune/tune.h"

enum { THREADS = 2 };

static const tmac_work work = {.model = "made up",
                               .count = 2,
                               .sets = {{'t', 2560, 2560, 3, {2560, 640, 640}, TMAC_STREAMED},
                                        {'t', 6912, 6912, 1, {2560}, TMAC_STREAMED}},
                               .calls = {30, 30}};

// Layouts differ by up to a fifth, kernels of a layout by up to a twentieth; samples scatter by half a per cent.
static uint64_t made_up_ns(const tmac_kernel *kernel, uint32_t set, uint32_t bucket,
                           uint32_t threads)
{
    tmac_random of_layout = {17 + set + 1000 * threads},
                of_kernel = {91 + set * TMAC_BUCKETS + bucket};
    for (const char *c = kernel->layout->name; *c; c++)
        of_layout.state = of_layout.state * 31 + (uint64_t)*c;
    for (const char *c = kernel->name; *c; c++)
        of_kernel.state = of_kernel.state * 31 + (uint64_t)*c;
    double factor = (1 + 0.2 * (double)tmac_random_unit(&of_layout)) *
                    (1 + 0.05 * (double)tmac_random_unit(&of_kernel));
    return (uint64_t)(1e5 * tmac_bucket_typical(bucket) * factor);
}

static void record(const char *path, const tmac_host *host, uint32_t threads)
{
    tmac_db *db;
    size_t count;
    const tmac_kernel *const *all = tmac_kernels(&count);
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    tmac_db_trial trial = {
        .rigor = TMAC_RIGOR_EXHAUSTIVE, .outcome = TMAC_OUTCOME_OK, .passes = 1, .samples = 48};
    OK(tmac_db_put_host(db, host, &trial.host));
    const tmac_db_run run = {.host = trial.host,
                             .rigor = TMAC_RIGOR_EXHAUSTIVE,
                             .threads = threads,
                             .model = "made up",
                             .kernel = "made up"};
    OK(tmac_db_put_run(db, &run, &trial.run));
    for (size_t k = 0; k < count; k++) {
        if (!tmac_isa_has(host->isa, all[k]->isa)) continue;
        OK(tmac_db_put_variant(db, all[k], &trial.variant));
        for (uint32_t set = 0; set < work.count; set++)
            for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
                if (!tmac_layout_holds(all[k]->layout, &work.sets[set])) continue;
                OK(tmac_db_put_problem(db, &work.sets[set], bucket, threads, &trial.problem));
                trial.median_ns = trial.p95_ns = made_up_ns(all[k], set, bucket, threads);
                trial.min_ns = trial.median_ns - trial.median_ns / 200;
                trial.mad_ns = trial.median_ns / 300;
                OK(tmac_db_put_trial(db, &trial));
            }
    }
    tmac_db_close(db);
}

static char folder[64], path[128];
static tmac_host host;

static void set_up(void)
{
    scratch_make("paper", folder);
    snprintf(path, sizeof path, "%s/tune.db", folder);
    tmac_host_probe(&host);
}

static void tear_down(void)
{
    scratch_remove(folder);
}

TestSuite(tune_paper, .init = set_up, .fini = tear_down, .timeout = 60);

Test(tune_paper, rigors_cost_more_and_lose_less)
{
    tmac_replay_line lines[TMAC_RIGORS], again[TMAC_RIGORS];
    uint32_t count;
    const tmac_tune_options options = {.threads = THREADS, .seed = 5};
    cr_assert_eq(tmac_replay_all(path, &work, &options, 1, lines, &count).code, TMAC_NOT_FOUND);

    record(path, &host, THREADS);
    OK(tmac_replay_all(path, &work, &options, 3, lines, &count));
    cr_assert_eq(count, TMAC_RIGOR_EXHAUSTIVE - TMAC_RIGOR_QUICK + 1);
    const tmac_replay_line *quick = lines, *exhaustive = &lines[count - 1];
    for (uint32_t i = 0; i < count; i++) {
        cr_expect_eq(lines[i].rigor, (tmac_rigor)(TMAC_RIGOR_QUICK + (int)i));
        cr_expect_gt(lines[i].trials, 0);
        cr_expect_geq(lines[i].samples, 3 * lines[i].trials);
        cr_expect_geq(lines[i].loss, 0);
        cr_expect_geq(lines[i].loss_worst, lines[i].loss);
    }
    cr_expect_lt(quick->samples, exhaustive->samples);
    cr_expect_leq(quick->trials, exhaustive->trials);
    cr_expect_leq(quick->seconds, 15);
    cr_expect_leq(exhaustive->loss, 0.01, "%.4f", exhaustive->loss);
    cr_expect_leq(quick->loss, 0.15, "%.4f", quick->loss);

    // The same seeds, the same sessions: strategies differ by what they do, not by luck.
    OK(tmac_replay_all(path, &work, &options, 3, again, &count));
    cr_expect_eq(again[1].samples, lines[1].samples);
    cr_expect_float_eq(again[1].loss, lines[1].loss, 1e-12);
}

// The plans to be judged for one thread after THREADS: among them one with the layouts of THREADS and the fastest kernels
// that one thread has for these.
Test(tune_paper, another_number_of_threads_is_offered_the_same_layouts)
{
    size_t count;
    tmac_tuning *t = calloc(1, sizeof *t);
    tmac_named_plan plans[TMAC_TUNE_PLANS];
    const tmac_tune_options options = {.with_threads = THREADS};
    const tmac_kernel *const *all = tmac_kernels(&count);
    cr_assert(t);
    *t = (tmac_tuning){
        .work = &work, .options = &options, .host = host, .isa = host.isa, .threads = 1};
    t->candidates = calloc(count, sizeof *t->candidates);
    t->out = calloc(count, sizeof *t->out);
    cr_assert(t->candidates && t->out);
    for (size_t i = 0; i < count; i++)
        if (tmac_isa_has(host.isa, all[i]->isa)) t->candidates[t->candidate_count++] = all[i];
    record(path, &host, THREADS);
    record(path, &host, 1);
    OK(tmac_db_open(path, TMAC_DB_READ, &t->db));
    OK(tmac_db_plan(t->db, &host, work.sets, work.count, THREADS, host.isa, &t->joint));
    uint32_t plan_count, found = 0;
    OK(tmac_plans_to_judge(t, plans, &plan_count));
    cr_assert_str_eq(plans[0].name, "measured");
    bool differ = false;
    for (uint32_t i = 0; i < work.count; i++)
        differ |= strcmp(plans[0].plan.entries[i].layout, t->joint.entries[i].layout) != 0;
    for (uint32_t p = 0; p < plan_count; p++) {
        if (strcmp(plans[p].name, TMAC_PLAN_JOINT) != 0) continue;
        found++;
        for (uint32_t i = 0; i < work.count; i++) {
            const tmac_plan_entry *entry = &plans[p].plan.entries[i];
            cr_expect_str_eq(entry->layout, t->joint.entries[i].layout);
            for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
                const tmac_kernel *kernel = tmac_kernel_find(entry->kernel[bucket]);
                cr_assert(kernel);
                cr_expect_str_eq(kernel->layout->name, entry->layout);
                for (size_t k = 0; k < t->candidate_count; k++)
                    if (t->candidates[k]->layout == kernel->layout)
                        cr_expect_leq(made_up_ns(kernel, i, bucket, 1),
                                      made_up_ns(t->candidates[k], i, bucket, 1));
            }
        }
    }
    cr_expect_eq(found, differ, "offered where it is another plan");
    tmac_db_close(t->db);
    free(t->candidates);
    free(t->out);
    free(t);
}

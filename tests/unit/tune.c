// The tuner: planted bad kernels at the gate, statistics, a session, and what SIGKILL cannot take.
#include <criterion/criterion.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/scratch.h"
#include "tests/unit/tune_small.h"
#include "tune/measure.h"
#include "tune/tune.h"

static char folder[64], path[128];

static void set_up(void)
{
    scratch_make("tune", folder);
    snprintf(path, sizeof path, "%s/tune.db", folder);
}

static void tear_down(void)
{
    scratch_remove(folder);
}

TestSuite(tune, .init = set_up, .fini = tear_down, .timeout = 120);

// ------------------------------------------------------------------------------------------------------------- gate

static const tmac_kernel *honest;

static void run_wrong_once(const tmac_matmul *m)
{
    honest->run(m);
    // Right everywhere but where all activations are at their lowest: one bit of one result.
    if (m->shape.columns == 172 && m->y[0] == -128 * 172) m->y[0] ^= 1;
}

static void run_crash(const tmac_matmul *m)
{
    honest->run(m);
    raise(SIGILL);
}

static void run_hang(const tmac_matmul *m)
{
    for (volatile uint32_t i = 0; m->tokens; i++) {
    }
}

static void run_read_behind(const tmac_matmul *m)
{
    honest->run(m);
    size_t tile = honest->layout->tile_bytes(&m->shape);
    volatile const uint8_t *behind = m->tiles + tile * m->tile_end;
    (void)*behind;
}

static void run_read_before(const tmac_matmul *m)
{
    honest->run(m);
    volatile const uint8_t *before = m->tiles - 1;
    (void)*before;
}

static void run_write_gap(const tmac_matmul *m)
{
    honest->run(m);
    m->y[m->y_stride - 1] = 0;
}

static void run_exit(const tmac_matmul *m)
{
    (void)m;
    _exit(0);
}

Test(tune, the_gate_tells_wrong_crash_and_hang_apart)
{
    static const struct {
        const char *name;
        void (*run)(const tmac_matmul *);
        tmac_outcome outcome;
        uint32_t detail;
    } planted[] = {
        {"planted_wrong_once", run_wrong_once, TMAC_OUTCOME_WRONG, 0},
        {"planted_crash", run_crash, TMAC_OUTCOME_CRASH, SIGILL},
        {"planted_hang", run_hang, TMAC_OUTCOME_HANG, 0},
        {"planted_read_behind", run_read_behind, TMAC_OUTCOME_CRASH, SIGSEGV},
        {"planted_read_before", run_read_before, TMAC_OUTCOME_CRASH, SIGSEGV},
        {"planted_write_gap", run_write_gap, TMAC_OUTCOME_WRONG, 0},
        {"planted_exit", run_exit, TMAC_OUTCOME_WRONG, 0},
    };
    enum { COUNT = sizeof planted / sizeof planted[0] };
    static tmac_kernel kernels[COUNT + 1];
    const tmac_kernel *list[COUNT + 1];
    tmac_gate_result results[COUNT + 1];
    const tmac_shape shapes[] = {{3, 172, 172}, {70, 100, 32}};
    size_t count;
    honest = tmac_kernels(&count)[0];
    for (size_t i = 0; i < COUNT; i++) {
        kernels[i] = *honest;
        kernels[i].name = planted[i].name;
        kernels[i].run = planted[i].run;
        list[i] = &kernels[i];
    }
    list[COUNT] = honest;
    OK(tmac_gate(list, COUNT + 1, shapes, 2, 1500, results));
    for (size_t i = 0; i < COUNT; i++) {
        cr_expect_eq(results[i].outcome, planted[i].outcome, "%s: %s %s", planted[i].name,
                     tmac_outcome_name(results[i].outcome), results[i].message);
        cr_expect_eq(results[i].detail, planted[i].detail, "%s: signal %u", planted[i].name,
                     results[i].detail);
        cr_expect(results[i].message[0]);
    }
    cr_assert_eq(results[COUNT].outcome, TMAC_OUTCOME_OK, "%s", results[COUNT].message);
}

Test(tune, every_kernel_of_this_host_passes_the_gate)
{
    const tmac_shape shapes[] = {{1, 1, 1}, {17, 333, 333}, {33, 100, 32}, {66, 1040, 1040}};
    size_t count, mine = 0;
    const tmac_kernel *const *all = tmac_kernels(&count);
    const tmac_kernel **list = calloc(count, sizeof *list);
    tmac_gate_result *results = calloc(count, sizeof *results);
    cr_assert(list && results);
    for (size_t i = 0; i < count; i++)
        if (tmac_isa_has(tmac_isa_verified(), all[i]->isa)) list[mine++] = all[i];
    OK(tmac_gate(list, mine, shapes, 4, 30000, results));
    for (size_t i = 0; i < mine; i++)
        cr_expect_eq(results[i].outcome, TMAC_OUTCOME_OK, "%s: %s", list[i]->name,
                     results[i].message);
    free(list);
    free(results);
}

// ------------------------------------------------------------------------------------------------------- statistics

Test(tune, summaries_are_medians_not_means)
{
    uint64_t samples[] = {100, 1000000, 90, 110, 105};
    tmac_summary s = tmac_summarize(samples, 5);
    cr_assert_eq(s.median_ns, 105);
    cr_assert_eq(s.mad_ns, 5);
    cr_assert_eq(s.min_ns, 90);
    cr_assert_eq(s.p95_ns, 1000000);
    uint64_t one[] = {7};
    s = tmac_summarize(one, 1);
    cr_assert_eq(s.median_ns, 7);
    cr_assert_eq(s.mad_ns, 0);
    cr_assert_eq(s.p95_ns, 7);
    uint64_t two[] = {10, 20};
    cr_assert_eq(tmac_summarize(two, 2).median_ns, 15);
}

// A kernel that keeps what it computes: every call's sums overwrite those before.
static struct {
    tmac_kernel kernel;
    const tmac_kernel *real;
    const uint8_t *tiles[TMAC_SET_MATRICES]; // of the copy being multiplied
    int32_t *sums[TMAC_SET_MATRICES];        // [tokens][rows of whole tiles]
    size_t rows[TMAC_SET_MATRICES];
} kept;

static void run_and_keep(const tmac_matmul *m)
{
    kept.real->run(m);
    const uint32_t row_tile = kept.real->layout->row_tile;
    for (uint32_t i = 0; i < TMAC_SET_MATRICES; i++) {
        if (!kept.sums[i] || kept.tiles[i] != m->tiles) continue;
        const uint32_t first = m->row_begin;
        const uint32_t end = m->row_end ? m->row_end : (m->tile_end - m->tile_begin) * row_tile;
        for (uint32_t n = 0; n < m->tokens; n++)
            memcpy(kept.sums[i] + n * kept.rows[i] + (size_t)m->tile_begin * row_tile + first,
                   m->y + n * m->y_stride + first, (end - first) * sizeof(int32_t));
    }
}

// The bench computes what the runtime would: prepare, then the product of all matrices, on two threads.
Test(tune, a_pass_multiplies_the_whole_set)
{
    tmac_workbench bench = {0};
    tmac_random random = {5};
    size_t count;
    kept.real = tmac_kernels(&count)[0];
    kept.kernel = *kept.real;
    kept.kernel.run = run_and_keep;
    const tmac_kernel *kernel = &kept.kernel;
    const tmac_input_set *set = &small.sets[0];
    OK(tmac_pool_new(2, &bench.pool));
    for (uint32_t tokens = 1; tokens < 6; tokens += 4) {
        OK(tmac_workbench_fill(&bench, set, tokens, &kernel, 1, 3, NULL, (size_t)1 << 28, &random));
        const tmac_copies *c = &bench.layouts[0];
        cr_assert_eq(c->copies, 3);
        for (uint32_t m = 0; m < set->matrices; m++) {
            kept.rows[m] = (size_t)c->tiles[m] * kernel->layout->row_tile;
            kept.sums[m] = malloc(kept.rows[m] * tokens * sizeof(int32_t));
            cr_assert(kept.sums[m]);
            memset(kept.sums[m], 0x5a, kept.rows[m] * tokens * sizeof(int32_t));
        }
        for (int pass = 0; pass < 4; pass++) {
            for (uint32_t m = 0; m < set->matrices; m++)
                kept.tiles[m] = c->data + (size_t)c->cursor * c->copy_bytes + c->matrix_offset[m];
            tmac_workbench_pass(&bench, kernel);
        }
        int8_t *weights = malloc((size_t)kernel->layout->row_tile * set->columns);
        cr_assert(weights);
        for (uint32_t m = 0; m < set->matrices; m++) {
            tmac_shape shape = {set->rows[m], set->columns, set->group};
            for (uint32_t row = 0; row < set->rows[m]; row++) {
                uint32_t tile = row / kernel->layout->row_tile,
                         in_tile = row % kernel->layout->row_tile;
                kernel->layout->unpack_tile(&shape,
                                            c->data + c->matrix_offset[m] + tile * c->tile_bytes[m],
                                            in_tile + 1, weights);
                for (uint32_t n = 0; n < tokens; n++) {
                    int32_t sum = 0;
                    for (uint32_t k = 0; k < set->columns; k++)
                        sum += weights[in_tile * set->columns + k] * bench.q[n * set->columns + k];
                    cr_assert_eq(kept.sums[m][n * kept.rows[m] + row], sum);
                }
            }
            free(kept.sums[m]);
            kept.sums[m] = NULL;
        }
        free(weights);
    }
    tmac_workbench_free(&bench);
    tmac_pool_free(bench.pool);
}

// --------------------------------------------------------------------------------------------------------- sessions

// The rule's layouts and every sixth other kernel: sessions that take seconds.
static const tmac_kernel *few[256];

static tmac_tune_options quick(void)
{
    size_t count, chosen = 0;
    const tmac_kernel *const *all = tmac_kernels(&count);
    for (size_t i = 0; i < count && chosen < 256; i++) {
        bool in = i % 6 == 0;
        for (uint32_t set = 0; set < small.count; set++)
            in = in || strcmp(tmac_plan_rule(&small.sets[set], 1, tmac_isa_verified()).layout,
                              all[i]->layout->name) == 0;
        if (in) few[chosen++] = all[i];
    }
    return (tmac_tune_options){.db = path,
                               .rigor = TMAC_RIGOR_QUICK,
                               .threads = 1,
                               .seed = 3,
                               .time_limit = 20,
                               .tolerated = 1e9,
                               .candidates = few,
                               .candidate_count = chosen};
}

static uint64_t trials_in_db(void)
{
    tmac_db *db;
    tmac_host host;
    tmac_db_inventory inventory;
    uint64_t trials = 0;
    tmac_host_probe(&host);
    OK(tmac_db_open(path, TMAC_DB_READ, &db));
    OK(tmac_db_status(db, &host, &inventory));
    if (inventory.exists) cr_assert_str_eq(inventory.integrity, "ok");
    for (size_t i = 0; i < inventory.kind_count; i++)
        if (strcmp(inventory.kinds[i].kind, "trial") == 0) trials = inventory.kinds[i].records;
    tmac_db_inventory_free(&inventory);
    tmac_db_close(db);
    return trials;
}

Test(tune, a_session_measures_plans_and_is_not_repeated)
{
    static tmac_tune_report report;
    tmac_tune_options options = quick();
    OK(tmac_tune(&small, &options, &report));
    cr_assert_gt(report.measured, 0);
    cr_assert_eq(report.failed, 0);
    cr_assert_eq(trials_in_db(), report.measured);
    cr_assert_eq(report.line_count, small.count * TMAC_BUCKETS);
    for (uint32_t i = 0; i < report.line_count; i++) {
        cr_expect_eq(report.lines[i].rung, TMAC_RUNG_HOST);
        cr_expect_gt(report.lines[i].before_ns, 0);
        cr_expect_gt(report.lines[i].after_ns, 0);
    }
    uint32_t measured = report.measured;
    OK(tmac_tune(&small, &options, &report));
    cr_assert_eq(report.reused, measured);
    cr_assert_eq(report.measured, 0);
    options.threads = 2;
    options.time_limit = 1e-9;
    OK(tmac_tune(&small, &options, &report));
    cr_assert_eq(report.measured, 0, "no time, no measurement, but a report");
    cr_assert_eq(report.lines[0].rung, TMAC_RUNG_RULE);
}

Test(tune, a_bad_candidate_is_recorded_and_the_tuner_goes_on)
{
    static tmac_tune_report report;
    size_t count;
    honest = tmac_kernels(&count)[0];
    tmac_kernel bad = *honest;
    bad.name = "planted_crash";
    bad.run = run_crash;
    const tmac_kernel *list[] = {&bad, honest};
    tmac_tune_options options = quick();
    options.candidates = list;
    options.candidate_count = 2;
    OK(tmac_tune(&small, &options, &report));
    cr_assert_eq(report.failed, 1);
    cr_assert_str_eq(report.failures[0].kernel, "planted_crash");
    cr_assert_eq(report.failures[0].result.outcome, TMAC_OUTCOME_CRASH);
    cr_assert_gt(report.measured, 0);
    cr_assert_eq(trials_in_db(), report.measured + small.count, "one failure for each set");
}

// What was finished is not measured again; only the rule's kernel is, beside what was missing.
static void repeated_are_sentinels(void)
{
    sqlite3 *sqlite;
    sqlite3_stmt *q;
    cr_assert_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(
                     sqlite,
                     "SELECT p.bucket, v.kernel FROM trial t JOIN problem p ON p.name = t.problem"
                     " JOIN variant v ON v.name = t.variant"
                     " GROUP BY p.name, v.name HAVING count(*) > 1",
                     -1, &q, NULL),
                 SQLITE_OK);
    while (sqlite3_step(q) == SQLITE_ROW) {
        const char *kernel = (const char *)sqlite3_column_text(q, 1);
        bool sentinel = false;
        for (uint32_t set = 0; set < small.count; set++) {
            tmac_plan_entry rule = tmac_plan_rule(&small.sets[set], 1, tmac_isa_verified());
            sentinel = sentinel || strcmp(rule.kernel[sqlite3_column_int(q, 0)], kernel) == 0;
        }
        cr_expect(sentinel, "%s was measured twice", kernel);
    }
    sqlite3_finalize(q);
    sqlite3_close(sqlite);
}

Test(tune, sigkill_loses_no_finished_measurement)
{
    static tmac_tune_report report;
    tmac_tune_options options = quick();
    uint64_t before = 0;
    for (int attempt = 0; attempt < 4; attempt++) {
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
            tmac_tune(&small, &options, &report);
            _exit(0);
        }
        // Killed a little after it has stored something new; a child that is finished has nothing left to lose.
        for (int wait = 0;
             wait < 2000 && trials_in_db() == before && waitpid(child, NULL, WNOHANG) == 0; wait++)
            nanosleep(&(struct timespec){0, 5000000}, NULL);
        nanosleep(&(struct timespec){0, 3000000 * (attempt + 1)}, NULL);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        uint64_t after = trials_in_db();
        cr_assert_geq(after, before);
        before = after;
    }
    cr_assert_gt(before, 0);
    OK(tmac_tune(&small, &options, &report));
    cr_assert_gt(report.reused, 0);
    repeated_are_sentinels();
    cr_assert_eq(trials_in_db(), before + report.measured);
    for (uint32_t i = 0; i < report.line_count; i++)
        cr_expect_eq(report.lines[i].rung, TMAC_RUNG_HOST);
}

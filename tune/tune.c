// A tuning session.
//
//   1. Candidates: kernels that this host executes. Scalar ones only where no other can serve the set: they are an
//      order of magnitude slower than any vector kernel, at every shape.
//   2. The gate, in children, before there are threads or a database handle that a fork could carry over. What failed
//      it before, as the same machine code on this host, is not tried again.
//   3. Problems: first N = 1 of every input set, then the larger buckets, which only the layouts within a quarter of
//      the best at N = 1 enter. A problem's budget is its share, of what is left, of the time that a model spends in
//      it: calls per token x weights x workload.
//   4. Every trial is a record, committed when it is finished. What is there already is not measured again, so that a
//      session that was killed goes on where it stopped.
//   5. The plan that follows, next to the rule's.
#include "tune/tune.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/progress.h"
#include "tune/context.h"
#include "tune/measure.h"

enum { GATE_TIMEOUT_MS = 10000 };

// What each rigor spends.
static const struct {
    double seconds;     // of measuring
    uint64_t sample_ns; // one sample at N = 1
    uint32_t rounds_min, rounds_max;
    uint32_t prefill_layouts; // that enter the larger buckets, besides the incumbent's
} spending[] = {
    [TMAC_RIGOR_QUICK] = {10, 800000, 5, 15, 2},
    [TMAC_RIGOR_MEASURE] = {70, 4000000, 9, 48, 4},
};

// A problem's share of the budget: N = 1 has most, because generated tokens cost most.
static const double bucket_share[TMAC_BUCKETS] = {1.0, 0.08, 0.08, 0.1, 0.15, 0.25};
static const double layout_ratio = 1.25;

typedef struct session {
    const tmac_work *work;
    const tmac_tune_options *options;
    tmac_tune_report *report;
    tmac_rigor rigor;
    tmac_host host;
    tmac_isa_set isa;
    uint32_t threads;
    tmac_random random;
    const tmac_kernel **candidates; // that passed the gate
    size_t candidate_count;
    tmac_db *db;
    tmac_workbench bench;
    tmac_db_name host_name, problem_name;
    uint32_t set, bucket; // being measured
    uint64_t started, deadline, ticked;
    double share_left; // of the problems not yet done
    tmac_progress progress;
    uint32_t *noise; // thousandths, one a trial
    uint32_t noise_room;
} session;

// ------------------------------------------------------------------------------------------------------- candidates

static bool vector_serves(const session *s, const tmac_input_set *set)
{
    for (size_t i = 0; i < s->candidate_count; i++)
        if (s->candidates[i]->isa != TMAC_ISA_SCALAR &&
            tmac_layout_holds(s->candidates[i]->layout, set))
            return true;
    return false;
}

static bool failed_before(const session *s, const tmac_db *db, const tmac_kernel *kernel,
                          tmac_gate_result *result)
{
    for (uint32_t i = 0; i < s->work->count; i++) {
        tmac_db_figure *figures;
        size_t count;
        bool failed = false;
        if (tmac_db_figures(db, &s->host, &s->work->sets[i], 0, s->threads, &figures, &count)
                .code != TMAC_OK)
            continue;
        for (size_t f = 0; f < count; f++) {
            if (figures[f].kernel != kernel || figures[f].outcome == TMAC_OUTCOME_OK) continue;
            failed = true;
            result->outcome = figures[f].outcome;
            snprintf(result->message, sizeof result->message, "failed in an earlier session");
        }
        free(figures);
        if (failed) return true;
    }
    return false;
}

// Odd shapes that any kernel may stumble over, then each set as it is, cut to a few tiles.
static size_t gate_shapes(const tmac_work *work, tmac_shape *shapes)
{
    static const tmac_shape odd[] = {
        {1, 1, 1},     {1, 5, 5},     {3, 172, 172}, {17, 333, 333},
        {131, 67, 67}, {33, 100, 32}, {70, 256, 64}, {65, 1040, 1040},
    };
    size_t count = sizeof odd / sizeof odd[0];
    memcpy(shapes, odd, sizeof odd);
    for (uint32_t i = 0; i < work->count; i++) {
        uint32_t rows = work->sets[i].rows[0] < 66 ? work->sets[i].rows[0] : 66;
        shapes[count++] = (tmac_shape){rows, work->sets[i].columns, work->sets[i].group};
    }
    return count;
}

enum { GATE_SHAPES = 8 + TMAC_PLAN_ENTRIES };

static bool add_failure(tmac_tune_report *report, const tmac_kernel *kernel,
                        const tmac_gate_result *result)
{
    report->failed++;
    if (report->failure_count == TMAC_TUNE_FAILURES) return false;
    tmac_tune_failure *failure = &report->failures[report->failure_count++];
    snprintf(failure->kernel, sizeof failure->kernel, "%.63s", kernel->name);
    failure->result = *result;
    return true;
}

// Fills s->candidates with those that pass, and results[i] for every kernel of `all`. known[i]: it failed before.
static tmac_status pass_gate(session *s, const tmac_kernel *const *all, size_t count,
                             tmac_gate_result *results, bool *known)
{
    tmac_shape shapes[GATE_SHAPES];
    size_t shape_count = gate_shapes(s->work, shapes);
    tmac_db *db;
    TMAC_TRY(tmac_db_open(s->options->db, TMAC_DB_READ, &db));
    for (size_t i = 0; i < count; i++)
        known[i] = failed_before(s, db, all[i], &results[i]);
    tmac_db_close(db);
    tmac_progress progress;
    if (s->options->progress) tmac_progress_begin(&progress, "proving kernels", count);
    tmac_status status = tmac_ok();
    for (size_t i = 0; i < count && status.code == TMAC_OK; i++) {
        if (!known[i])
            status = tmac_gate(&all[i], 1, shapes, shape_count, GATE_TIMEOUT_MS, &results[i]);
        if (results[i].outcome == TMAC_OUTCOME_OK)
            s->candidates[s->candidate_count++] = all[i];
        else
            add_failure(s->report, all[i], &results[i]);
        if (s->options->progress) tmac_progress_advance(&progress, 1);
    }
    if (s->options->progress) tmac_progress_end(&progress);
    return status;
}

// A failure is a trial too: of every set at N = 1, where lookups will meet it.
static tmac_status record_failures(session *s, const tmac_kernel *const *all, size_t count,
                                   const tmac_gate_result *results, const bool *known)
{
    for (size_t i = 0; i < count; i++) {
        if (results[i].outcome == TMAC_OUTCOME_OK || known[i]) continue;
        for (uint32_t set = 0; set < s->work->count; set++) {
            tmac_db_trial trial = {.host = s->host_name,
                                   .run = s->report->run,
                                   .rigor = s->rigor,
                                   .outcome = results[i].outcome,
                                   .detail = results[i].detail};
            TMAC_TRY(tmac_db_put_variant(s->db, all[i], &trial.variant));
            TMAC_TRY(
                tmac_db_put_problem(s->db, &s->work->sets[set], 0, s->threads, &trial.problem));
            TMAC_TRY(tmac_db_put_trial(s->db, &trial));
        }
    }
    return tmac_ok();
}

// --------------------------------------------------------------------------------------------------------- problems

static double problem_share(const tmac_work *work, uint32_t set, uint32_t bucket)
{
    double weights = 0;
    for (uint32_t i = 0; i < work->sets[set].matrices; i++)
        weights += (double)work->sets[set].rows[i] * work->sets[set].columns;
    return weights * work->calls[set] * bucket_share[bucket];
}

// Layouts that enter the larger buckets: near the best at N = 1, the best first, `room` of them; the incumbent's is
// let in by the caller.
static tmac_status layouts_near_best(const session *s, const tmac_input_set *set,
                                     const tmac_layout **layouts, uint32_t room, uint32_t *found)
{
    tmac_db_figure *figures;
    size_t count;
    *found = 0;
    TMAC_TRY(tmac_db_figures(s->db, &s->host, set, 0, s->threads, &figures, &count));
    double best = 0;
    while (*found < room) {
        const tmac_db_figure *next = NULL;
        for (size_t i = 0; i < count; i++) {
            bool taken = figures[i].outcome != TMAC_OUTCOME_OK;
            for (uint32_t l = 0; l < *found; l++)
                taken = taken || layouts[l] == figures[i].kernel->layout;
            if (!taken && (!next || figures[i].ns < next->ns)) next = &figures[i];
        }
        if (!next || (best > 0 && next->ns > layout_ratio * best)) break;
        if (best <= 0) best = next->ns;
        layouts[(*found)++] = next->kernel->layout;
    }
    free(figures);
    return tmac_ok();
}

// Larger buckets: blocks of tokens that the bucket fills, and of the one-token kernels those without software
// prefetch or chosen by the rule: with weights warm the distance decides nothing.
static bool worth_prefill(const session *s, const tmac_kernel *kernel, uint32_t bucket)
{
    if (kernel->tokens_min > tmac_bucket_typical(bucket)) return false;
    if (kernel->token_block > 1) return true;
    for (size_t i = 0; i < s->candidate_count; i++) {
        const tmac_kernel *other = s->candidates[i];
        if (other == kernel) return true;
        if (other->layout == kernel->layout && other->isa == kernel->isa && other->token_block == 1)
            return false;
    }
    return true;
}

// At N = 1: kernels meant for several tokens only where there is none for one.
static bool worth_decode(const session *s, const tmac_kernel *kernel)
{
    for (size_t i = 0; i < s->candidate_count && kernel->tokens_min > 1; i++) {
        const tmac_kernel *other = s->candidates[i];
        if (other->layout == kernel->layout && other->isa != TMAC_ISA_SCALAR &&
            other->tokens_min == 1)
            return false;
    }
    return true;
}

// The contenders of a problem, sentinel first. A sentinel that failed the gate or is no candidate is absent.
static tmac_status contenders_of(const session *s, uint32_t set_index, uint32_t bucket,
                                 tmac_contender *contenders, uint32_t *count)
{
    const tmac_input_set *set = &s->work->sets[set_index];
    tmac_plan_entry rule = tmac_plan_rule(set, s->threads, s->isa);
    const tmac_layout *layouts[TMAC_WORK_LAYOUTS];
    uint32_t layout_count = 0;
    bool vector = vector_serves(s, set);
    if (bucket > 0)
        TMAC_TRY(
            layouts_near_best(s, set, layouts, spending[s->rigor].prefill_layouts, &layout_count));
    *count = 0;
    for (size_t i = 0; i < s->candidate_count; i++) {
        const tmac_kernel *kernel = s->candidates[i];
        bool sentinel = strcmp(kernel->name, rule.kernel[bucket]) == 0;
        bool in =
            tmac_layout_holds(kernel->layout, set) && (kernel->isa != TMAC_ISA_SCALAR || !vector);
        bool near_best = bucket == 0 || strcmp(kernel->layout->name, rule.layout) == 0;
        for (uint32_t l = 0; l < layout_count; l++)
            near_best = near_best || layouts[l] == kernel->layout;
        in = in && near_best &&
             (bucket == 0 ? worth_decode(s, kernel) : worth_prefill(s, kernel, bucket));
        if (!in && !sentinel) continue;
        contenders[*count] = (tmac_contender){.kernel = kernel, .sentinel = sentinel};
        if (sentinel && *count > 0) {
            contenders[*count] = contenders[0];
            contenders[0] = (tmac_contender){.kernel = kernel, .sentinel = true};
        }
        ++*count;
    }
    return tmac_ok();
}

// Takes out who has a trial that serves; the sentinel stays while anybody else is to be measured.
static tmac_status take_out_measured(session *s, const tmac_input_set *set, uint32_t bucket,
                                     tmac_contender *contenders, uint32_t *count)
{
    tmac_db_figure *figures;
    size_t figure_count;
    TMAC_TRY(tmac_db_figures(s->db, &s->host, set, bucket, s->threads, &figures, &figure_count));
    uint32_t kept = 0, missing = 0;
    for (uint32_t i = 0; i < *count; i++) {
        bool measured = false;
        for (size_t f = 0; f < figure_count && !measured; f++)
            measured = figures[f].kernel == contenders[i].kernel &&
                       figures[f].outcome == TMAC_OUTCOME_OK && figures[f].rigor >= s->rigor;
        s->report->reused += measured;
        missing += !measured;
        if (!measured || contenders[i].sentinel) contenders[kept++] = contenders[i];
    }
    free(figures);
    *count = missing ? kept : 0;
    return tmac_ok();
}

static tmac_status store_trial(void *context, const tmac_contender *contender, uint32_t passes)
{
    session *s = context;
    uint64_t sorted[TMAC_SAMPLES_MAX];
    memcpy(sorted, contender->samples, contender->count * sizeof *sorted);
    tmac_summary summary = tmac_summarize(sorted, contender->count);
    tmac_db_trial trial = {.host = s->host_name,
                           .problem = s->problem_name,
                           .run = s->report->run,
                           .rigor = s->rigor,
                           .outcome = TMAC_OUTCOME_OK,
                           .passes = passes,
                           .samples = summary.samples,
                           .median_ns = summary.median_ns,
                           .mad_ns = summary.mad_ns,
                           .min_ns = summary.min_ns,
                           .p95_ns = summary.p95_ns};
    TMAC_TRY(tmac_db_put_variant(s->db, contender->kernel, &trial.variant));
    TMAC_TRY(tmac_db_put_trial(s->db, &trial));
    if (s->report->measured < s->noise_room && summary.median_ns)
        s->noise[s->report->measured] = (uint32_t)(1000 * summary.mad_ns / summary.median_ns);
    s->report->measured++;
    return tmac_ok();
}

// The bar counts milliseconds of the budget.
static void tick(void *context)
{
    session *s = context;
    uint64_t now = tmac_now_ns(), ms = (now - s->ticked) / 1000000;
    if (!s->options->progress || ms == 0) return;
    s->ticked += ms * 1000000;
    tmac_progress_advance(&s->progress, ms);
}

// Half of the host's memory is enough for anything: where it is not, rotations are cut.
static tmac_status fill_bench(void *context, const tmac_kernel *const *kernels, size_t count)
{
    session *s = context;
    const tmac_work *work = s->work;
    const tmac_input_set *set = &work->sets[s->set];
    tmac_traffic traffic = {work->sets, work->calls, work->count};
    size_t limit = s->host.memory_bytes ? (size_t)(s->host.memory_bytes / 2) : (size_t)1 << 30;
    bool streamed = s->bucket == 0 && set->residency == TMAC_STREAMED;
    return tmac_workbench_fill(&s->bench, set, tmac_bucket_typical(s->bucket), kernels, count,
                               s->bucket == 0 && !streamed ? work->calls[s->set] : 1,
                               streamed ? &traffic : NULL, limit, &s->random);
}

static tmac_status measure_problem(session *s, uint32_t set_index, uint32_t bucket,
                                   tmac_contender *contenders, const tmac_kernel **kernels)
{
    const tmac_input_set *set = &s->work->sets[set_index];
    double share = problem_share(s->work, set_index, bucket), of = share / s->share_left;
    s->share_left -= share;
    uint32_t count;
    TMAC_TRY(contenders_of(s, set_index, bucket, contenders, &count));
    TMAC_TRY(take_out_measured(s, set, bucket, contenders, &count));
    uint64_t now = tmac_now_ns();
    if (count == 0 || now >= s->deadline) return tmac_ok();
    TMAC_TRY(tmac_db_put_problem(s->db, set, bucket, s->threads, &s->problem_name));
    for (uint32_t i = 0; i < count; i++)
        kernels[i] = contenders[i].kernel;
    char label[48];
    snprintf(label, sizeof label, "%ux%u, %s tokens", set->rows[0], set->columns,
             tmac_bucket_name(bucket));
    if (s->options->progress) tmac_progress_relabel(&s->progress, label);
    s->set = set_index;
    s->bucket = bucket;
    bool streamed = bucket == 0 && set->residency == TMAC_STREAMED;
    TMAC_TRY(fill_bench(s, kernels, count));
    tmac_rounds rounds = {.sample_ns = spending[s->rigor].sample_ns,
                          .deadline_ns =
                              now + (uint64_t)((double)(s->deadline - now) * (of < 1 ? of : 1)),
                          .time_up_ns = s->deadline,
                          .rounds_min = spending[s->rigor].rounds_min,
                          .rounds_max = spending[s->rigor].rounds_max,
                          .random = &s->random,
                          .finished = store_trial,
                          .tick = tick,
                          .refill = streamed ? fill_bench : NULL,
                          .warm = bucket == 0 && !streamed,
                          .context = s};
    return tmac_compete(&s->bench, contenders, count, &rounds);
}

static tmac_status measure_all(session *s)
{
    size_t room = s->candidate_count ? s->candidate_count : 1;
    tmac_contender *contenders = calloc(room, sizeof *contenders);
    const tmac_kernel **kernels = calloc(room, sizeof *kernels);
    s->noise_room = (uint32_t)(room * TMAC_PLAN_ENTRIES * TMAC_BUCKETS);
    s->noise = calloc(s->noise_room, sizeof *s->noise);
    tmac_status status = tmac_ok();
    if (!contenders || !kernels || !s->noise)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu candidates", room);
    s->share_left = 0;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        for (uint32_t i = 0; i < s->work->count; i++)
            s->share_left += problem_share(s->work, i, bucket);
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        for (uint32_t i = 0; i < s->work->count && status.code == TMAC_OK; i++)
            status = measure_problem(s, i, bucket, contenders, kernels);
    free(contenders);
    free(kernels);
    return status;
}

// ----------------------------------------------------------------------------------------------------------- report

static void figure_named(const tmac_db_figure *figures, size_t count, const char *name, double *ns,
                         double *error)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(figures[i].kernel->name, name) != 0 || figures[i].outcome != TMAC_OUTCOME_OK)
            continue;
        *ns = figures[i].ns;
        *error = figures[i].error;
        return;
    }
}

static tmac_status report_lines(session *s)
{
    tmac_plan plan;
    const tmac_work *work = s->work;
    TMAC_TRY(tmac_db_plan(s->db, &s->host, work->sets, work->count, s->threads, s->isa, &plan));
    for (uint32_t i = 0; i < work->count; i++) {
        tmac_plan_entry rule = tmac_plan_rule(&work->sets[i], s->threads, s->isa);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            tmac_tune_line *line = &s->report->lines[s->report->line_count++];
            tmac_db_figure *figures;
            size_t count;
            *line = (tmac_tune_line){.set = i, .bucket = bucket, .rung = plan.entries[i].rung};
            memcpy(line->before, rule.kernel[bucket], sizeof line->before);
            memcpy(line->after, plan.entries[i].kernel[bucket], sizeof line->after);
            TMAC_TRY(tmac_db_figures(s->db, &s->host, &work->sets[i], bucket, s->threads, &figures,
                                     &count));
            figure_named(figures, count, line->before, &line->before_ns, &line->before_error);
            figure_named(figures, count, line->after, &line->after_ns, &line->after_error);
            free(figures);
        }
    }
    return tmac_ok();
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static tmac_status close_run(session *s, tmac_ticks before)
{
    tmac_tune_report *report = s->report;
    tmac_ticks after = tmac_read_ticks();
    uint64_t ticks = after.total - before.total;
    report->steal_thousandths =
        ticks ? (uint32_t)(1000 * (after.stolen - before.stolen) / ticks) : 0;
    uint32_t trials = report->measured < s->noise_room ? report->measured : s->noise_room;
    if (trials) {
        qsort(s->noise, trials, sizeof *s->noise, ascending);
        report->noise_thousandths = s->noise[trials / 2];
    }
    uint64_t duration = tmac_now_ns() - s->started;
    report->seconds = (double)duration * 1e-9;
    // Somebody else's load beforehand, time stolen, or samples that scatter: each makes small gains doubtful.
    report->noisy = report->load_hundredths > 50 * s->host.logical_cpus ||
                    report->steal_thousandths > 20 || report->noise_thousandths > 50;
    tmac_db_close_of_run end = {.run = report->run,
                                .duration_ns = duration,
                                .load_hundredths = tmac_load_hundredths(),
                                .steal_thousandths = report->steal_thousandths,
                                .noise_thousandths = report->noise_thousandths,
                                .measured = report->measured,
                                .failed = report->failed};
    return tmac_db_put_close(s->db, &end);
}

// ---------------------------------------------------------------------------------------------------------- session

static tmac_status open_run(session *s)
{
    TMAC_TRY(tmac_db_open(s->options->db, TMAC_DB_WRITE, &s->db));
    TMAC_TRY(tmac_db_put_host(s->db, &s->host, &s->host_name));
    // A class, not a figure: once measured it serves all later runs.
    s->report->bandwidth = tmac_db_bandwidth(s->db, &s->host_name, s->threads);
    if (s->report->bandwidth == 0)
        s->report->bandwidth = tmac_measure_bandwidth(s->bench.pool, &s->host);
    tmac_db_run run = {.host = s->host_name,
                       .started = tmac_unix_ns(),
                       .rigor = s->rigor,
                       .threads = s->threads,
                       .model = s->work->model,
                       .kernel = s->host.kernel,
                       .logical_cpus = s->host.logical_cpus,
                       .load_hundredths = s->report->load_hundredths,
                       .bandwidth = s->report->bandwidth,
                       .seed = s->options->seed};
    return tmac_db_put_run(s->db, &run, &s->report->run);
}

static tmac_status measured_part(session *s, const tmac_kernel *const *all, size_t count,
                                 const tmac_gate_result *results, const bool *known)
{
    double seconds =
        s->options->time_limit > 0 ? s->options->time_limit : spending[s->rigor].seconds;
    if (!(seconds < 1e6)) seconds = 1e6;
    TMAC_TRY(tmac_pool_new(s->threads, &s->bench.pool));
    const tmac_cpu_list *cpus =
        s->options->cpus; // before memory is touched: it lies near who writes it
    if (cpus) TMAC_TRY(tmac_pool_pin(s->bench.pool, cpus->cpu, cpus->count));
    TMAC_TRY(open_run(s));
    tmac_ticks ticks = tmac_read_ticks();
    TMAC_TRY(record_failures(s, all, count, results, known));
    s->ticked = tmac_now_ns();
    s->deadline = s->ticked + (uint64_t)(seconds * 1e9);
    if (s->options->progress)
        tmac_progress_begin(&s->progress, "measuring", (uint64_t)(seconds * 1e3));
    tmac_status status = measure_all(s);
    if (s->options->progress) tmac_progress_end(&s->progress);
    if (status.code == TMAC_OK) status = close_run(s, ticks);
    if (status.code == TMAC_OK) status = report_lines(s);
    return status;
}

// The kernels that are to be proved: of the host's instruction sets, and in a layout that holds some set.
static size_t select_candidates(const session *s, const tmac_kernel **chosen)
{
    size_t all, count = 0;
    const tmac_kernel *const *kernels = tmac_kernels(&all);
    if (s->options->candidates) {
        kernels = s->options->candidates;
        all = s->options->candidate_count;
    }
    for (size_t i = 0; i < all; i++) {
        bool holds = false;
        for (uint32_t set = 0; set < s->work->count && !holds; set++)
            holds = tmac_layout_holds(kernels[i]->layout, &s->work->sets[set]);
        if (holds && tmac_isa_has(s->isa, kernels[i]->isa)) chosen[count++] = kernels[i];
    }
    return count;
}

tmac_status tmac_tune(const tmac_work *work, const tmac_tune_options *options,
                      tmac_tune_report *report)
{
    memset(report, 0, sizeof *report);
    if (work->count > TMAC_PLAN_ENTRIES)
        return tmac_fail(TMAC_UNSUPPORTED, "%u input sets, %d at most", work->count,
                         TMAC_PLAN_ENTRIES);
    if (options->threads > TMAC_POOL_MAX)
        return tmac_fail(TMAC_USAGE, "%u threads, %d at most", options->threads, TMAC_POOL_MAX);
    session *s = calloc(1, sizeof *s);
    if (!s) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a tuning session");
    s->work = work;
    s->options = options;
    s->report = report;
    s->rigor = options->rigor == TMAC_RIGOR_QUICK ? TMAC_RIGOR_QUICK : TMAC_RIGOR_MEASURE;
    s->random.state = options->seed;
    s->started = tmac_now_ns();
    report->load_hundredths = tmac_load_hundredths();
    tmac_host_probe(&s->host);
    s->isa = (options->isa ? options->isa & s->host.isa : s->host.isa) | 1u << TMAC_ISA_SCALAR;
    s->threads = options->threads       ? options->threads
                 : s->host.logical_cpus ? s->host.logical_cpus
                                        : 1;
    report->threads = s->threads;

    size_t room;
    tmac_kernels(&room);
    room += options->candidate_count + 1;
    const tmac_kernel **all = calloc(room, sizeof *all);
    tmac_gate_result *results = calloc(room, sizeof *results);
    bool *known = calloc(room, sizeof *known);
    s->candidates = calloc(room, sizeof *s->candidates);
    tmac_status status;
    if (all && results && known && s->candidates) {
        size_t count = select_candidates(s, all);
        status = pass_gate(s, all, count, results, known);
        if (status.code == TMAC_OK) status = measured_part(s, all, count, results, known);
    } else {
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu candidates", room);
    }
    tmac_db_close(s->db);
    tmac_workbench_free(&s->bench);
    tmac_pool_free(s->bench.pool);
    free(all);
    free(results);
    free(known);
    free(s->candidates);
    free(s->noise);
    free(s);
    return status;
}

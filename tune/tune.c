// A tuning session, from beginning to end.
//
//   1. Candidates, and the gate, in children, before there is a database handle that a fork could carry over
//      (candidates.c).
//   2. The measuring process is started (measurer.c), then the database opened. This process has no threads.
//   3. Problems, measured and stored (problems.c).
//   4. The fastest kernels of the hottest problems, compiled for their shapes, against those (compiled.c).
//   5. The best plans, timed end to end on the model (judge.c).
//   6. The plan that follows, next to the rule's (report.c).
#include "tune/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "db/kernels.h"
#include "tune/judge.h"
#include "tune/replay.h"
#include "tune/session.h"

enum { PATIENCE_MS = 10000, ADMISSION_MS = 400, LATE_MAX = 64 };

static const tmac_spending spending[TMAC_RIGORS] = {
    [TMAC_RIGOR_QUICK] = {13.5, 0, 0, 0, 0, 800000, 5, 15, 2, 1.25, true, true},
    [TMAC_RIGOR_MEASURE] = {56, 15, 9, 2, 2, 3000000, 9, 48, 4, 1.25, true, true},
    [TMAC_RIGOR_PATIENT] = {300, 40, 40, 6, 3, 4000000, 15, 64, 8, 1.5, false, true},
    [TMAC_RIGOR_EXHAUSTIVE] = {1800, 60, 200, 12, 4, 3000000, 9, 48, 0, INFINITY, false, false},
};

const tmac_spending *tmac_spending_of(tmac_rigor rigor)
{
    return &spending[rigor];
}

uint64_t tmac_tuning_now(const tmac_tuning *t)
{
    return t->options->replay ? tmac_replay_now(t->options->replay) : tmac_now_ns();
}

tmac_status tmac_tuning_open(tmac_tuning *t, tmac_db_mode mode)
{
    if (!t->options->replay) return tmac_db_open(t->options->db, mode, &t->db);
    t->db = tmac_replay_db(t->options->replay);
    return tmac_ok();
}

void tmac_tuning_close(tmac_tuning *t)
{
    if (!t->options->replay) tmac_db_close(t->db);
    t->db = NULL;
}

// A problem's share of the budget: of generated tokens N = 1 has all, of prompts mostly the largest. The small buckets
// serve drafts and the ends of prompts.
static void share_out(tmac_tuning *t)
{
    static const double prefill_share[TMAC_BUCKETS] = {0, 0.08, 0.08, 0.1, 0.15, 0.25};
    double decode = t->options->decode, prefill = t->options->prefill;
    if (decode <= 0 && prefill <= 0) decode = prefill = 1;
    double most = decode > prefill ? decode : prefill;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        double share = bucket == 0 ? decode / most : prefill_share[bucket] * prefill / most;
        t->bucket_share[bucket] = share > 0.01 ? share : 0.01;
    }
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

// Where the kernel of a bucket comes from that has no figure of this host: the entry's rung is that of its layout.
static tmac_rung rung_unmeasured(const tmac_plan_entry *entry, uint32_t bucket, tmac_isa_set isa)
{
    const char *rule = tmac_plan_rule_kernel(entry->layout, bucket, isa);
    if (rule && strcmp(entry->kernel[bucket], rule) == 0) return TMAC_RUNG_RULE;
    return entry->rung == TMAC_RUNG_HOST ? TMAC_RUNG_ISA
                                         : entry->rung; // another host's, of these sets at least
}

static tmac_status report_lines(tmac_tuning *t)
{
    tmac_plan plan;
    const tmac_work *work = t->work;
    TMAC_TRY(tmac_db_plan(t->db, &t->host, work->sets, work->count, t->threads, t->isa, &plan));
    for (uint32_t i = 0; i < work->count; i++) {
        tmac_plan_entry rule = tmac_plan_rule(&work->sets[i], t->threads, t->isa);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            tmac_tune_line *line = &t->report->lines[t->report->line_count++];
            tmac_db_figure *figures;
            size_t count;
            *line = (tmac_tune_line){.set = i, .bucket = bucket, .rung = plan.entries[i].rung};
            memcpy(line->before, rule.kernel[bucket], sizeof line->before);
            memcpy(line->after, plan.entries[i].kernel[bucket], sizeof line->after);
            TMAC_TRY(tmac_db_figures(t->db, &t->host, &work->sets[i], bucket, t->threads, &figures,
                                     &count));
            figure_named(figures, count, line->before, &line->before_ns, &line->before_error);
            figure_named(figures, count, line->after, &line->after_ns, &line->after_error);
            free(figures);
            if (line->after_ns <= 0) line->rung = rung_unmeasured(&plan.entries[i], bucket, t->isa);
        }
    }
    return tmac_ok();
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static tmac_status close_run(tmac_tuning *t, tmac_busy before, uint64_t throttled)
{
    tmac_tune_report *report = t->report;
    tmac_busy after = tmac_read_busy();
    uint64_t total = after.total_ns - before.total_ns;
    report->steal_thousandths =
        total ? (uint32_t)((double)(after.stolen_ns - before.stolen_ns) * 1000 / (double)total) : 0;
    report->throttled = (uint32_t)(tmac_throttle_events() - throttled);
    uint32_t trials = report->measured < t->noise_room ? report->measured : t->noise_room;
    if (trials) {
        qsort(t->noise, trials, sizeof *t->noise, ascending);
        report->noise_thousandths = t->noise[trials / 2];
    }
    uint64_t duration = tmac_now_ns() - t->started;
    report->seconds = (double)duration * 1e-9;
    // Somebody else's work, time stolen, heat, or samples that scatter: each makes small gains doubtful.
    report->noisy = report->noisy_trials > 0 || report->steal_thousandths > 20 ||
                    report->throttled > 0 || report->noise_thousandths > 50;
    tmac_db_close_of_run end = {.run = report->run,
                                .duration_ns = duration,
                                .load_hundredths = tmac_load_hundredths(),
                                .steal_thousandths = report->steal_thousandths,
                                .noise_thousandths = report->noise_thousandths,
                                .measured = report->measured,
                                .failed = report->failed};
    return tmac_db_put_close(t->db, &end);
}

// ---------------------------------------------------------------------------------------------------------- session

static tmac_status open_run(tmac_tuning *t)
{
    TMAC_TRY(tmac_tuning_open(t, TMAC_DB_WRITE));
    TMAC_TRY(tmac_db_put_host(t->db, &t->host, &t->host_name));
    // A class, not a figure: once measured it serves all later runs.
    t->report->bandwidth = tmac_db_bandwidth(t->db, &t->host_name, t->threads);
    if (t->report->bandwidth == 0 && !t->options->replay)
        TMAC_TRY(tmac_measurer_bandwidth(&t->measurer, &t->report->bandwidth));
    tmac_db_run run = {.host = t->host_name,
                       .started = tmac_unix_ns(),
                       .rigor = t->rigor,
                       .threads = t->threads,
                       .model = t->work->model,
                       .kernel = t->host.kernel,
                       .logical_cpus = t->host.logical_cpus,
                       .load_hundredths = t->report->load_hundredths,
                       .bandwidth = t->report->bandwidth,
                       .seed = t->options->seed};
    return tmac_db_put_run(t->db, &run, &t->report->run);
}

// A busy host is refused at the door.
static tmac_status admit(const tmac_tuning *t)
{
    if (!t->options->require_quiet) return tmac_ok();
    tmac_sentinel sentinel;
    tmac_neighbour neighbour;
    tmac_sentinel_begin(&sentinel, t->threads, t->options->tolerated);
    bool named = tmac_find_neighbour(0, ADMISSION_MS, &neighbour);
    double foreign = tmac_sentinel_foreign(&sentinel, 0);
    if (foreign <= sentinel.tolerated) return tmac_ok();
    char who[64] = "somebody";
    if (named) snprintf(who, sizeof who, "%s (process %d)", neighbour.name, (int)neighbour.pid);
    return tmac_fail(TMAC_BUSY,
                     "the host is not quiet: %s, %.1f processors in use; nothing was measured; run "
                     "again when it is quiet, or without --require-quiet",
                     who, foreign);
}

static double seconds_of(const tmac_tuning *t)
{
    double seconds =
        t->options->time_limit > 0 ? t->options->time_limit : spending[t->rigor].seconds;
    return seconds < 1e6 ? seconds : 1e6;
}

// What the judgement of whole plans may take: nothing where there is no model, and never more than a quarter.
static double judging_of(const tmac_tuning *t)
{
    double part = seconds_of(t) / 4;
    if (!t->options->source || spending[t->rigor].judging <= 0) return 0;
    return spending[t->rigor].judging < part ? spending[t->rigor].judging : part;
}

// What the screened head may take, where there is a model: half of that.
static double screening_of(const tmac_tuning *t)
{
    return judging_of(t) / 2;
}

// What kernels compiled for these shapes may take: nothing where there is too little time for a compiler.
static double compiling_of(const tmac_tuning *t)
{
    double part = seconds_of(t) / 5;
    if (t->options->replay || t->options->candidates || !t->options->compile || part < 4) return 0;
    return spending[t->rigor].compiling < part ? spending[t->rigor].compiling : part;
}

static tmac_status measured_part(tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                                 const tmac_gate_result *results, const bool *known)
{
    const bool replay = t->options->replay != NULL;
    t->measurer = (tmac_measurer){.work = t->work,
                                  .host = &t->host,
                                  .candidates = t->candidates,
                                  .threads = t->threads,
                                  .patience_ms = t->options->patience_ms ? t->options->patience_ms
                                                                         : PATIENCE_MS};
    if (!replay) {
        TMAC_TRY(admit(t));
        TMAC_TRY(tmac_measurer_start(&t->measurer));
        tmac_sentinel_begin(&t->sentinel, t->threads, t->options->tolerated);
        tmac_sentinel_child(&t->sentinel, t->measurer.child);
    }
    TMAC_TRY(open_run(t));
    tmac_busy busy = tmac_read_busy();
    uint64_t throttled = tmac_throttle_events();
    TMAC_TRY(tmac_record_failures(t, all, count, results, known));
    // The gate counts, unless it ate most of a limit: proving kernels on a slow host is no reason to measure none.
    uint64_t began = replay ? 0 : t->started;
    t->ticked = tmac_now_ns();
    const double proved = (double)(t->ticked - t->started) * 1e-9;
    if (!replay && t->options->time_limit > 0 && proved > 0.75 * t->options->time_limit)
        began = t->ticked;
    const double compiling = compiling_of(t);
    const uint64_t last =
        began + (uint64_t)((seconds_of(t) - judging_of(t) - screening_of(t)) * 1e9);
    t->deadline = last - (uint64_t)(compiling * 1e9);
    if (t->options->progress)
        tmac_progress_begin(&t->progress, "measuring",
                            t->deadline > t->ticked ? (t->deadline - t->ticked) / 1000000 : 1);
    tmac_status status = tmac_measure_all(t);
    if (status.code == TMAC_OK && compiling > 0) {
        t->deadline = tmac_now_ns() + (uint64_t)(compiling * 1e9);
        status = tmac_measure_specialised(t);
    }
    if (status.code == TMAC_OK && !t->report->complete && !replay && tmac_now_ns() < last) {
        // What the compiler left over: problems that time was up for.
        const uint32_t reused = t->report->reused;
        t->deadline = last;
        status = tmac_measure_all(t);
        t->report->reused = reused;
    }
    if (t->options->progress) tmac_progress_end(&t->progress);
    tmac_measurer_stop(&t->measurer);
    if (status.code == TMAC_OK && judging_of(t) > 0) status = tmac_judge_plans(t, judging_of(t));
    if (status.code == TMAC_OK) status = tmac_screen_widths(t, screening_of(t));
    if (status.code == TMAC_OK) status = close_run(t, busy, throttled);
    if (status.code == TMAC_OK) status = report_lines(t);
    return status;
}

// What was compiled for these shapes before: on this host, or by somebody who is trusted.
static tmac_status load_kernels(const tmac_tuning *t)
{
    tmac_db *db;
    tmac_db_loaded loaded;
    TMAC_TRY(tmac_db_open(t->options->db, TMAC_DB_READ, &db));
    tmac_status status = tmac_db_load_kernels(db, t->work->sets, t->work->count, &loaded);
    tmac_db_close(db);
    return status;
}

static tmac_status begin(tmac_tuning *t, const tmac_work *work, const tmac_tune_options *options,
                         tmac_tune_report *report)
{
    memset(report, 0, sizeof *report);
    if (work->count > TMAC_PLAN_ENTRIES)
        return tmac_fail(TMAC_UNSUPPORTED, "%u input sets, %d at most", work->count,
                         TMAC_PLAN_ENTRIES);
    if (options->threads > TMAC_POOL_MAX)
        return tmac_fail(TMAC_USAGE, "%u threads, %d at most", options->threads, TMAC_POOL_MAX);
    t->work = work;
    t->options = options;
    t->report = report;
    t->rigor = options->rigor > TMAC_RIGOR_NOISY && options->rigor < TMAC_RIGORS
                   ? options->rigor
                   : TMAC_RIGOR_MEASURE;
    t->random.state = options->seed;
    t->started = tmac_now_ns();
    report->load_hundredths = tmac_load_hundredths();
    tmac_host_probe(&t->host);
    t->isa = (options->isa ? options->isa & t->host.isa : t->host.isa) | 1u << TMAC_ISA_SCALAR;
    t->threads = options->threads       ? options->threads
                 : t->host.logical_cpus ? t->host.logical_cpus
                                        : 1;
    report->threads = t->threads;
    share_out(t);
    return options->replay || options->candidates ? tmac_ok() : load_kernels(t);
}

// Everything but measuring.
static tmac_status estimate(tmac_tuning *t)
{
    TMAC_TRY(tmac_tuning_open(t, TMAC_DB_READ));
    t->report->complete = true;
    TMAC_TRY(report_lines(t));
    t->report->seconds = (double)(tmac_now_ns() - t->started) * 1e-9;
    return tmac_ok();
}

typedef struct room {
    const tmac_kernel **all;
    tmac_gate_result *results;
    bool *known;
    size_t count;
} room;

static bool make_room(tmac_tuning *t, room *r)
{
    tmac_kernels(&r->count);
    r->count += t->options->candidate_count + 1 + LATE_MAX;
    r->all = calloc(r->count, sizeof *r->all);
    r->results = calloc(r->count, sizeof *r->results);
    r->known = calloc(r->count, sizeof *r->known);
    t->candidates = calloc(r->count, sizeof *t->candidates);
    t->candidate_room = r->count;
    t->out = calloc(r->count, sizeof *t->out);
    t->rematch = calloc(r->count, sizeof *t->rematch);
    t->noise_room = (uint32_t)(r->count * TMAC_PLAN_ENTRIES * TMAC_BUCKETS);
    t->noise = calloc(t->noise_room, sizeof *t->noise);
    return r->all && r->results && r->known && t->candidates && t->out && t->rematch && t->noise;
}

static void end(tmac_tuning *t, room *r)
{
    tmac_measurer_stop(&t->measurer);
    tmac_tuning_close(t);
    free(r->all);
    free(r->results);
    free(r->known);
    free(t->candidates);
    free(t->out);
    free(t->rematch);
    free(t->noise);
    free(t);
}

tmac_status tmac_tune(const tmac_work *work, const tmac_tune_options *options,
                      tmac_tune_report *report)
{
    room r = {0};
    tmac_tuning *t = calloc(1, sizeof *t);
    if (!t) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a tuning session");
    tmac_status status = begin(t, work, options, report);
    if (status.code == TMAC_OK && !make_room(t, &r))
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu candidates", r.count);
    if (status.code == TMAC_OK && options->estimate) {
        status = estimate(t);
    } else if (status.code == TMAC_OK) {
        size_t count = tmac_select_candidates(t, r.all);
        status = tmac_pass_gate(t, r.all, count, r.results, r.known);
        if (status.code == TMAC_OK) status = measured_part(t, r.all, count, r.results, r.known);
    }
    end(t, &r);
    return status;
}

// ---------------------------------------------------------------------------------------------------------- dry run

static tmac_status print_problem(tmac_tuning *t, uint32_t set, uint32_t bucket,
                                 uint16_t *contenders, double all_shares, FILE *stream)
{
    uint32_t count, reused = 0;
    bool sentinel;
    TMAC_TRY(tmac_contenders_of(t, set, bucket, contenders, &count, &sentinel));
    uint32_t candidates = count;
    TMAC_TRY(tmac_take_out_measured(t, set, bucket, contenders, &count, &sentinel, &reused));
    // Which layouts enter a larger bucket is known once N = 1 has been measured.
    fprintf(stream, "%8u x %-8u %6s %4u%s %8u %8u %8.1f s\n", t->work->sets[set].rows[0],
            t->work->sets[set].columns, tmac_bucket_name(bucket), candidates,
            bucket > 0 && reused == 0 ? "+" : " ", reused, count,
            count
                ? (seconds_of(t) - judging_of(t)) * tmac_problem_share(t, set, bucket) / all_shares
                : 0.0);
    return tmac_ok();
}

static tmac_status print_work(tmac_tuning *t, FILE *stream)
{
    double all_shares = 0;
    uint16_t *contenders = calloc(t->candidate_count + 1, sizeof *contenders);
    if (!contenders) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the candidates");
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        for (uint32_t i = 0; i < t->work->count; i++)
            all_shares += tmac_problem_share(t, i, bucket);
    fprintf(stream,
            "%s, %u threads, %s: %zu kernels to prove, at most %.0f s, of which %.0f s on whole "
            "plans\n\n%-19s %6s %5s %8s %8s %10s\n",
            t->work->model, t->threads, tmac_rigor_name(t->rigor), t->candidate_count,
            seconds_of(t), judging_of(t), "input set", "N", "enter", "known", "to time", "at most");
    tmac_status status = tmac_ok();
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        for (uint32_t i = 0; i < t->work->count && status.code == TMAC_OK; i++)
            status = print_problem(t, i, bucket, contenders, all_shares, stream);
    free(contenders);
    return status;
}

tmac_status tmac_tune_dry_run(const tmac_work *work, const tmac_tune_options *options, FILE *stream)
{
    room r = {0};
    tmac_tune_report *report = calloc(1, sizeof *report);
    tmac_tuning *t = calloc(1, sizeof *t);
    if (!t || !report) {
        free(t);
        free(report);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a tuning session");
    }
    tmac_status status = begin(t, work, options, report);
    if (status.code == TMAC_OK && !make_room(t, &r))
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu candidates", r.count);
    if (status.code == TMAC_OK) status = tmac_tuning_open(t, TMAC_DB_READ);
    if (status.code == TMAC_OK)
        status =
            tmac_db_plan(t->db, &t->host, work->sets, work->count, t->threads, t->isa, &t->seeds);
    if (status.code == TMAC_OK) {
        t->candidate_count = tmac_select_candidates(t, t->candidates);
        status = print_work(t, stream);
    }
    end(t, &r);
    free(report);
    return status;
}

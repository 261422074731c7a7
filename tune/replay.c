#include "tune/replay.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIGURES_MAX = 16384 };

// What a kernel truly takes, as far as the database knows.
typedef struct truth {
    const tmac_kernel *kernel;
    uint32_t set, bucket;
    double ns, deviation; // of a pass; of one sample, relative
} truth;

struct tmac_replay {
    const tmac_work *work;
    truth *items;
    uint32_t count;
    double now_ns;
    uint64_t samples;
    tmac_random random;
    const tmac_kernel **kernels; // that have any
    size_t kernel_count;
    tmac_db *db;               // of the session
    const tmac_job *job;       // being replayed
    const truth **taking_part; // in it, by the candidate's number
    const tmac_job_events *events;
};

// ------------------------------------------------------------------------------------------------------- the samples

static const truth *find(const tmac_replay *replay, const tmac_kernel *kernel, uint32_t set,
                         uint32_t bucket)
{
    for (uint32_t i = 0; i < replay->count; i++) {
        const truth *item = &replay->items[i];
        if (item->kernel == kernel && item->set == set && item->bucket == bucket) return item;
    }
    return NULL;
}

// Approximately normal, mean 0, deviation 1: a sum of twelve.
static double normal(tmac_random *random)
{
    double sum = -6;
    for (int i = 0; i < 12; i++)
        sum += (double)tmac_random_unit(random);
    return sum;
}

// A draw around the median, as wide as the stored samples scattered, and now and then the long tail that real ones have.
static uint64_t draw(void *context, const tmac_contender *contender, uint32_t passes)
{
    tmac_replay *replay = context;
    const truth *item = replay->taking_part[contender->number];
    double ns = item->ns, deviation = item->deviation;
    double factor = 1 + deviation * normal(&replay->random);
    if (tmac_random_below(&replay->random, 20) == 0) factor += 4 * deviation;
    double took = ns * passes * (factor > 0.5 ? factor : 0.5);
    bool streamed = replay->work->sets[replay->job->set].residency == TMAC_STREAMED;
    double warm =
        replay->job->bucket == 0 && !streamed ? ns * replay->work->calls[replay->job->set] : 0;
    replay->now_ns += took + warm;
    replay->samples++;
    return (uint64_t)took;
}

static uint64_t clock_of(void *context)
{
    return (uint64_t)((const tmac_replay *)context)->now_ns;
}

uint64_t tmac_replay_now(const tmac_replay *replay)
{
    return (uint64_t)replay->now_ns;
}

tmac_db *tmac_replay_db(const tmac_replay *replay)
{
    return replay->db;
}

static tmac_status pass_on(void *context, const tmac_contender *contender, uint32_t passes)
{
    const tmac_replay *replay = context;
    tmac_finished f = {contender->number, passes, contender->count, {0}};
    memcpy(f.samples, contender->samples, contender->count * sizeof f.samples[0]);
    return replay->events->finished(replay->events->context, &f);
}

// Who has no stored measurement at this problem does not take part.
tmac_status tmac_replay_run(tmac_replay *replay, const tmac_kernel *const *candidates,
                            const tmac_job *job, const tmac_job_events *events)
{
    replay->job = job;
    replay->events = events;
    tmac_contender *contenders = calloc(job->count + 1u, sizeof *contenders);
    const truth **taking_part = calloc(UINT16_MAX + 1u, sizeof *taking_part);
    if (!contenders || !taking_part) {
        free(contenders);
        free(taking_part);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u contenders", job->count);
    }
    replay->taking_part = taking_part;
    uint32_t count = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        const uint16_t number = job->contenders[i];
        taking_part[number] = find(replay, candidates[number], job->set, job->bucket);
        if (!taking_part[number]) continue;
        contenders[count++] = (tmac_contender){
            .kernel = candidates[number], .number = number, .sentinel = job->sentinel && i == 0};
    }
    const tmac_rounds rounds = {.sample_ns = job->sample_ns,
                                .deadline_ns = job->deadline_ns,
                                .time_up_ns = job->time_up_ns,
                                .rounds_min = job->rounds_min,
                                .rounds_max = job->rounds_max,
                                .drop_ratio = job->drop_ratio,
                                .halve = job->halve,
                                .random = &replay->random,
                                .sample = draw,
                                .now = clock_of,
                                .finished = pass_on,
                                .context = replay};
    tmac_status status = tmac_compete(contenders, count, &rounds);
    free(contenders);
    free(taking_part);
    replay->taking_part = NULL;
    return status;
}

// --------------------------------------------------------------------------------------------------------- the truth

static void add_kernel(tmac_replay *replay, const tmac_kernel *kernel)
{
    for (size_t i = 0; i < replay->kernel_count; i++)
        if (replay->kernels[i] == kernel) return;
    replay->kernels[replay->kernel_count++] = kernel;
}

static tmac_status load_truth(const char *path, const tmac_work *work, const tmac_host *host,
                              uint32_t threads, tmac_replay *replay)
{
    tmac_db *db;
    TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, &db));
    tmac_status status = tmac_ok();
    for (uint32_t set = 0; set < work->count; set++)
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS && status.code == TMAC_OK; bucket++) {
            tmac_db_figure *figures;
            size_t count;
            status = tmac_db_figures(db, host, &work->sets[set], bucket, threads, &figures, &count);
            for (size_t i = 0; status.code == TMAC_OK && i < count; i++) {
                const tmac_db_figure *f = &figures[i];
                if (f->outcome != TMAC_OUTCOME_OK || replay->count == FIGURES_MAX) continue;
                add_kernel(replay, f->kernel);
                // The error of a median back to the deviation of a sample.
                replay->items[replay->count++] = (truth){
                    f->kernel, set, bucket, f->ns, f->error * sqrt(f->samples) / 1.2533 / f->ns};
            }
            if (status.code == TMAC_OK) free(figures);
        }
    tmac_db_close(db);
    if (status.code == TMAC_OK && replay->count == 0)
        status =
            tmac_fail(TMAC_NOT_FOUND,
                      "%s: holds no measurements of %s on this host with %u threads; tune with "
                      "--rigor exhaustive first",
                      path ? path : "the default database", work->model, threads);
    return status;
}

// Nanoseconds of the workload with a plan: one generated token and one of a prompt, by what the kernels truly take.
static double time_of(const tmac_replay *replay, const tmac_plan *plan)
{
    static const double share[TMAC_BUCKETS] = {1.0, 0.05, 0.05, 0.1, 0.3, 0.5};
    double ns = 0;
    for (uint32_t set = 0; set < replay->work->count; set++) {
        double last = 0;
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            const truth *item =
                find(replay, tmac_kernel_find(plan->entries[set].kernel[bucket]), set, bucket);
            if (item) last = item->ns / tmac_bucket_typical(bucket);
            ns += share[bucket] * last * replay->work->calls[set];
        }
    }
    return ns;
}

// --------------------------------------------------------------------------------------------------------- sessions

// One session into a database of its own.
static tmac_status replay_once(tmac_replay *replay, const tmac_host *host,
                               const tmac_tune_options *how, uint64_t seed, uint32_t *trials,
                               double *workload_ns)
{
    tmac_tune_options options = *how;
    options.seed = seed;
    options.replay = replay;
    options.candidates = replay->kernels;
    options.candidate_count = replay->kernel_count;
    options.source = NULL;
    options.progress = options.require_quiet = options.estimate = false;
    replay->now_ns = 0;
    replay->random.state = seed;
    tmac_plan plan;
    tmac_tune_report *report = calloc(1, sizeof *report);
    if (!report) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a report");
    tmac_status status = tmac_db_open_memory(&replay->db);
    if (status.code == TMAC_OK) {
        status = tmac_tune(replay->work, &options, report);
        if (status.code == TMAC_OK)
            status = tmac_db_plan(replay->db, host, replay->work->sets, replay->work->count,
                                  report->threads, options.isa ? options.isa : host->isa, &plan);
        tmac_db_close(replay->db);
        replay->db = NULL;
    }
    if (status.code == TMAC_OK) {
        *trials = report->measured;
        *workload_ns = time_of(replay, &plan);
    }
    free(report);
    return status;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static tmac_status replay_rigor(tmac_replay *replay, const tmac_host *host,
                                const tmac_tune_options *options, uint32_t repetitions,
                                double *workloads, tmac_replay_line *line)
{
    tmac_tune_options how = *options;
    how.rigor = line->rigor;
    replay->samples = 0;
    double seconds = 0;
    uint64_t trials = 0;
    for (uint32_t i = 0; i < repetitions; i++) {
        uint32_t measured = 0;
        TMAC_TRY(replay_once(replay, host, &how, options->seed + i, &measured, &workloads[i]));
        trials += measured;
        seconds += replay->now_ns * 1e-9;
    }
    qsort(workloads, repetitions, sizeof *workloads, ascending);
    line->trials = (uint32_t)(trials / repetitions);
    line->samples = replay->samples / repetitions;
    line->seconds = seconds / repetitions;
    line->loss = workloads[repetitions / 2];
    line->loss_worst = workloads[repetitions - 1];
    line->spread = workloads[repetitions - 1] / workloads[0] - 1;
    return tmac_ok();
}

tmac_status tmac_replay_all(const char *db, const tmac_work *work, const tmac_tune_options *options,
                            uint32_t repetitions, tmac_replay_line *lines, uint32_t *count)
{
    tmac_host host;
    tmac_host_probe(&host);
    *count = 0;
    tmac_replay replay = {.work = work};
    double *workloads = calloc(repetitions + 1u, sizeof *workloads);
    replay.items = calloc(FIGURES_MAX, sizeof *replay.items);
    size_t all;
    tmac_kernels(&all);
    replay.kernels = calloc(all + 1, sizeof *replay.kernels);
    tmac_status status = tmac_ok();
    if (!workloads || !replay.items || !replay.kernels || repetitions == 0)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u repetitions", repetitions);
    uint32_t threads = options->threads ? options->threads : host.logical_cpus;
    if (status.code == TMAC_OK) status = load_truth(db, work, &host, threads, &replay);
    for (int rigor = TMAC_RIGOR_QUICK; rigor < TMAC_RIGORS && status.code == TMAC_OK; rigor++) {
        lines[*count] = (tmac_replay_line){.rigor = (tmac_rigor)rigor};
        status = replay_rigor(&replay, &host, options, repetitions, workloads, &lines[(*count)++]);
    }
    free(workloads);
    free(replay.items);
    free(replay.kernels);
    if (status.code != TMAC_OK) return status;
    // Losses against the best that any of them found: exhaustive, as a rule.
    double best = INFINITY;
    for (uint32_t i = 0; i < *count; i++)
        if (lines[i].loss < best) best = lines[i].loss;
    for (uint32_t i = 0; i < *count; i++) {
        lines[i].loss = lines[i].loss / best - 1;
        lines[i].loss_worst = lines[i].loss_worst / best - 1;
    }
    return tmac_ok();
}

void tmac_replay_print(const tmac_work *work, const tmac_replay_line *lines, uint32_t count,
                       FILE *stream)
{
    fprintf(stream, "%s\n\n%-12s %8s %10s %10s %9s %9s %9s\n", work->model, "rigor", "kernels",
            "samples", "seconds", "loss", "worst", "spread");
    for (uint32_t i = 0; i < count; i++)
        fprintf(stream, "%-12s %8" PRIu32 " %10" PRIu64 " %10.1f %8.2f%% %8.2f%% %8.2f%%\n",
                tmac_rigor_name(lines[i].rigor), lines[i].trials, lines[i].samples,
                lines[i].seconds, 100 * lines[i].loss, 100 * lines[i].loss_worst,
                100 * lines[i].spread);
}

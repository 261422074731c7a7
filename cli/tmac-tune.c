// tmac-tune: measures kernels on this host for one model and remembers the fastest.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"
#include "base/options.h"
#include "base/pool.h"
#include "base/topology.h"
#include "cli/emit.h"
#include "convert/convert.h"
#include "tune/replay.h"
#include "tune/tune.h"

typedef struct arguments {
    const char *model, *shape, *shapes, *db, *rigor, *isa, *cpus, *bit_order, *threads, *mix, *only,
        *replay, *emit;
    uint64_t seed, repetitions;
    float time_limit;
    bool json, dry_run, require_quiet, accept_noise, no_compile;
} arguments;

enum { THREAD_COUNTS_MAX = 16, REPETITIONS_MAX = 1000 };

// The shapes that --shapes canonical tunes for.
static const char *const canonical[] = {"bitnet-2b-4t", "bitnet-3b", "llama3-8b", "falcon3-1b",
                                        "stories110m"};

// "1,2,4": ascending or not, each at most once.
static tmac_status parse_threads(const char *text, uint32_t counts[THREAD_COUNTS_MAX],
                                 uint32_t *count)
{
    *count = 0;
    for (const char *at = text; *at;) {
        char *end;
        unsigned long value = strtoul(at, &end, 10);
        bool known = false;
        for (uint32_t i = 0; i < *count; i++)
            known = known || counts[i] == value;
        if (end == at || *at < '0' || *at > '9' || (*end && *end != ',') || value == 0 ||
            value > TMAC_POOL_MAX || *count == THREAD_COUNTS_MAX || (*end == ',' && !end[1]))
            return tmac_fail(TMAC_USAGE,
                             "-j %.60s: expected numbers of threads, 1 to %d, as in 1,2", text,
                             TMAC_POOL_MAX);
        if (!known) counts[(*count)++] = (uint32_t)value;
        at = *end ? end + 1 : end;
    }
    if (*count == 0) return tmac_fail(TMAC_USAGE, "-j needs a number of threads");
    return tmac_ok();
}

static tmac_status parse_mix(const char *text, tmac_tune_options *options)
{
    char *end;
    if (!text) return tmac_ok();
    options->decode = strtod(text, &end);
    bool good = end != text && *end == ':';
    const char *second = end + 1;
    if (good) options->prefill = strtod(second, &end);
    good = good && end != second && !*end && options->decode >= 0 && options->prefill >= 0 &&
           options->decode + options->prefill > 0 && options->decode < 1e9 &&
           options->prefill < 1e9;
    return good
               ? tmac_ok()
               : tmac_fail(TMAC_USAGE,
                           "--mix %.60s: expected generated tokens to tokens of prompts, as in 1:4",
                           text);
}

// The plan that is in force once all was measured.
static tmac_status emit(const arguments *a, const tmac_work *work, const tmac_tune_options *options)
{
    tmac_db *db;
    tmac_host host;
    tmac_plan plan;
    tmac_host_probe(&host);
    TMAC_TRY(tmac_db_open(options->db, TMAC_DB_READ, &db));
    tmac_status status = tmac_db_plan(db, &host, work->sets, work->count, options->threads,
                                      options->isa ? options->isa & host.isa : host.isa, &plan);
    tmac_db_close(db);
    return status.code == TMAC_OK ? tmac_emit_plan(&plan, work->model, a->emit) : status;
}

// One model or shape with one number of threads.
static tmac_status tune_one(const arguments *a, const tmac_work *work,
                            const tmac_tune_options *options)
{
    static tmac_tune_report report;
    if (a->replay) {
        tmac_replay_line lines[TMAC_RIGORS];
        uint32_t count;
        TMAC_TRY(
            tmac_replay_all(a->replay, work, options, (uint32_t)a->repetitions, lines, &count));
        tmac_replay_print(work, lines, count, stdout);
        return tmac_ok();
    }
    if (a->dry_run) return tmac_tune_dry_run(work, options, stdout);
    TMAC_TRY(tmac_tune(work, options, &report));
    if (a->emit) TMAC_TRY(emit(a, work, options));
    if (a->json) return tmac_tune_print_json(work, &report, stdout);
    tmac_tune_print(work, &report, stdout);
    return tmac_ok();
}

static tmac_status tune_all(const arguments *a, const tmac_work *work, tmac_tune_options *options,
                            const uint32_t *threads, uint32_t thread_counts)
{
    for (uint32_t i = 0; i < thread_counts; i++) {
        options->threads = threads[i];
        options->with_threads = i > 0 ? threads[0] : 0;
        if (i > 0 && !a->json) putchar('\n');
        TMAC_TRY(tune_one(a, work, options));
        if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write to standard output");
    }
    return tmac_ok();
}

static tmac_status tune_model(const arguments *a, const tmac_tune_options *how,
                              const uint32_t *threads, uint32_t thread_counts)
{
    static tmac_work work;
    tmac_tune_options options = *how;
    tmac_open_options open = {0};
    tmac_source source;
    TMAC_TRY(tmac_bit_order_parse(a->bit_order, &open.bit_order));
    TMAC_TRY(tmac_source_open(a->model, &open, &source));
    tmac_status status = tmac_work_of_source(&source, &work);
    if (status.code == TMAC_OK && work.count == 0)
        status = tmac_fail(TMAC_UNSUPPORTED,
                           "%s: has no ternary matrices, so there is nothing to tune", a->model);
    options.source = &source;
    if (status.code == TMAC_OK) status = tune_all(a, &work, &options, threads, thread_counts);
    tmac_source_close(&source);
    return status;
}

static tmac_status tune_shape(const arguments *a, const char *name, tmac_tune_options *options,
                              const uint32_t *threads, uint32_t thread_counts)
{
    static tmac_work work;
    tmac_synth_shape shape;
    TMAC_TRY(tmac_synth_parse(name, &shape));
    TMAC_TRY(tmac_work_of_shape(&shape, name, &work));
    return tune_all(a, &work, options, threads, thread_counts);
}

// A processor that is not there is best named before anything is proven or measured.
static tmac_status read_cpus(const char *text, tmac_cpu_list *cpus)
{
    static tmac_cpu_list allowed;
    TMAC_TRY(tmac_cpu_list_parse(text, cpus));
    tmac_cpu_list_allowed(&allowed);
    for (uint32_t i = 0; i < cpus->count; i++) {
        bool known = false;
        for (uint32_t j = 0; j < allowed.count; j++)
            known |= allowed.cpu[j] == cpus->cpu[i];
        if (!known)
            return tmac_fail(TMAC_USAGE,
                             "--cpus %.60s: processor %u is none that this process may "
                             "run on",
                             text, cpus->cpu[i]);
    }
    return tmac_ok();
}

static tmac_status read_options(const arguments *a, tmac_tune_options *options, uint32_t *threads,
                                uint32_t *thread_counts)
{
    if ((a->model != NULL) + (a->shape != NULL) + (a->shapes != NULL) != 1)
        return tmac_fail(TMAC_USAGE,
                         "give either --model FILE, --shape SHAPE or --shapes canonical");
    if (a->shapes && strcmp(a->shapes, "canonical") != 0)
        return tmac_fail(TMAC_USAGE, "--shapes %.60s: the list that there is, is canonical",
                         a->shapes);
    options->estimate = strcmp(a->rigor, "estimate") == 0;
    if (!options->estimate) TMAC_TRY(tmac_rigor_parse(a->rigor, &options->rigor));
    TMAC_TRY(parse_mix(a->mix, options));
    tmac_host host;
    tmac_host_probe(&host);
    threads[0] = tmac_default_threads(host.logical_cpus);
    *thread_counts = 1;
    if (a->cpus) {
        static tmac_cpu_list cpus;
        TMAC_TRY(read_cpus(a->cpus, &cpus));
        options->cpus = &cpus;
        threads[0] = cpus.count < TMAC_POOL_MAX ? cpus.count : TMAC_POOL_MAX;
    }
    if (a->threads) TMAC_TRY(parse_threads(a->threads, threads, thread_counts));
    if (!(a->time_limit >= 0)) return tmac_fail(TMAC_USAGE, "the time limit must not be negative");
    if (a->repetitions == 0 || a->repetitions > REPETITIONS_MAX)
        return tmac_fail(TMAC_USAGE, "--repetitions: 1 to %d", REPETITIONS_MAX);
    if (a->emit && (a->shapes || *thread_counts > 1 || a->dry_run || a->replay))
        return tmac_fail(TMAC_USAGE,
                         "--emit-c writes one plan: for one model or shape, with one number "
                         "of threads");
    if (a->require_quiet && a->accept_noise)
        return tmac_fail(TMAC_USAGE, "--require-quiet and --accept-noise contradict each other");
    if (a->accept_noise) options->tolerated = 1e9;
    if (a->isa) {
        tmac_isa isa;
        TMAC_TRY(tmac_isa_parse(a->isa, &isa));
        if (!tmac_isa_has(tmac_isa_verified(), isa))
            return tmac_fail(TMAC_UNSUPPORTED, "this host does not execute %s", a->isa);
        options->isa = tmac_isa_contained(isa);
    }
    return tmac_ok();
}

static tmac_status run(const arguments *a)
{
    uint32_t threads[THREAD_COUNTS_MAX], thread_counts = 1;
    tmac_tune_options options = {.db = a->db,
                                 .seed = a->seed,
                                 .time_limit = (double)a->time_limit,
                                 .only = a->only,
                                 .require_quiet = a->require_quiet,
                                 .compile = !a->no_compile,
                                 .progress = true};
    TMAC_TRY(read_options(a, &options, threads, &thread_counts));
    const size_t shapes = a->shapes ? sizeof canonical / sizeof canonical[0] : 1;
    if (options.time_limit > 0) options.time_limit /= (double)thread_counts * (double)shapes;
    if (a->model) return tune_model(a, &options, threads, thread_counts);
    if (a->shape) return tune_shape(a, a->shape, &options, threads, thread_counts);
    for (size_t i = 0; i < sizeof canonical / sizeof canonical[0]; i++) {
        if (i > 0 && !a->json) putchar('\n');
        TMAC_TRY(tune_shape(a, canonical[i], &options, threads, thread_counts));
    }
    return tmac_ok();
}

int main(int argc, char **argv)
{
    arguments a = {.rigor = "measure", .seed = 1, .repetitions = 10};
    const tmac_option options[] = {
        {'m', "model", TMAC_OPTION_STRING, &a.model, "FILE",
         "the model to tune for, in any format we read"},
        {0, "shape", TMAC_OPTION_STRING, &a.shape, "SHAPE",
         "tune for a shape instead: a name, or dim=..,hidden=..,..."},
        {0, "db", TMAC_OPTION_STRING, &a.db, "FILE",
         "the database (default: $TMAC_DB, else tmac/tune.db of the user's data)"},
        {0, "shapes", TMAC_OPTION_STRING, &a.shapes, "canonical",
         "tune for the shapes of well-known models"},
        {0, "rigor", TMAC_OPTION_STRING, &a.rigor, "LEVEL",
         "estimate, quick (15 s), measure (default, 60 s), patient or exhaustive"},
        {'j', "threads", TMAC_OPTION_STRING, &a.threads, "LIST",
         "numbers of threads the model will run with: 1,2 (default: as tmac-run)"},
        {0, "cpus", TMAC_OPTION_STRING, &a.cpus, "LIST",
         "tie the threads to these processors, like 0-3,8, and run one on each unless -j says "
         "otherwise"},
        {0, "mix", TMAC_OPTION_STRING, &a.mix, "DECODE:PREFILL",
         "the workload: generated tokens to tokens of prompts (default: 1:1)"},
        {0, "only", TMAC_OPTION_STRING, &a.only, "PATTERN",
         "only kernels with this in their names, or matching it: 'lut5*_n1_*'"},
        {0, "dry-run", TMAC_OPTION_FLAG, &a.dry_run, NULL, "print the plan of work and exit"},
        {0, "require-quiet", TMAC_OPTION_FLAG, &a.require_quiet, NULL,
         "fail where other processes use the processors, instead of marking what was measured"},
        {0, "accept-noise", TMAC_OPTION_FLAG, &a.accept_noise, NULL,
         "mark nothing: for hosts that are never quiet"},
        {0, "no-compile", TMAC_OPTION_FLAG, &a.no_compile, NULL,
         "use the kernels of this program only: compile none for these shapes"},
        {0, "replay", TMAC_OPTION_STRING, &a.replay, "DB",
         "measure nothing: compare all rigors on the measurements stored in DB"},
        {0, "repetitions", TMAC_OPTION_UNSIGNED, &a.repetitions, "N",
         "with --replay: sessions of each rigor (default: 10)"},
        {0, "isa", TMAC_OPTION_STRING, &a.isa, "NAME",
         "use only what this instruction set contains"},
        {0, "seed", TMAC_OPTION_UNSIGNED, &a.seed, "N",
         "seed of the order of measurements (default: 1)"},
        {0, "time-limit", TMAC_OPTION_FLOAT, &a.time_limit, "S", "seconds of a session at most"},
        {0, "emit-c", TMAC_OPTION_STRING, &a.emit, "DIR",
         "write the plan as C, for a static tmac-run with nothing but its kernels"},
        {0, "bit-order", TMAC_OPTION_STRING, &a.bit_order, "msb|lsb", "of a bitllama2.c file"},
        {0, "json", TMAC_OPTION_FLAG, &a.json, NULL, "print the result as JSON"},
        {0},
    };
    const tmac_program program = {
        .name = "tmac-tune",
        .purpose = "Measure kernels on this host for one model and remember the fastest.",
        .operands = "",
        .details = "Every measurement is stored as it is made. Interrupt it at any time; run "
                   "again, it continues.\n"
                   "Tuning changes speed and never results.",
        .options = options,
    };
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    tmac_status status = run(&a);
    return status.code == TMAC_OK ? 0 : tmac_report(&program, status);
}

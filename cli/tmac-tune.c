// tmac-tune: measures kernels on this host for one model and remembers the fastest.
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/options.h"
#include "base/pool.h"
#include "base/topology.h"
#include "convert/convert.h"
#include "tune/tune.h"

typedef struct arguments {
    const char *model, *shape, *db, *rigor, *isa, *cpus, *bit_order;
    uint64_t threads, seed;
    float time_limit;
    bool json;
} arguments;

static tmac_status read_work(const arguments *a, tmac_work *work)
{
    if (!a->model == !a->shape)
        return tmac_fail(TMAC_USAGE, "give either --model FILE or --shape SHAPE");
    if (a->shape) {
        tmac_synth_shape shape;
        TMAC_TRY(tmac_synth_parse(a->shape, &shape));
        return tmac_work_of_shape(&shape, a->shape, work);
    }
    tmac_open_options options = {0};
    tmac_source source;
    TMAC_TRY(tmac_bit_order_parse(a->bit_order, &options.bit_order));
    TMAC_TRY(tmac_source_open(a->model, &options, &source));
    tmac_status status = tmac_work_of_source(&source, work);
    tmac_source_close(&source);
    if (status.code == TMAC_OK && work->count == 0)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "%s: has no ternary matrices, so there is nothing to tune", a->model);
    return status;
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

static tmac_status run(const arguments *a)
{
    static tmac_cpu_list cpus;
    static tmac_work work;
    static tmac_tune_report report;
    tmac_tune_options options = {
        .db = a->db, .seed = a->seed, .time_limit = (double)a->time_limit, .progress = true};
    TMAC_TRY(tmac_rigor_parse(a->rigor, &options.rigor));
    if (a->threads > TMAC_POOL_MAX)
        return tmac_fail(TMAC_USAGE, "%llu threads, %d at most", (unsigned long long)a->threads,
                         TMAC_POOL_MAX);
    tmac_host host;
    tmac_host_probe(&host);
    options.threads = a->threads ? (uint32_t)a->threads : tmac_default_threads(host.logical_cpus);
    if (a->cpus) {
        TMAC_TRY(read_cpus(a->cpus, &cpus));
        options.cpus = &cpus;
        if (a->threads == 0)
            options.threads = cpus.count < TMAC_POOL_MAX ? cpus.count : TMAC_POOL_MAX;
    }
    if (!(a->time_limit >= 0)) return tmac_fail(TMAC_USAGE, "the time limit must not be negative");
    if (a->isa) {
        tmac_isa isa;
        TMAC_TRY(tmac_isa_parse(a->isa, &isa));
        if (!tmac_isa_has(tmac_isa_verified(), isa))
            return tmac_fail(TMAC_UNSUPPORTED, "this host does not execute %s", a->isa);
        options.isa = tmac_isa_contained(isa);
    }
    TMAC_TRY(read_work(a, &work));
    TMAC_TRY(tmac_tune(&work, &options, &report));
    if (a->json) return tmac_tune_print_json(&work, &report, stdout);
    tmac_tune_print(&work, &report, stdout);
    return tmac_ok();
}

int main(int argc, char **argv)
{
    arguments a = {.rigor = "measure", .seed = 1};
    const tmac_option options[] = {
        {'m', "model", TMAC_OPTION_STRING, &a.model, "FILE",
         "the model to tune for, in any format we read"},
        {0, "shape", TMAC_OPTION_STRING, &a.shape, "SHAPE",
         "tune for a shape instead: a name, or dim=..,hidden=..,..."},
        {0, "db", TMAC_OPTION_STRING, &a.db, "FILE",
         "the database (default: $TMAC_DB, else tmac/tune.db of the user's data)"},
        {0, "rigor", TMAC_OPTION_STRING, &a.rigor, "quick|measure",
         "how much time to spend (default: measure)"},
        {'j', "threads", TMAC_OPTION_UNSIGNED, &a.threads, "N",
         "threads the model will run with (default: as tmac-run)"},
        {0, "cpus", TMAC_OPTION_STRING, &a.cpus, "LIST",
         "tie the threads to these processors, like 0-3,8, and run one on each unless -j says "
         "otherwise"},
        {0, "isa", TMAC_OPTION_STRING, &a.isa, "NAME",
         "use only what this instruction set contains"},
        {0, "seed", TMAC_OPTION_UNSIGNED, &a.seed, "N",
         "seed of the order of measurements (default: 1)"},
        {0, "time-limit", TMAC_OPTION_FLOAT, &a.time_limit, "S", "seconds of measuring at most"},
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

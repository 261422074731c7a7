// tmac-bench: how fast this host, its kernels, and a model on it are.
#include <stdio.h>

#include "cli/bench.h"
#include "runtime/kernel.h"

enum { WORKING_SET_MAX = 1 << 20 }; // MB

typedef struct arguments {
    tmac_bench_model_options model;
    bool kernels, host, json;
    uint64_t megabytes, rows, columns, tokens;
} arguments;

static tmac_status run(const arguments *a, const tmac_program *program, const char *pattern,
                       bool *all_exact)
{
    *all_exact = true;
    if (a->kernels + a->host + (a->model.model != NULL) != 1)
        return tmac_fail(TMAC_USAGE, "give one of --model FILE, --kernels [PATTERN] and --host; "
                                     "try 'tmac-bench --help'");
    if (pattern && !a->kernels)
        return tmac_fail(TMAC_USAGE, "'%.60s': only --kernels takes a pattern", pattern);
    if (a->rows == 0 || a->rows > 1 << 20 || a->columns == 0 || a->columns > TMAC_COLUMNS_MAX ||
        a->megabytes == 0 || a->megabytes > WORKING_SET_MAX || a->tokens == 0 || a->tokens > 4096)
        return tmac_fail(TMAC_USAGE, "--rows, --columns, --mb or --tokens is out of range");
    const size_t working_set = (size_t)a->megabytes * 1000000;
    if (a->host) return tmac_bench_host(working_set, a->json);
    if (a->kernels)
        return tmac_bench_kernels(
            &(tmac_bench_kernels_options){pattern ? pattern : "", (uint32_t)a->rows,
                                          (uint32_t)a->columns, (uint32_t)a->tokens, working_set,
                                          a->json},
            all_exact);
    tmac_bench_model_options model = a->model;
    model.working_set = working_set;
    if (a->json) model.output = "json";
    return tmac_bench_model(&model, program);
}

int main(int argc, char **argv)
{
    arguments a = {.model = {.prompts = "512",
                             .generations = "128",
                             .depths = "0",
                             .output = "md",
                             .repetitions = 5},
                   .megabytes = 450,
                   .rows = 2560,
                   .columns = 2560,
                   .tokens = 1};
    tmac_bench_model_options *m = &a.model;
    const tmac_option options[] = {
        {'m', "model", TMAC_OPTION_STRING, &m->model, "FILE", "measure this model"},
        {'p', "n-prompt", TMAC_OPTION_STRING, &m->prompts, "LIST",
         "prompts of so many tokens (default 512; 0: none)"},
        {'n', "n-gen", TMAC_OPTION_STRING, &m->generations, "LIST",
         "so many tokens one by one (default 128; 0: none)"},
        {'d', "n-depth", TMAC_OPTION_STRING, &m->depths, "LIST",
         "tokens in the KV cache before (default 0)"},
        {'j', "threads", TMAC_OPTION_STRING, &m->threads, "LIST", "threads (default: as tmac-run)"},
        {'b', "batch", TMAC_OPTION_STRING, &m->batches, "LIST",
         "prompt tokens multiplied at once (default 128)"},
        {0, "cpus", TMAC_OPTION_STRING, &m->cpus, "LIST",
         "tie threads to these processors, in this order: 0-3,8"},
        {0, "kv", TMAC_OPTION_STRING, &m->kvs, "LIST", "numbers in the KV cache (default f16)"},
        {0, "isa", TMAC_OPTION_STRING, &m->isas, "LIST", "use no instruction set wider than these"},
        {0, "head", TMAC_OPTION_STRING, &m->head, "TYPE",
         "the head: stored (default), q8, q6, q4, screened"},
        {'r', "repetitions", TMAC_OPTION_UNSIGNED, &m->repetitions, "N",
         "runs of each combination, after one to warm up (default 5)"},
        {'o', "output", TMAC_OPTION_STRING, &m->output, "FORMAT",
         "md (default), csv, json, jsonl or sql"},
        {0, "db", TMAC_OPTION_STRING, &m->database, "FILE",
         "tuning database (default: $TMAC_DB, else $XDG_DATA_HOME/tmac/tune.db)"},
        {0, "bit-order", TMAC_OPTION_STRING, &m->bit_order, "ORDER",
         "msb or lsb: the order of codes in a bitllama2.c file, which does not tell"},
        {0, "no-cache", TMAC_OPTION_FLAG, &m->no_cache, NULL,
         "neither read nor write packed weights in $TMAC_CACHE (default: $XDG_CACHE_HOME/tmac)"},
        {'k', "kernels", TMAC_OPTION_FLAG, &a.kernels, NULL,
         "measure the kernels with PATTERN in their name, or all"},
        {0, "host", TMAC_OPTION_FLAG, &a.host, NULL,
         "measure the host: bandwidth for each number of threads, peaks of its instructions"},
        {0, "mb", TMAC_OPTION_UNSIGNED, &a.megabytes, "N",
         "working set while streaming, in 10^6 bytes (default 450)"},
        {0, "rows", TMAC_OPTION_UNSIGNED, &a.rows, "M", "rows of the matrix (default 2560)"},
        {0, "columns", TMAC_OPTION_UNSIGNED, &a.columns, "K",
         "columns of the matrix (default 2560)"},
        {0, "tokens", TMAC_OPTION_UNSIGNED, &a.tokens, "N",
         "tokens multiplied at once (default 1)"},
        {0, "json", TMAC_OPTION_FLAG, &a.json, NULL, "print JSON"},
        {0, NULL, TMAC_OPTION_FLAG, NULL, NULL, NULL},
    };
    const tmac_program program = {
        .name = "tmac-bench",
        .purpose = "Measures a model, kernels, or this host.",
        .operands = "[PATTERN]",
        .operands_max = 1,
        .details =
            "Lists are separated by commas; every combination is measured. Bandwidth is that of\n"
            "memory, as --host measures it. With --kernels a weight is counted once for each\n"
            "token it is multiplied with; every kernel is checked first; one that computes\n"
            "something else is printed as WRONG, and the exit status is 1.",
        .options = options,
    };
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    bool all_exact;
    tmac_status status = run(&a, &program, operand_count > 0 ? operands[0] : NULL, &all_exact);
    if (status.code != TMAC_OK) return tmac_report(&program, status);
    return all_exact ? 0 : 1;
}

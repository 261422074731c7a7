// The three things that tmac-bench measures: kernels, the host, a model.
#ifndef TMAC_CLI_BENCH_H
#define TMAC_CLI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "base/options.h"
#include "base/pool.h"
#include "base/status.h"

// bench_kernels.c: prints a row for every kernel with `pattern` in its name. *all_exact: none computed something else.
typedef struct tmac_bench_kernels_options {
    const char *pattern;
    uint32_t rows, columns, tokens;
    size_t working_set; // bytes of packed weights while streaming
    bool json;
} tmac_bench_kernels_options;
tmac_status tmac_bench_kernels(const tmac_bench_kernels_options *options, bool *all_exact);

// The middle of `count` times, which it sorts.
uint64_t tmac_bench_median(uint64_t *times, size_t count);

// bench_host.c: prints caches, bandwidth for 1 to the host's threads, and instruction peaks.
tmac_status tmac_bench_host(size_t working_set, bool json);

// The bytes per second that all workers of the pool read from `working_set` bytes of huge pages: for each of a few
// prefetch distances the median of several passes, and the best of those.
tmac_status tmac_bench_bandwidth(tmac_pool *pool, size_t working_set, double *bytes_per_second);

// bench_model.c: tokens per second of a model. Lists are the user's: "1,2"; every combination is measured.
typedef struct tmac_bench_model_options {
    const char *model, *database, *bit_order, *cpus;
    const char *prompts, *generations, *depths, *threads, *batches; // of numbers
    const char *kvs, *isas;                                         // of names; NULL: the default
    const char *head, *output;
    uint64_t repetitions;
    size_t working_set; // for the bandwidth
    bool no_cache;
} tmac_bench_model_options;
tmac_status tmac_bench_model(const tmac_bench_model_options *options, const tmac_program *program);

#endif

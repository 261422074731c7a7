// How fast each kernel is on this host, on one thread.
#include "cli/bench.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "runtime/kernel.h"

enum { STREAM_ROUNDS = 7, CACHED_ROUNDS = 15, PREPARE_ROUNDS = 31 };

typedef struct figures {
    bool exact;
    double streamed, cached; // 10^9 weights per second and thread
    double bytes_per_second; // 10^9, of packed weights while streaming
    double prepare_us;
} figures;

// A matrix in one layout, as many copies as fill the working set, and what kernels of that layout must compute.
typedef struct bench {
    tmac_shape shape;
    size_t working_set;
    int8_t *weights, *q;
    int32_t *expected;
    const tmac_layout *layout; // of what is packed now
    char format;               // of the weights
    tmac_pages tiles;
    size_t matrix_bytes;
    uint32_t copies;
} bench;

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

uint64_t tmac_bench_median(uint64_t *times, size_t count)
{
    qsort(times, count, sizeof *times, ascending);
    return times[count / 2];
}

static tmac_status bench_new(bench *b)
{
    const uint32_t rows = b->shape.rows, columns = b->shape.columns;
    size_t cells;
    if (!tmac_size_multiply(rows, columns, &cells))
        return tmac_fail(TMAC_USAGE, "%u x %u is too large a matrix", rows, columns);
    b->weights = malloc(cells);
    b->q = malloc(columns);
    b->expected = calloc(rows, sizeof *b->expected);
    if (b->weights == NULL || b->q == NULL || b->expected == NULL)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a matrix of %u x %u", rows, columns);
    tmac_random random = {1};
    for (uint32_t k = 0; k < columns; k++)
        b->q[k] = (int8_t)((int32_t)tmac_random_below(&random, 256) - 128);
    return tmac_ok();
}

// Random weights of a layout's format and what they multiply to, unless they are there already.
static void bench_weights(bench *b, const tmac_layout *layout)
{
    const uint32_t rows = b->shape.rows, columns = b->shape.columns;
    if (b->format == layout->format) return;
    b->format = layout->format;
    tmac_random random = {1};
    int8_t *weights = b->weights;
    for (uint32_t r = 0; r < rows; r++, weights += columns) {
        b->expected[r] = 0;
        for (uint32_t k = 0; k < columns; k++) {
            weights[k] = tmac_layout_weight(layout, tmac_random_below(&random, 240));
            b->expected[r] += weights[k] * b->q[k];
        }
    }
}

static void bench_free(bench *b)
{
    tmac_pages_unmap(&b->tiles);
    free(b->weights);
    free(b->q);
    free(b->expected);
}

// Packs the matrix once and copies it until the working set is full.
static tmac_status bench_pack(bench *b, const tmac_layout *layout)
{
    if (b->layout == layout) return tmac_ok();
    b->layout = NULL;
    tmac_pages_unmap(&b->tiles);
    b->tiles = (tmac_pages){0};
    const size_t tile_bytes = layout->tile_bytes(&b->shape);
    const uint32_t tiles = tmac_layout_tiles(layout, b->shape.rows);
    size_t total;
    if (!tmac_size_multiply(tile_bytes, tiles, &b->matrix_bytes))
        return tmac_fail(TMAC_USAGE, "the matrix is too large");
    size_t copies = b->working_set / b->matrix_bytes;
    if (copies == 0) copies = 1;
    if (copies > UINT32_MAX || !tmac_size_multiply(copies, b->matrix_bytes, &total))
        return tmac_fail(TMAC_USAGE, "the working set is too large");
    b->copies = (uint32_t)copies;
    TMAC_TRY(tmac_pages_map(total, &b->tiles));
    bench_weights(b, layout);
    uint8_t *at = b->tiles.data;
    for (uint32_t t = 0; t < tiles; t++) {
        const uint32_t row = t * layout->row_tile;
        const uint32_t rows =
            b->shape.rows - row < layout->row_tile ? b->shape.rows - row : layout->row_tile;
        layout->pack_tile(&b->shape, b->weights + (size_t)row * b->shape.columns, rows,
                          at + t * tile_bytes);
    }
    for (uint32_t i = 1; i < b->copies; i++)
        memcpy(at + i * b->matrix_bytes, at, b->matrix_bytes);
    b->layout = layout;
    return tmac_ok();
}

// Runs the kernel over `copies` matrices in turn.
static uint64_t time_runs(const bench *b, const tmac_kernel *kernel, tmac_matmul job,
                          uint32_t copies)
{
    const uint64_t start = tmac_now_ns();
    for (uint32_t i = 0; i < copies; i++) {
        job.tiles = (const uint8_t *)b->tiles.data + i * b->matrix_bytes;
        kernel->run(&job);
    }
    const uint64_t elapsed = tmac_now_ns() - start;
    return elapsed > 0 ? elapsed : 1;
}

static bool exact(const bench *b, const int32_t *y)
{
    return memcmp(y, b->expected, b->shape.rows * sizeof *y) == 0;
}

static tmac_status measure(bench *b, const tmac_kernel *kernel, uint32_t tokens, figures *result)
{
    TMAC_TRY(bench_pack(b, kernel->layout));
    const uint32_t columns = b->shape.columns;
    const size_t stride = kernel->prepared_bytes(columns, b->shape.group);
    const size_t y_stride = tmac_sums_stride(
        (size_t)tmac_layout_tiles(kernel->layout, b->shape.rows) * kernel->layout->row_tile);
    tmac_pages prepared, y;
    TMAC_TRY(tmac_pages_map(stride * tokens, &prepared));
    tmac_status status = tmac_pages_map(y_stride * 4 * tokens, &y);
    if (status.code != TMAC_OK) {
        tmac_pages_unmap(&prepared);
        return status;
    }
    uint64_t times[PREPARE_ROUNDS];
    for (uint32_t i = 0; i < PREPARE_ROUNDS; i++) {
        const uint64_t start = tmac_now_ns();
        kernel->prepare(b->q, columns, b->shape.group, prepared.data, 0, 1);
        times[i] = tmac_now_ns() - start;
    }
    result->prepare_us = (double)tmac_bench_median(times, PREPARE_ROUNDS) / 1e3;
    for (uint32_t n = 1; n < tokens; n++)
        memcpy((uint8_t *)prepared.data + n * stride, prepared.data, stride);

    const tmac_matmul job = {
        .tiles = b->tiles.data,
        .prepared = prepared.data,
        .prepared_stride = stride,
        .y = y.data,
        .y_stride = y_stride,
        .shape = b->shape,
        .tile_end = tmac_layout_tiles(kernel->layout, b->shape.rows),
        .tokens = tokens,
    };
    kernel->run(&job);
    result->exact = true;
    for (uint32_t n = 0; n < tokens; n++)
        result->exact &= exact(b, job.y + n * y_stride);
    if (result->exact) {
        const double weights = (double)b->shape.rows * columns;
        for (uint32_t i = 0; i < STREAM_ROUNDS; i++)
            times[i] = time_runs(b, kernel, job, b->copies);
        const double seconds = (double)tmac_bench_median(times, STREAM_ROUNDS);
        result->streamed = weights * tokens * b->copies / seconds;
        result->bytes_per_second = (double)b->matrix_bytes * b->copies / seconds;
        // Several runs a round, so that the clock does not matter: 10^8 weights.
        const uint32_t repeats = (uint32_t)(1e8 / (weights * tokens)) + 1;
        (void)time_runs(b, kernel, job, 1);
        for (uint32_t i = 0; i < CACHED_ROUNDS; i++) {
            const uint64_t start = tmac_now_ns();
            for (uint32_t j = 0; j < repeats; j++)
                kernel->run(&job);
            times[i] = (tmac_now_ns() - start) / repeats + 1;
        }
        result->cached = weights * tokens / (double)tmac_bench_median(times, CACHED_ROUNDS);
    }
    tmac_pages_unmap(&prepared);
    tmac_pages_unmap(&y);
    return tmac_ok();
}

static void print_row(const tmac_kernel *kernel, const figures *f)
{
    printf("%-30s %10.2f ", kernel->name, f->prepare_us);
    if (f->exact)
        printf("%12.1f %10.1f %10.1f\n", f->streamed, f->bytes_per_second, f->cached);
    else
        printf("%12s\n", "WRONG");
    fflush(stdout);
}

static json_t *json_row(const tmac_kernel *kernel, const figures *f)
{
    char id[65];
    tmac_kernel_binary_id(kernel, id);
    return json_pack("{s:s, s:s, s:b, s:f, s:f, s:f, s:f}", "kernel", kernel->name, "binary_id", id,
                     "exact", (int)f->exact, "prepare_us", f->prepare_us, "streamed_gws",
                     f->streamed, "streamed_gbs", f->bytes_per_second, "cached_gws", f->cached);
}

static tmac_status run_all(bench *b, const char *pattern, uint32_t tokens, bool json,
                           bool *all_exact)
{
    TMAC_TRY(bench_new(b));
    size_t count, matching = 0;
    const tmac_kernel *const *kernels = tmac_kernels(&count);
    const tmac_isa_set isa = tmac_isa_verified();
    json_t *array = json_array();
    tmac_status status = tmac_ok();
    for (size_t i = 0; i < count && status.code == TMAC_OK; i++) {
        if (strstr(kernels[i]->name, pattern) == NULL || !tmac_isa_has(isa, kernels[i]->isa))
            continue;
        if (kernels[i]->layout->tile_bytes(&b->shape) == 0) continue; // rows too long for it
        if (matching++ == 0 && !json) {
            printf("%ux%u, %u token%s, %u MB streamed, one thread\n", b->shape.rows,
                   b->shape.columns, tokens, tokens == 1 ? "" : "s",
                   (unsigned)(b->working_set / 1000000));
            printf("%-30s %10s %12s %10s %10s\n", "kernel", "prepare us", "stream Gw/s", "GB/s",
                   "cache Gw/s");
        }
        figures f = {0};
        status = measure(b, kernels[i], tokens, &f);
        if (status.code != TMAC_OK) break;
        *all_exact &= f.exact;
        if (!json)
            print_row(kernels[i], &f);
        else if (json_array_append_new(array, json_row(kernels[i], &f)) != 0)
            status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the results");
    }
    if (status.code == TMAC_OK && matching == 0)
        status = tmac_fail(TMAC_NOT_FOUND,
                           "no kernel that this host executes at this shape has %s in its name",
                           pattern);
    if (status.code == TMAC_OK && json &&
        (json_dumpf(array, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF))
        status = tmac_fail(TMAC_IO, "cannot write the results");
    json_decref(array);
    return status;
}

tmac_status tmac_bench_kernels(const tmac_bench_kernels_options *options, bool *all_exact)
{
    bench b = {.shape = {options->rows, options->columns, options->columns},
               .working_set = options->working_set};
    *all_exact = true;
    tmac_status status = run_all(&b, options->pattern, options->tokens, options->json, all_exact);
    bench_free(&b);
    return status;
}

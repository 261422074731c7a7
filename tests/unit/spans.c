// Dividing matrices among workers by spans of rows: every row once, and the same numbers for any number of workers.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/model_private.h"

Test(spans, calls_cover_every_span_once)
{
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels(&count);
    tmac_random random = {5};
    for (size_t k = 0; k < count; k++) {
        const uint32_t tile = kernels[k]->layout->row_tile, span = kernels[k]->row_span;
        cr_assert(span > 0 && tile % span == 0, "%s", kernels[k]->name);
        for (int repeat = 0; repeat < 20; repeat++) {
            const uint32_t spans =
                tmac_kernel_spans(kernels[k], 1 + tmac_random_below(&random, 5 * tile));
            uint32_t begin = tmac_random_below(&random, spans);
            const uint32_t end = begin + 1 + tmac_random_below(&random, spans - begin);
            while (begin < end) {
                tmac_matmul m = {0};
                const uint32_t taken = tmac_kernel_cut(kernels[k], &m, begin, end);
                const uint32_t rows =
                    m.row_end ? m.row_end - m.row_begin : (m.tile_end - m.tile_begin) * tile;
                cr_assert(taken > 0 && taken <= end - begin);
                cr_assert_eq(m.tile_begin * tile + m.row_begin, begin * span);
                cr_assert_eq(rows, taken * span);
                cr_assert(m.row_end <= tile && (m.row_end == 0 || m.tile_end == m.tile_begin + 1));
                begin += taken;
            }
        }
    }
}

// Two matrices of odd heights that share an input, and everything that multiplying them needs: so many scale groups that
// the sums of all rows do not fit one call.
enum { COLUMNS = 70, GROUP = 5, GROUPS = COLUMNS / GROUP, TALL = 1300, LOW = 200, WORKERS_MAX = 5 };
typedef struct little_step {
    tmac_model model;
    tmac_resolved resolved;
    tmac_step step;
    tmac_scratch scratch[WORKERS_MAX];
    int8_t weights[2][TALL * COLUMNS], q[COLUMNS];
    float scales[TALL * GROUPS], activation_scale;
    float y[2][TALL];
} little_step;

static void *aligned(size_t bytes)
{
    void *memory = aligned_alloc(64, tmac_round_up(bytes, 64));
    cr_assert(memory);
    return memory;
}

static uint8_t *pack(const tmac_kernel *kernel, const int8_t *weights, uint32_t rows)
{
    const tmac_layout *layout = kernel->layout;
    const tmac_shape shape = {rows, COLUMNS, GROUP};
    const size_t tile_bytes = layout->tile_bytes(&shape);
    uint8_t *tiles = aligned(tmac_layout_tiles(layout, rows) * tile_bytes);
    for (uint32_t t = 0; t < tmac_layout_tiles(layout, rows); t++) {
        const uint32_t row = t * layout->row_tile, left = rows - row;
        layout->pack_tile(&shape, weights + (size_t)row * COLUMNS,
                          left < layout->row_tile ? left : layout->row_tile,
                          tiles + t * tile_bytes);
    }
    return tiles;
}

static void multiply(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    little_step *s = argument;
    const tmac_step_input input = {
        .tokens = 1, .prepared = s->scratch[0].prepared, .activation_scale = &s->activation_scale};
    tmac_step_multiply(&s->model, &s->step, &input,
                       &(tmac_outputs){{s->y[0], s->y[1]}, {TALL, LOW}, false}, worker);
}

// What one row comes to, by definition.
static float product(const little_step *s, int matrix, uint32_t row)
{
    float sum = 0;
    for (uint32_t g = 0; g < GROUPS; g++) {
        int32_t exact = 0;
        for (uint32_t k = g * GROUP; k < (g + 1) * GROUP; k++)
            exact += s->weights[matrix][(size_t)row * COLUMNS + k] * s->q[k];
        sum += (float)exact * s->scales[(size_t)row * GROUPS + g];
    }
    return sum * s->activation_scale;
}

static float expected(const little_step *s, int matrix, uint32_t row)
{
    const float one = product(s, matrix, row);
    if (!s->step.gated) return one;
    return one > 0 ? one * one * product(s, 1, row) : 0;
}

// gated: the second matrix is as tall as the first one, and there is one output.
static void check_kernel(little_step *s, const tmac_kernel *kernel, bool gated)
{
    static float first[2][TALL];
    const uint32_t heights[2] = {TALL, gated ? TALL : LOW};
    s->step.gated = gated;
    s->resolved = (tmac_resolved){.layout = kernel->layout, .kernel = {kernel}};
    tmac_linear_set *set = &s->step.set[0];
    *set = (tmac_linear_set){
        .matrices = 2, .resolved = &s->resolved, .columns = COLUMNS, .group = GROUP};
    for (int m = 0; m < 2; m++)
        set->linear[m] = (tmac_linear){.rows = heights[m],
                                       .columns = COLUMNS,
                                       .tiles = pack(kernel, s->weights[m], heights[m]),
                                       .scales = s->scales,
                                       .scales_per_row = GROUPS};
    s->model.prepared_room = kernel->prepared_bytes(COLUMNS, GROUP);
    s->model.sums_room = tmac_sums_room(kernel->layout->row_tile, GROUPS);
    cr_assert_lt(tmac_chunk_tiles(kernel->layout->row_tile, GROUPS),
                 tmac_layout_tiles(kernel->layout, TALL));
    for (int w = 0; w < WORKERS_MAX; w++)
        s->scratch[w] = (tmac_scratch){.sums = aligned(s->model.sums_room * 4),
                                       .rows = aligned(s->model.sums_room * 4)};
    s->scratch[0].prepared = aligned(s->model.prepared_room);
    kernel->prepare(s->q, COLUMNS, GROUP, s->scratch[0].prepared, 0, 1);
    for (uint32_t workers = 1; workers <= WORKERS_MAX; workers++) {
        cr_assert_eq(tmac_pool_new(workers, &s->model.pool).code, TMAC_OK);
        memset(s->y, 0xff, sizeof s->y);
        tmac_pool_run(s->model.pool, multiply, s);
        tmac_pool_free(s->model.pool);
        for (int m = 0; m < (gated ? 1 : 2); m++)
            for (uint32_t r = 0; r < heights[m] && workers == 1; r++)
                cr_assert_float_eq(
                    s->y[m][r], expected(s, m, r), 1e-3 + 1e-5 * fabs((double)expected(s, m, r)),
                    "%s%s: row %u of %d", kernel->name, gated ? ", gated" : "", r, m);
        if (workers == 1) memcpy(first, s->y, sizeof first);
        cr_assert(memcmp(first, s->y, sizeof first) == 0, "%s: %u workers", kernel->name, workers);
    }
    for (int m = 0; m < 2; m++)
        free((void *)set->linear[m].tiles);
    for (int w = 0; w < WORKERS_MAX; w++) {
        free(s->scratch[w].sums);
        free(s->scratch[w].rows);
    }
    free(s->scratch[0].prepared);
}

// One kernel of each layout and instruction set: those that follow differ by their prefetching.
Test(spans, results_do_not_depend_on_the_number_of_workers)
{
    static little_step s;
    tmac_random random = {6};
    const tmac_isa_set isa = tmac_isa_verified();
    s.model.floats = tmac_floats_for(isa);
    s.model.scratch = s.scratch;
    static const tmac_source source = {.activation = TMAC_RELU2};
    s.model.source = &source;
    s.step.sets = 1;
    s.activation_scale = 0.03f;
    for (int m = 0; m < 2; m++)
        for (size_t i = 0; i < sizeof s.weights[m]; i++)
            s.weights[m][i] = (int8_t)((int)tmac_random_below(&random, 3) - 1);
    for (size_t i = 0; i < sizeof s.q; i++)
        s.q[i] = (int8_t)((int)tmac_random_below(&random, 256) - 128);
    for (size_t i = 0; i < sizeof s.scales / sizeof *s.scales; i++)
        s.scales[i] = tmac_random_unit(&random);
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels(&count), *last = NULL;
    for (size_t i = 0; i < count; i++) {
        const tmac_kernel *kernel = kernels[i];
        if (kernel->layout->format != 't' || !tmac_isa_has(isa, kernel->isa)) continue;
        if (last && last->layout == kernel->layout && last->isa == kernel->isa) continue;
        check_kernel(&s, kernel, false);
        check_kernel(&s, kernel, true);
        last = kernel;
    }
}

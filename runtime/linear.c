// The two halves of every step of the transformer: prepare its input once, multiply it by all matrices that share it.
//
// The multiplication is cut by tiles, counted across all matrices of a set, so that odd shapes split fairly. Each worker
// claims a few tiles of its share at a time, small enough that the exact sums are still in its cache when the epilogue
// turns them into floats, and then what others have left of theirs: a worker whose processor is taken away for a while
// would otherwise keep all others waiting, a hundred times a token. The sums of a row do not depend on who claims its
// tile, and the epilogue works row by row: the bits are the same for any number of workers.
#include "runtime/model_private.h"

const tmac_kernel *tmac_set_kernel(const tmac_linear_set *set, uint32_t tokens)
{
    return set->resolved->kernel[tmac_bucket_of(tokens)];
}

float tmac_step_prepare(const tmac_model *model, const tmac_step *step,
                        const tmac_step_input *input, uint32_t token, const float *values,
                        int8_t *codes, uint32_t part, uint32_t parts)
{
    if (!step->wants_ternary) return 0;
    uint32_t columns = step->set[0].columns;
    float activation_scale = model->floats->quantize(values, columns, codes);
    for (uint32_t s = 0; s < step->sets; s++) {
        const tmac_linear_set *set = &step->set[s];
        if (!set->resolved) continue;
        const tmac_kernel *kernel = tmac_set_kernel(set, input->tokens);
        kernel->prepare(codes, columns, set->group,
                        input->prepared + s * input->set_stride + token * model->prepared_room,
                        part, parts);
    }
    return activation_scale;
}

typedef struct multiply {
    const tmac_model *model;
    const tmac_linear_set *set;
    const tmac_step_input *input;
    const uint8_t *prepared;
    uint32_t tokens, first_output;
    const tmac_outputs *outputs;
} multiply;

static void multiply_tiles(const multiply *task, uint32_t matrix, uint32_t tile_begin,
                           uint32_t tile_end, const tmac_scratch *scratch)
{
    const tmac_model *model = task->model;
    const tmac_linear_set *set = task->set;
    const tmac_linear *linear = &set->linear[matrix];
    const tmac_kernel *kernel = tmac_set_kernel(set, task->tokens);
    const tmac_outputs *outputs = task->outputs;
    uint32_t row_tile = kernel->layout->row_tile;
    tmac_shape shape = {linear->rows, linear->columns, set->group};
    uint32_t groups = tmac_shape_groups(&shape);
    size_t tile_sums = (size_t)task->tokens * groups * row_tile;
    uint32_t chunk = (uint32_t)(model->sums_room / tile_sums);
    float *y = outputs->y[task->first_output + matrix];
    size_t y_stride = outputs->stride[task->first_output + matrix];

    for (uint32_t tile = tile_begin; tile < tile_end; tile += chunk) {
        uint32_t end = tile_end - tile < chunk ? tile_end : tile + chunk;
        uint32_t row = tile * row_tile, rows = (end - tile) * row_tile;
        tmac_matmul matmul = {
            .tiles = linear->tiles,
            .prepared = task->prepared,
            .prepared_stride = model->prepared_room,
            .y = scratch->sums,
            .y_stride = rows,
            .shape = shape,
            .tile_begin = tile,
            .tile_end = end,
            .tokens = task->tokens,
        };
        kernel->run(&matmul);
        if (rows > linear->rows - row) rows = linear->rows - row; // the rest is padding
        for (uint32_t n = 0; n < task->tokens; n++) {
            tmac_scale_rows scaling = {
                .sums = scratch->sums + (size_t)n * groups * matmul.y_stride,
                .sum_stride = matmul.y_stride,
                .groups = groups,
                .rows = rows,
                .scales = linear->scales + (size_t)row * linear->scales_per_row,
                .scales_per_row = linear->scales_per_row,
                .activation_scale = task->input->activation_scale[n],
            };
            float *to = y + n * y_stride + row;
            float *values = outputs->residual ? scratch->rows : to;
            model->floats->scale_rows(&scaling, values);
            if (outputs->residual) model->floats->add(to, values, rows);
        }
    }
}

static void multiply_rows(const multiply *task, uint32_t matrix, uint32_t row_begin,
                          uint32_t row_end, const tmac_scratch *scratch)
{
    const tmac_model *model = task->model;
    const tmac_linear *linear = &task->set->linear[matrix];
    const tmac_outputs *outputs = task->outputs;
    float *y = outputs->y[task->first_output + matrix];
    size_t y_stride = outputs->stride[task->first_output + matrix];
    const uint32_t chunk = TMAC_FLOAT_ROWS;
    for (uint32_t row = row_begin; row < row_end; row += chunk) {
        uint32_t end = row_end - row < chunk ? row_end : row + chunk;
        tmac_dot_rows dots = {
            .weights = linear->weights,
            .columns = linear->columns,
            .row_begin = row,
            .row_end = end,
            .x = task->input->values,
            .x_stride = task->input->stride,
            .tokens = task->tokens,
            .y = outputs->residual ? scratch->rows : y + row,
            .y_stride = outputs->residual ? chunk : y_stride,
        };
        if (linear->number == TMAC_F32)
            model->floats->dot_rows_f32(&dots);
        else if (linear->number == TMAC_F16)
            model->floats->dot_rows_f16(&dots);
        else
            model->floats->dot_rows_bf16(&dots);
        for (uint32_t n = 0; outputs->residual && n < task->tokens; n++)
            model->floats->add(y + n * y_stride + row, scratch->rows + (size_t)n * chunk,
                               end - row);
    }
}

// Tiles [begin, end), counted across the matrices of the set.
static void multiply_range(const multiply *task, uint64_t begin, uint64_t end,
                           const tmac_scratch *scratch)
{
    const tmac_linear_set *set = task->set;
    uint64_t first = 0; // tile (or row) of the set at which this matrix starts
    for (uint32_t m = 0; m < set->matrices && first < end; m++) {
        uint64_t count = set->resolved ? set->linear[m].tile_count : set->linear[m].rows;
        uint64_t from = begin > first ? begin - first : 0;
        uint64_t to = end - first < count ? end - first : count;
        if (from < to) {
            if (set->resolved)
                multiply_tiles(task, m, (uint32_t)from, (uint32_t)to, scratch);
            else
                multiply_rows(task, m, (uint32_t)from, (uint32_t)to, scratch);
        }
        first += count;
    }
}

// How many tiles are claimed at once: what a core reads in some microseconds, or what is multiplied in one call.
static uint32_t claim_size(const multiply *task)
{
    enum { BYTES = 64 << 10 };
    const tmac_linear_set *set = task->set;
    if (!set->resolved) return TMAC_FLOAT_ROWS;
    const tmac_layout *layout = set->resolved->layout;
    const tmac_linear *linear = &set->linear[0];
    const tmac_shape shape = {linear->rows, linear->columns, set->group};
    const size_t sums = (size_t)task->tokens * tmac_shape_groups(&shape) * layout->row_tile;
    const size_t call = task->model->sums_room / sums;
    size_t tiles = BYTES / layout->tile_bytes(&shape);
    if (task->tokens > 1 || tiles > call) tiles = call;
    return tiles ? (uint32_t)tiles : 1;
}

// One set: first the worker's own share, from its beginning, then what slower ones have left of theirs.
static void multiply_set(const multiply *task, tmac_claim *claims, uint32_t worker)
{
    const tmac_model *model = task->model;
    const uint32_t workers = tmac_pool_threads(model->pool), step = claim_size(task);
    for (uint32_t w = 0; w < workers; w++) {
        const uint32_t owner = (worker + w) % workers;
        uint64_t begin, end;
        tmac_pool_share(model->pool, task->set->tile_count, owner, &begin, &end);
        for (;;) {
            const uint64_t from = begin + atomic_fetch_add(&claims[owner].tiles, step);
            if (from >= end) break;
            multiply_range(task, from, end - from < step ? end : from + step,
                           &model->scratch[worker]);
        }
    }
}

static tmac_claim *claims_of(const tmac_model *model, uint32_t step, uint32_t set)
{
    return model->claims + ((size_t)(step % TMAC_CLAIM_STEPS) * TMAC_SET_MATRICES + set) *
                               tmac_pool_threads(model->pool);
}

void tmac_step_multiply(const tmac_model *model, const tmac_step *step,
                        const tmac_step_input *input, const tmac_outputs *outputs, uint32_t worker)
{
    const uint32_t number = model->scratch[worker].steps++;
    // The next step's claims were last used two steps ago: a barrier lies between, another one before they are used.
    for (uint32_t s = 0; s < TMAC_SET_MATRICES; s++)
        atomic_store_explicit(&claims_of(model, number + 1, s)[worker].tiles, 0,
                              memory_order_relaxed);
    uint32_t first_output = 0;
    for (uint32_t s = 0; s < step->sets; s++) {
        multiply task = {.model = model,
                         .set = &step->set[s],
                         .input = input,
                         .prepared = input->prepared + s * input->set_stride,
                         .tokens = input->tokens,
                         .first_output = first_output,
                         .outputs = outputs};
        multiply_set(&task, claims_of(model, number, s), worker);
        first_output += step->set[s].matrices;
    }
}

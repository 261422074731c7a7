// The two halves of every step of the transformer: prepare its input once, multiply it by all matrices that share it.
//
// The multiplication is cut by spans of rows, counted across all matrices of a set, so that odd shapes split fairly: a
// tall tile may be shared by two workers. A worker takes as many tiles at a time as leave the exact sums in its cache,
// where the epilogue turns them into floats. The sums of a row do not depend on who multiplies it, and the epilogue works
// row by row: the bits are the same for any number of workers.
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
    bool gated;
    const tmac_outputs *outputs;
} multiply;

// The exact sums of some rows of a matrix, in the worker's scratch.
typedef struct chunk {
    const tmac_linear *linear;
    uint32_t spans, row, rows; // rows that exist, from row on
    uint32_t groups;
    const int32_t *sums;
    size_t stride; // of a token's group
} chunk;

// Multiplies the first rows of the spans [begin, end) of a matrix, as many as fit the scratch.
static chunk multiply_chunk(const multiply *task, uint32_t matrix, uint32_t begin, uint32_t end,
                            const tmac_scratch *scratch)
{
    const tmac_linear *linear = &task->set->linear[matrix];
    const tmac_kernel *kernel = tmac_set_kernel(task->set, task->tokens);
    const uint32_t row_tile = kernel->layout->row_tile, spans = row_tile / kernel->row_span;
    const tmac_shape shape = {linear->rows, linear->columns, task->set->group};
    const uint32_t groups = tmac_shape_groups(&shape);
    const uint32_t most = tmac_chunk_tiles(row_tile, (size_t)task->tokens * groups) * spans;
    tmac_matmul matmul = {
        .tiles = linear->tiles,
        .prepared = task->prepared,
        .prepared_stride = task->model->prepared_room,
        .y = scratch->sums,
        .shape = shape,
        .tokens = task->tokens,
    };
    const uint32_t done =
        tmac_kernel_cut(kernel, &matmul, begin, end - begin < most ? end : begin + most);
    const uint32_t all = (matmul.tile_end - matmul.tile_begin) * row_tile;
    matmul.y_stride = tmac_sums_stride(all);
    kernel->run(&matmul);
    const uint32_t row = matmul.tile_begin * row_tile + matmul.row_begin;
    const uint32_t rows = matmul.row_end ? matmul.row_end - matmul.row_begin : all;
    return (chunk){
        .linear = linear,
        .spans = done,
        .row = row,
        .rows = rows < linear->rows - row ? rows : linear->rows - row, // the rest is padding
        .groups = groups,
        .sums = scratch->sums + matmul.row_begin,
        .stride = matmul.y_stride,
    };
}

// A token's rows of a chunk as floats.
static void scale_chunk(const multiply *task, const chunk *sums, uint32_t token, float *values)
{
    const tmac_linear *linear = sums->linear;
    const tmac_scale_rows scaling = {
        .sums = sums->sums + (size_t)token * sums->groups * sums->stride,
        .sum_stride = sums->stride,
        .groups = sums->groups,
        .rows = sums->rows,
        .scales = linear->scales + (size_t)sums->row * linear->scales_per_row,
        .scales_per_row = linear->scales_per_row,
        .activation_scale = task->input->activation_scale[token],
    };
    task->model->floats->scale_rows(&scaling, values);
}

static void multiply_spans(const multiply *task, uint32_t matrix, uint32_t begin, uint32_t end,
                           const tmac_scratch *scratch)
{
    const tmac_outputs *outputs = task->outputs;
    const size_t y_stride = outputs->stride[task->first_output + matrix];
    while (begin < end) {
        const chunk sums = multiply_chunk(task, matrix, begin, end, scratch);
        float *y = outputs->y[task->first_output + matrix] + sums.row;
        for (uint32_t n = 0; n < task->tokens; n++) {
            float *to = y + n * y_stride;
            float *values = outputs->residual ? scratch->rows : to;
            scale_chunk(task, &sums, n, values);
            if (outputs->residual) task->model->floats->add(to, values, sums.rows);
        }
        begin += sums.spans;
    }
}

// The same spans of both matrices; the first one's floats wait in scratch->rows for the second one's.
static void multiply_gated(const multiply *task, uint32_t begin, uint32_t end,
                           const tmac_scratch *scratch)
{
    const tmac_floats *floats = task->model->floats;
    const bool relu2 = task->model->source->activation == TMAC_RELU2;
    while (begin < end) {
        const chunk gate = multiply_chunk(task, 0, begin, end, scratch);
        for (uint32_t n = 0; n < task->tokens; n++)
            scale_chunk(task, &gate, n, scratch->rows + (size_t)n * gate.rows);
        const chunk up = multiply_chunk(task, 1, begin, end, scratch);
        float *y = task->outputs->y[0] + up.row;
        for (uint32_t n = 0; n < task->tokens; n++) {
            const float *from = scratch->rows + (size_t)n * gate.rows;
            float *to = y + n * task->outputs->stride[0];
            scale_chunk(task, &up, n, to);
            (relu2 ? floats->relu2_multiply : floats->silu_multiply)(from, to, up.rows, to);
        }
        begin += up.spans;
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
    const uint32_t step = TMAC_FLOAT_ROWS;
    for (uint32_t row = row_begin; row < row_end; row += step) {
        uint32_t end = row_end - row < step ? row_end : row + step;
        tmac_dot_rows dots = {
            .weights = linear->weights,
            .columns = linear->columns,
            .row_begin = row,
            .row_end = end,
            .x = task->input->values,
            .x_stride = task->input->stride,
            .tokens = task->tokens,
            .y = outputs->residual ? scratch->rows : y + row,
            .y_stride = outputs->residual ? step : y_stride,
        };
        tmac_floats_dot_rows(model->floats, linear->number, &dots);
        for (uint32_t n = 0; outputs->residual && n < task->tokens; n++)
            model->floats->add(y + n * y_stride + row, scratch->rows + (size_t)n * step, end - row);
    }
}

// What is shared out among the workers: spans of an integer matrix, rows of a float one.
static uint64_t units_of(const multiply *task, uint32_t matrix)
{
    const tmac_linear_set *set = task->set;
    const uint32_t rows = set->linear[matrix].rows;
    return set->resolved ? tmac_kernel_spans(tmac_set_kernel(set, task->tokens), rows) : rows;
}

// A worker's share of one set, contiguous across its matrices; of a gated one the same of both.
static void multiply_share(const multiply *task, uint32_t worker)
{
    const tmac_model *model = task->model;
    const tmac_linear_set *set = task->set;
    uint64_t units = 0, begin, end, first = 0; // the unit at which a matrix starts
    if (task->gated) {
        tmac_pool_share(model->pool, units_of(task, 0), worker, &begin, &end);
        multiply_gated(task, (uint32_t)begin, (uint32_t)end, &model->scratch[worker]);
        return;
    }
    for (uint32_t m = 0; m < set->matrices; m++)
        units += units_of(task, m);
    tmac_pool_share(model->pool, units, worker, &begin, &end);
    for (uint32_t m = 0; m < set->matrices && first < end; m++) {
        const uint64_t count = units_of(task, m);
        const uint64_t from = begin > first ? begin - first : 0;
        const uint64_t to = end - first < count ? end - first : count;
        if (from < to) {
            if (set->resolved)
                multiply_spans(task, m, (uint32_t)from, (uint32_t)to, &model->scratch[worker]);
            else
                multiply_rows(task, m, (uint32_t)from, (uint32_t)to, &model->scratch[worker]);
        }
        first += count;
    }
}

void tmac_step_multiply(const tmac_model *model, const tmac_step *step,
                        const tmac_step_input *input, const tmac_outputs *outputs, uint32_t worker)
{
    uint32_t first_output = 0;
    for (uint32_t s = 0; s < step->sets; s++) {
        multiply task = {.model = model,
                         .set = &step->set[s],
                         .input = input,
                         .prepared = input->prepared + s * input->set_stride,
                         .tokens = input->tokens,
                         .first_output = first_output,
                         .gated = step->gated,
                         .outputs = outputs};
        multiply_share(&task, worker);
        first_output += step->set[s].matrices;
    }
}

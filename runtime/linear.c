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
    const tmac_outputs *outputs;
} multiply;

static void multiply_spans(const multiply *task, uint32_t matrix, uint32_t begin, uint32_t end,
                           const tmac_scratch *scratch)
{
    const tmac_model *model = task->model;
    const tmac_linear_set *set = task->set;
    const tmac_linear *linear = &set->linear[matrix];
    const tmac_kernel *kernel = tmac_set_kernel(set, task->tokens);
    const tmac_outputs *outputs = task->outputs;
    const uint32_t row_tile = kernel->layout->row_tile, spans = row_tile / kernel->row_span;
    const tmac_shape shape = {linear->rows, linear->columns, set->group};
    const uint32_t groups = tmac_shape_groups(&shape);
    const size_t tile_sums = (size_t)task->tokens * groups * row_tile;
    const uint32_t chunk = (uint32_t)(model->sums_room / tile_sums) * spans;
    float *y = outputs->y[task->first_output + matrix];
    const size_t y_stride = outputs->stride[task->first_output + matrix];

    while (begin < end) {
        tmac_matmul matmul = {
            .tiles = linear->tiles,
            .prepared = task->prepared,
            .prepared_stride = model->prepared_room,
            .y = scratch->sums,
            .shape = shape,
            .tokens = task->tokens,
        };
        begin += tmac_kernel_cut(kernel, &matmul, begin, end - begin < chunk ? end : begin + chunk);
        matmul.y_stride = (size_t)(matmul.tile_end - matmul.tile_begin) * row_tile;
        kernel->run(&matmul);
        const uint32_t row = matmul.tile_begin * row_tile + matmul.row_begin;
        uint32_t rows =
            matmul.row_end ? matmul.row_end - matmul.row_begin : (uint32_t)matmul.y_stride;
        if (rows > linear->rows - row) rows = linear->rows - row; // the rest is padding
        for (uint32_t n = 0; n < task->tokens; n++) {
            tmac_scale_rows scaling = {
                .sums = scratch->sums + (size_t)n * groups * matmul.y_stride + matmul.row_begin,
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
        tmac_floats_dot_rows(model->floats, linear->number, &dots);
        for (uint32_t n = 0; outputs->residual && n < task->tokens; n++)
            model->floats->add(y + n * y_stride + row, scratch->rows + (size_t)n * chunk,
                               end - row);
    }
}

// What is shared out among the workers: spans of an integer matrix, rows of a float one.
static uint64_t units_of(const multiply *task, uint32_t matrix)
{
    const tmac_linear_set *set = task->set;
    const uint32_t rows = set->linear[matrix].rows;
    return set->resolved ? tmac_kernel_spans(tmac_set_kernel(set, task->tokens), rows) : rows;
}

// A worker's share of one set, contiguous across its matrices.
static void multiply_share(const multiply *task, uint32_t worker)
{
    const tmac_model *model = task->model;
    const tmac_linear_set *set = task->set;
    uint64_t units = 0, begin, end, first = 0; // the unit at which a matrix starts
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
                         .outputs = outputs};
        multiply_share(&task, worker);
        first_output += step->set[s].matrices;
    }
}

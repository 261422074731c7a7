#include "runtime/extras.h"

#include <math.h>
#include <stdlib.h>

enum { QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN };

// ---------------------------------------------------------------------------------------------------------- checks

static const char *const part_names[TMAC_SOURCE_PARTS] = {
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};

static void part_size(const tmac_source *source, int part, uint32_t *rows, uint32_t *columns)
{
    const tmac_source_layer *layer = &source->layers[0];
    const tmac_matrix *parts[TMAC_SOURCE_PARTS] = {&layer->query,  &layer->key,  &layer->value,
                                                   &layer->output, &layer->gate, &layer->up,
                                                   &layer->down};
    *rows = parts[part]->rows;
    *columns = parts[part]->columns;
}

static tmac_status check_finite(const float *values, size_t count, uint32_t layer, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return tmac_fail(TMAC_BAD_FILE, "blk.%u.%s[%zu] is not a finite number", layer, what,
                             i);
    return tmac_ok();
}

static tmac_status check_low_rank(const tmac_low_rank *low, const tmac_source *source, int part,
                                  uint32_t layer)
{
    uint32_t rows, columns;
    part_size(source, part, &rows, &columns);
    if (low->rank == 0) return tmac_ok();
    if (!low->down || !low->up || low->rank > rows || low->rank > columns)
        return tmac_fail(TMAC_BAD_FILE,
                         "the low-rank correction of blk.%u.%s has rank %u in a matrix of %u x %u",
                         layer, part_names[part], low->rank, rows, columns);
    TMAC_TRY(check_finite(low->up, (size_t)rows * low->rank, layer, part_names[part]));
    return check_finite(low->down, (size_t)low->rank * columns, layer, part_names[part]);
}

static tmac_status check_layer(const tmac_source *source, uint32_t layer)
{
    const tmac_source_extras *extras = &source->layers[layer].extras;
    const tmac_source_extras *first = &source->layers[0].extras;
    for (int part = QUERY; part <= VALUE; part++) {
        uint32_t rows, columns;
        part_size(source, part, &rows, &columns);
        if (!extras->bias[part] != !first->bias[part])
            return tmac_fail(TMAC_UNSUPPORTED, "layer %u differs from layer 0 in its biases",
                             layer);
        if (extras->bias[part])
            TMAC_TRY(check_finite(extras->bias[part], rows, layer, part_names[part]));
    }
    if (!extras->query_norm != !extras->key_norm || !extras->query_norm != !first->query_norm)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "layer %u: norms of query and key heads are in some places only", layer);
    if (extras->query_norm) {
        TMAC_TRY(check_finite(extras->query_norm, source->head_dim, layer, "attn_q_norm"));
        TMAC_TRY(check_finite(extras->key_norm, source->head_dim, layer, "attn_k_norm"));
    }
    for (int part = 0; part < TMAC_SOURCE_PARTS; part++)
        TMAC_TRY(check_low_rank(&extras->low[part], source, part, layer));
    return tmac_ok();
}

tmac_status tmac_source_check_extras(const tmac_source *source)
{
    if (!isfinite(source->rope_magnitude) || source->rope_magnitude < 0.0f)
        return tmac_fail(TMAC_BAD_FILE, "the magnitude of RoPE is not a finite positive number");
    for (uint32_t i = 0; source->rope_divisors && i < source->rope_dims / 2; i++)
        if (!isfinite(source->rope_divisors[i]) || source->rope_divisors[i] <= 0.0f)
            return tmac_fail(TMAC_BAD_FILE, "RoPE divisor %u is not a finite positive number", i);
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(check_layer(source, l));
    return tmac_ok();
}

bool tmac_source_has_extras(const tmac_source *source)
{
    if (source->rope_divisors || (source->rope_magnitude != 0.0f && source->rope_magnitude != 1.0f))
        return true;
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_source_extras *extras = &source->layers[l].extras;
        if (extras->query_norm) return true;
        for (int part = QUERY; part <= VALUE; part++)
            if (extras->bias[part]) return true;
        for (int part = 0; part < TMAC_SOURCE_PARTS; part++)
            if (extras->low[part].rank) return true;
    }
    return false;
}

double tmac_rope_scaling(const tmac_source *source, uint32_t pair, double *frequency)
{
    if (source->rope_divisors) *frequency /= (double)source->rope_divisors[pair];
    return source->rope_magnitude == 0.0f ? 1.0 : (double)source->rope_magnitude;
}

// ------------------------------------------------------------------------------------------------------ corrections

tmac_status tmac_extras_make(tmac_model *model)
{
    const tmac_source *source = model->source;
    uint32_t widest = 0;
    for (uint32_t l = 0; l < source->layer_count; l++)
        for (int part = 0; part < TMAC_SOURCE_PARTS; part++)
            if (source->layers[l].extras.low[part].rank > widest)
                widest = source->layers[l].extras.low[part].rank;
    if (widest == 0) return tmac_ok();
    model->low_rank = calloc((size_t)model->batch_capacity * widest, sizeof *model->low_rank);
    return model->low_rank
               ? tmac_ok()
               : tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for corrections of rank %u", widest);
}

// One of the two products of a correction: rows [0, rows) of `weights` with every token's vector.
typedef struct product {
    const float *weights; // [rows, columns]
    uint32_t rows, columns, tokens;
    const float *x;
    size_t x_stride;
    float *y;
    size_t y_stride;
    bool add;
} product;

// This worker's rows of it; ends with a barrier, because the next product reads them all.
static void multiply(const tmac_model *model, const product *p, uint32_t worker)
{
    float *rows = model->scratch[worker].rows; // room for TMAC_FLOAT_ROWS of every token
    uint64_t begin, end;
    tmac_pool_share(model->pool, p->rows, worker, &begin, &end);
    for (uint32_t row = (uint32_t)begin; row < end; row += TMAC_FLOAT_ROWS) {
        uint32_t count =
            (uint32_t)end - row < TMAC_FLOAT_ROWS ? (uint32_t)end - row : TMAC_FLOAT_ROWS;
        tmac_dot_rows dots = {
            .weights = p->weights,
            .columns = p->columns,
            .row_begin = row,
            .row_end = row + count,
            .x = p->x,
            .x_stride = p->x_stride,
            .tokens = p->tokens,
            .y = p->add ? rows : p->y + row,
            .y_stride = p->add ? TMAC_FLOAT_ROWS : p->y_stride,
        };
        model->floats->dot_rows_f32(&dots);
        for (uint32_t n = 0; p->add && n < p->tokens; n++)
            model->floats->add(p->y + n * p->y_stride + row, rows + (size_t)n * TMAC_FLOAT_ROWS,
                               count);
    }
    tmac_pool_barrier(model->pool);
}

static void correct(const tmac_model *model, uint32_t layer, int part, const tmac_step_input *input,
                    float *y, uint32_t worker)
{
    const tmac_low_rank *low = &model->source->layers[layer].extras.low[part];
    uint32_t rows, columns;
    if (low->rank == 0) return;
    part_size(model->source, part, &rows, &columns);
    const product down = {.weights = low->down,
                          .rows = low->rank,
                          .columns = columns,
                          .tokens = input->tokens,
                          .x = input->values,
                          .x_stride = input->stride,
                          .y = model->low_rank,
                          .y_stride = low->rank};
    const product up = {.weights = low->up,
                        .rows = rows,
                        .columns = low->rank,
                        .tokens = input->tokens,
                        .x = model->low_rank,
                        .x_stride = low->rank,
                        .y = y,
                        .y_stride = rows,
                        .add = true};
    multiply(model, &down, worker);
    multiply(model, &up, worker);
}

// -------------------------------------------------------------------------------------------- biases, norms of heads

static void norm_heads(const tmac_model *model, const float *weight, uint32_t heads, float *vector)
{
    uint32_t dim = model->source->head_dim;
    for (uint32_t h = 0; weight && h < heads; h++, vector += dim)
        model->floats->rms_norm(vector, weight, dim, model->source->norm_epsilon, vector);
}

static void finish_heads(const tmac_model *model, const tmac_source_extras *extras, uint64_t token)
{
    const tmac_source *source = model->source;
    const uint32_t heads[] = {source->heads, source->kv_heads, source->kv_heads};
    const float *const norms[] = {extras->query_norm, extras->key_norm, NULL};
    float *const vectors[] = {model->query, model->key, model->value};
    for (int i = QUERY; i <= VALUE; i++) {
        uint32_t width = heads[i] * source->head_dim;
        float *vector = vectors[i] + token * width;
        if (extras->bias[i]) model->floats->add(vector, extras->bias[i], width);
        norm_heads(model, norms[i], heads[i], vector);
    }
}

void tmac_extras_attention_in(const tmac_model *model, uint32_t layer, const tmac_step_input *input,
                              uint32_t worker)
{
    const tmac_source_extras *extras = &model->source->layers[layer].extras;
    correct(model, layer, QUERY, input, model->query, worker);
    correct(model, layer, KEY, input, model->key, worker);
    correct(model, layer, VALUE, input, model->value, worker);
    if (!extras->query_norm && !extras->bias[QUERY] && !extras->bias[KEY] && !extras->bias[VALUE])
        return;
    uint64_t begin, end;
    tmac_pool_share(model->pool, input->tokens, worker, &begin, &end);
    for (uint64_t n = begin; n < end; n++)
        finish_heads(model, extras, n);
    tmac_pool_barrier(model->pool);
}

void tmac_extras_attention_out(const tmac_model *model, uint32_t layer,
                               const tmac_step_input *input, uint32_t worker)
{
    correct(model, layer, OUTPUT, input, model->x, worker);
}

bool tmac_extras_correct_ffn_in(const tmac_source_layer *layer)
{
    return layer->extras.low[GATE].rank > 0 || layer->extras.low[UP].rank > 0;
}

void tmac_extras_ffn_in(const tmac_model *model, uint32_t layer, const tmac_step_input *input,
                        uint32_t worker)
{
    correct(model, layer, GATE, input, model->gate, worker);
    correct(model, layer, UP, input, model->up, worker);
}

void tmac_extras_ffn_out(const tmac_model *model, uint32_t layer, const tmac_step_input *input,
                         uint32_t worker)
{
    correct(model, layer, DOWN, input, model->x, worker);
}

#include "runtime/source.h"
#include "runtime/extras.h"

#include <math.h>
#include <string.h>

void tmac_source_close(tmac_source *source)
{
    if (source->close) source->close(source);
    tmac_map_close(&source->map);
    memset(source, 0, sizeof *source);
}

// The bounds are far above any model of this kind (Llama 3 405B has dim 16384 and 126 layers) and keep every product
// small: vocab * dim * 4 < 2^43, layers * (7 matrices of 2^20 * 2^18 * 4 bytes at most) < 2^54.
tmac_status tmac_source_check_dimensions(const tmac_source *source)
{
    const struct {
        const char *name;
        uint32_t value, bound;
    } limits[] = {
        {"dim", source->dim, 1u << 18},
        {"hidden", source->hidden, 1u << 20},
        {"layers", source->layer_count, 1u << 10},
        {"heads", source->heads, 1u << 12},
        {"kv_heads", source->kv_heads, 1u << 12},
        {"head_dim", source->head_dim, 1u << 12},
        {"vocab", source->vocab, 1u << 22},
        {"context", source->context, 1u << 24},
    };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].value == 0 || limits[i].value > limits[i].bound)
            return tmac_fail(TMAC_BAD_FILE, "%s is %lld, expected 1 to %u: not a model, or damaged",
                             limits[i].name, (long long)(int32_t)limits[i].value, limits[i].bound);
    if (source->heads % source->kv_heads != 0)
        return tmac_fail(TMAC_BAD_FILE, "%u heads cannot share %u key/value heads evenly",
                         source->heads, source->kv_heads);
    if (source->head_dim % 2 != 0)
        return tmac_fail(TMAC_BAD_FILE, "head_dim is %u, expected an even number for RoPE",
                         source->head_dim);
    if ((uint64_t)source->heads * source->head_dim > limits[0].bound)
        return tmac_fail(TMAC_BAD_FILE, "%u heads of %u are wider than %u", source->heads,
                         source->head_dim, limits[0].bound);
    return tmac_ok();
}

static tmac_status check_vector(const float *vector, uint32_t count, const char *name,
                                uint32_t layer)
{
    if (!vector) return tmac_fail(TMAC_INTERNAL, "blk.%u.%s is absent", layer, name);
    for (uint32_t i = 0; i < count; i++)
        if (!isfinite(vector[i]))
            return tmac_fail(TMAC_BAD_FILE, "blk.%u.%s[%u] is not a finite number", layer, name, i);
    return tmac_ok();
}

static tmac_status check_scales(const tmac_matrix *matrix)
{
    uint64_t groups =
        matrix->group ? ((uint64_t)matrix->columns + matrix->group - 1) / matrix->group : 0;
    uint64_t fine = groups * matrix->rows;
    bool shared = matrix->group == matrix->columns &&
                  (matrix->scale_count == 1 || matrix->scale_count == matrix->rows);
    if (!matrix->read_codes || !matrix->scales || groups == 0 ||
        !(shared || (groups > 1 && matrix->scale_count == fine)))
        return tmac_fail(TMAC_INTERNAL, "%s: %u scales for groups of %u do not fit %u x %u",
                         matrix->name, matrix->scale_count, matrix->group, matrix->rows,
                         matrix->columns);
    for (uint32_t i = 0; i < matrix->scale_count; i++)
        if (!isfinite(matrix->scales[i]))
            return tmac_fail(TMAC_BAD_FILE, "%s: scale %u is not a finite number", matrix->name, i);
    return tmac_ok();
}

static tmac_status check_matrix(const tmac_matrix *matrix, uint32_t rows, uint32_t columns)
{
    if (!matrix->name)
        return tmac_fail(TMAC_INTERNAL, "a matrix of %u x %u is absent", rows, columns);
    if (matrix->rows != rows || matrix->columns != columns)
        return tmac_fail(TMAC_BAD_FILE, "%s is %u x %u, the model needs %u x %u", matrix->name,
                         matrix->rows, matrix->columns, rows, columns);
    if (tmac_number_is_integer(matrix->number)) return check_scales(matrix);
    if (!matrix->read_float) return tmac_fail(TMAC_INTERNAL, "%s cannot be read", matrix->name);
    return tmac_ok();
}

static tmac_status check_layer(const tmac_source *source, uint32_t index)
{
    const tmac_source_layer *layer = &source->layers[index];
    uint32_t dim = source->dim, hidden = source->hidden;
    uint32_t wide = source->heads * source->head_dim, narrow = source->kv_heads * source->head_dim;
    const struct {
        const tmac_matrix *matrix;
        uint32_t rows, columns;
    } matrices[] = {
        {&layer->query, wide, dim},  {&layer->key, narrow, dim},  {&layer->value, narrow, dim},
        {&layer->output, dim, wide}, {&layer->gate, hidden, dim}, {&layer->up, hidden, dim},
        {&layer->down, dim, hidden},
    };
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        tmac_status status =
            check_matrix(matrices[i].matrix, matrices[i].rows, matrices[i].columns);
        if (status.code != TMAC_OK) return status;
    }
    TMAC_TRY(check_vector(layer->attention_norm, dim, "attn_norm", index));
    TMAC_TRY(check_vector(layer->ffn_norm, dim, "ffn_norm", index));
    if (!layer->attention_sub_norm != !source->layers[0].attention_sub_norm ||
        !layer->ffn_sub_norm != !source->layers[0].ffn_sub_norm)
        return tmac_fail(TMAC_UNSUPPORTED, "layer %u differs from layer 0 in its sub-norms", index);
    if (layer->attention_sub_norm)
        TMAC_TRY(check_vector(layer->attention_sub_norm, wide, "attn_sub_norm", index));
    if (layer->ffn_sub_norm)
        TMAC_TRY(check_vector(layer->ffn_sub_norm, hidden, "ffn_sub_norm", index));
    return tmac_ok();
}

tmac_status tmac_source_check(const tmac_source *source)
{
    TMAC_TRY(tmac_source_check_dimensions(source));
    const struct {
        const char *name;
        float value;
    } positive[] = {
        {"the epsilon of the norms", source->norm_epsilon},
        {"the epsilon of the last norm", source->final_norm_epsilon},
        {"the base of RoPE", source->rope_theta},
    };
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (!isfinite(positive[i].value) || positive[i].value < 0.0f)
            return tmac_fail(TMAC_BAD_FILE, "%s is not a finite positive number", positive[i].name);
    if (source->rope_theta <= 0.0f) return tmac_fail(TMAC_BAD_FILE, "the base of RoPE is 0");
    if (source->rope_dims != source->head_dim)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "RoPE over %u of a head's %u dimensions is not supported",
                         source->rope_dims, source->head_dim);
    if (source->vocabulary.size != 0 && source->vocabulary.size != source->vocab)
        return tmac_fail(TMAC_BAD_FILE, "the vocabulary has %u pieces, the model needs %u",
                         source->vocabulary.size, source->vocab);
    if (tmac_number_is_integer(source->embedding.number) ||
        tmac_number_is_integer(source->head.number))
        return tmac_fail(TMAC_INTERNAL, "the embedding and the head are float matrices");
    TMAC_TRY(check_matrix(&source->embedding, source->vocab, source->dim));
    TMAC_TRY(check_matrix(&source->head, source->vocab, source->dim));
    if (!source->final_norm || !source->layers)
        return tmac_fail(TMAC_INTERNAL, "the last norm or the layers are absent");
    for (uint32_t i = 0; i < source->dim; i++)
        if (!isfinite(source->final_norm[i]))
            return tmac_fail(TMAC_BAD_FILE, "output_norm[%u] is not a finite number", i);
    for (uint32_t i = 0; i < source->layer_count; i++)
        TMAC_TRY(check_layer(source, i));
    return tmac_source_check_extras(source);
}

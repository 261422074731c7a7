// Models in GGUF: which architectures, values and tensors we know, and what they become.
//
//   arch                     activation     sub-norms   Q and K rows
//   llama                    SiLU           no          interleaved pairs
//   bitnet                   SiLU           yes         half-split
//   bitnet-25, bitnet-b1.58  squared ReLU   yes         half-split
//
// A value or tensor that would change what the model computes and that we do not know is refused by name: a bias, a
// RoPE scaling, experts. A tensor "blk.N.attn_q.scale" (one f32) multiplies its projection.
#include "convert/gguf_model.h"

#include <stdio.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/neutral.h"
#include "convert/readers.h"

typedef struct architecture {
    const char *name, *neutral;
    tmac_activation activation;
    bool sub_norms, half_split;
} architecture;

static const architecture architectures[] = {
    {"llama", "llama", TMAC_SILU, false, false},
    {"bitnet", "bitnet", TMAC_SILU, true, true},
    {"bitnet-25", "bitnet", TMAC_RELU2, true, true},
    {"bitnet-b1.58", "bitnet", TMAC_RELU2, true, true},
};

static tmac_status find_architecture(const tmac_gguf *gguf, const architecture **found)
{
    tmac_gguf_text name;
    if (!tmac_gguf_string(gguf, "general.architecture", &name))
        return tmac_fail(TMAC_BAD_FILE, "value general.architecture is missing");
    for (size_t i = 0; i < sizeof architectures / sizeof *architectures; i++) {
        *found = &architectures[i];
        if (tmac_gguf_text_is(name, (*found)->name)) return tmac_ok();
    }
    return tmac_fail(
        TMAC_UNSUPPORTED,
        "architecture %.*s is not supported; llama, bitnet, bitnet-25 and bitnet-b1.58 are",
        (int)name.bytes, name.data);
}

// --------------------------------------------------------------------------------------------------------- values

enum { NAME_BYTES = 128 };

// A dimension: "{arch}.{key}", fallback -1 where it must be there. tmac_source_check_dimensions bounds it.
static tmac_status dimension(const tmac_gguf *gguf, const architecture *arch, const char *key,
                             int64_t fallback, uint32_t *value)
{
    char name[NAME_BYTES];
    int64_t wide;
    snprintf(name, sizeof name, "%s.%s", arch->name, key);
    TMAC_TRY(tmac_gguf_integer(gguf, name, fallback < 0, fallback, &wide));
    if (wide < 0 || wide > INT32_MAX)
        return tmac_fail(TMAC_BAD_FILE, "%s is %lld, which makes no sense", name, (long long)wide);
    *value = (uint32_t)wide;
    return tmac_ok();
}

static tmac_status check_rope_scaling(const tmac_gguf *gguf, const architecture *arch)
{
    char name[NAME_BYTES];
    tmac_gguf_text type;
    float factor;
    snprintf(name, sizeof name, "%s.rope.scaling.type", arch->name);
    bool typed = tmac_gguf_string(gguf, name, &type);
    if (typed && !tmac_gguf_text_is(type, "none") && !tmac_gguf_text_is(type, "linear"))
        return tmac_fail(TMAC_UNSUPPORTED, "RoPE scaling %.*s is not supported", (int)type.bytes,
                         type.data);
    if (typed && tmac_gguf_text_is(type, "none")) return tmac_ok();
    static const char *const keys[] = {"rope.scaling.factor", "rope.scale_linear"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(name, sizeof name, "%s.%s", arch->name, keys[i]);
        TMAC_TRY(tmac_gguf_float(gguf, name, false, 1.0f, &factor));
        if (factor != 1.0f && factor != 0.0f) // 0: "none", as some writers say it
            return tmac_fail(TMAC_UNSUPPORTED, "linear RoPE scaling by %g is not supported",
                             (double)factor);
    }
    return tmac_ok();
}

// What must be absent or 0 because it changes the computation.
static tmac_status check_unknown_features(const tmac_gguf *gguf, const architecture *arch)
{
    static const char *const keys[] = {"expert_count", "attention.sliding_window", "lrc.rank"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        uint32_t value;
        TMAC_TRY(dimension(gguf, arch, keys[i], 0, &value));
        if (value != 0)
            return tmac_fail(TMAC_UNSUPPORTED, "%s.%s is %u: models with that are not supported",
                             arch->name, keys[i], value);
    }
    return tmac_ok();
}

static tmac_status read_values(tmac_source *source, const tmac_gguf *gguf, const architecture *arch)
{
    char name[NAME_BYTES];
    uint32_t value_length;
    TMAC_TRY(dimension(gguf, arch, "embedding_length", -1, &source->dim));
    TMAC_TRY(dimension(gguf, arch, "feed_forward_length", -1, &source->hidden));
    TMAC_TRY(dimension(gguf, arch, "block_count", -1, &source->layer_count));
    TMAC_TRY(dimension(gguf, arch, "context_length", -1, &source->context));
    TMAC_TRY(dimension(gguf, arch, "attention.head_count", -1, &source->heads));
    TMAC_TRY(dimension(gguf, arch, "attention.head_count_kv", source->heads, &source->kv_heads));
    uint32_t natural = source->heads ? source->dim / source->heads : 0;
    TMAC_TRY(dimension(gguf, arch, "attention.key_length", natural, &source->head_dim));
    TMAC_TRY(dimension(gguf, arch, "attention.value_length", source->head_dim, &value_length));
    TMAC_TRY(dimension(gguf, arch, "rope.dimension_count", source->head_dim, &source->rope_dims));
    if (value_length != source->head_dim)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "keys of %u and values of %u dimensions are not supported",
                         source->head_dim, value_length);
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch->name);
    TMAC_TRY(tmac_gguf_float(gguf, name, true, 0.0f, &source->norm_epsilon));
    source->final_norm_epsilon = source->norm_epsilon;
    snprintf(name, sizeof name, "%s.rope.freq_base", arch->name);
    TMAC_TRY(tmac_gguf_float(gguf, name, false, 10000.0f, &source->rope_theta));
    TMAC_TRY(check_rope_scaling(gguf, arch));
    return check_unknown_features(gguf, arch);
}

// -------------------------------------------------------------------------------------------------------- tensors

static tmac_status find_tensor(const tmac_gguf *gguf, const char *name, tmac_gguf_tensor **tensor)
{
    *tensor = tmac_gguf_tensor_find(gguf, name);
    if (!*tensor) return tmac_fail(TMAC_BAD_FILE, "tensor %s is missing", name);
    (*tensor)->used = true;
    return tmac_ok();
}

static tmac_status take_vector(tmac_source *source, const tmac_gguf *gguf, const char *name,
                               uint32_t count, const float **vector)
{
    tmac_gguf_tensor *tensor;
    tmac_number number;
    TMAC_TRY(find_tensor(gguf, name, &tensor));
    if (tensor->extent[0] != count ||
        tensor->extent[1] * tensor->extent[2] * tensor->extent[3] != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has %llu numbers, the model needs %u", name,
                         (unsigned long long)tensor->extent[0], count);
    if (!tmac_gguf_number(tensor->type, &number))
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %s has type %s, expected a float", name,
                         tmac_gguf_type_name(tensor->type));
    return tmac_source_vector(source, number, tensor->data, count, vector);
}

// blk.LAYER.PART.scale: absent, or one f32.
static tmac_status take_scale(const tmac_gguf *gguf, const tmac_matrix *matrix, float *scale)
{
    char name[NAME_BYTES];
    *scale = 1.0f;
    snprintf(name, sizeof name, "%s.scale", matrix->name);
    tmac_gguf_tensor *tensor = tmac_gguf_tensor_find(gguf, name);
    if (!tensor) return tmac_ok();
    tensor->used = true;
    if (tensor->type != TMAC_GGUF_TYPE_F32 || tensor->dimensions != 1 || tensor->extent[0] != 1)
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %s is not one f32", name);
    *scale = tmac_load_f32(tensor->data);
    return tmac_ok();
}

static tmac_status take_layer(tmac_source *source, const tmac_gguf *gguf, const architecture *arch,
                              uint32_t index)
{
    tmac_source_layer *layer = &source->layers[index];
    char name[NAME_BYTES];
    for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
        tmac_part_of_layer part = (tmac_part_of_layer)p;
        tmac_matrix *matrix = tmac_layer_part(source, index, part);
        tmac_gguf_tensor *tensor;
        float scale;
        TMAC_TRY(tmac_layer_part_shape(source, index, part));
        snprintf(name, sizeof name, "%s.weight", matrix->name);
        TMAC_TRY(find_tensor(gguf, name, &tensor));
        TMAC_TRY(take_scale(gguf, matrix, &scale));
        bool rotated = part == TMAC_LAYER_QUERY || part == TMAC_LAYER_KEY;
        TMAC_TRY(tmac_gguf_matrix(source, matrix, tensor, scale,
                                  rotated && arch->half_split ? source->head_dim : 0));
    }
    const struct {
        const char *name;
        uint32_t count;
        bool wanted;
        const float **vector;
    } norms[] = {
        {"attn_norm", source->dim, true, &layer->attention_norm},
        {"attn_sub_norm", source->heads * source->head_dim, arch->sub_norms,
         &layer->attention_sub_norm},
        {"ffn_norm", source->dim, true, &layer->ffn_norm},
        {"ffn_sub_norm", source->hidden, arch->sub_norms, &layer->ffn_sub_norm},
    };
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        if (!norms[i].wanted) continue;
        snprintf(name, sizeof name, "blk.%u.%s.weight", index, norms[i].name);
        TMAC_TRY(take_vector(source, gguf, name, norms[i].count, norms[i].vector));
    }
    return tmac_ok();
}

static tmac_status take_float_matrix(const tmac_source *source, const char *name,
                                     const tmac_gguf_tensor *tensor, tmac_matrix *matrix)
{
    tmac_number number;
    *matrix = (tmac_matrix){.name = name, .rows = source->vocab, .columns = source->dim};
    if (!tmac_gguf_number(tensor->type, &number))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %s.weight has type %s; F32, F16 and BF16 are supported there",
                         name, tmac_gguf_type_name(tensor->type));
    if (tensor->extent[0] != source->dim || tensor->extent[1] != source->vocab ||
        tensor->extent[2] * tensor->extent[3] != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s.weight is %llu x %llu, the model needs %u x %u",
                         name, (unsigned long long)tensor->extent[1],
                         (unsigned long long)tensor->extent[0], source->vocab, source->dim);
    tmac_matrix_float(matrix, number, tensor->data, 0);
    return tmac_ok();
}

// rope_freqs divides the rotation frequencies: harmless where it is all ones.
static tmac_status check_rope_freqs(const tmac_gguf *gguf)
{
    tmac_gguf_tensor *tensor = tmac_gguf_tensor_find(gguf, "rope_freqs.weight");
    if (!tensor) return tmac_ok();
    tensor->used = true;
    for (uint64_t i = 0; tensor->type == TMAC_GGUF_TYPE_F32 && i < tensor->extent[0]; i++)
        if (tmac_load_f32(tensor->data + 4 * i) != 1.0f)
            return tmac_fail(TMAC_UNSUPPORTED,
                             "scaled RoPE frequencies (rope_freqs.weight) are not supported");
    return tensor->type == TMAC_GGUF_TYPE_F32
               ? tmac_ok()
               : tmac_fail(TMAC_UNSUPPORTED, "rope_freqs.weight is not of type F32");
}

static tmac_status read_model(tmac_source *source, const tmac_gguf *gguf)
{
    const architecture *arch = NULL;
    tmac_gguf_tensor *tensor;
    if (gguf->tensor_count == 0)
        return tmac_fail(TMAC_BAD_FILE, "holds no tensors: a vocabulary, not a model");
    TMAC_TRY(find_architecture(gguf, &arch));
    snprintf(source->architecture, sizeof source->architecture, "%s", arch->neutral);
    source->activation = arch->activation;
    TMAC_TRY(read_values(source, gguf, arch));
    TMAC_TRY(find_tensor(gguf, "token_embd.weight", &tensor));
    if (tensor->extent[1] > INT32_MAX)
        return tmac_fail(TMAC_BAD_FILE, "tensor token_embd.weight has an absurd shape");
    TMAC_TRY(dimension(gguf, arch, "vocab_size", (int64_t)tensor->extent[1], &source->vocab));
    TMAC_TRY(tmac_source_check_dimensions(source));
    TMAC_TRY(tmac_source_take_layers(source));

    TMAC_TRY(take_float_matrix(source, "token_embd", tensor, &source->embedding));
    TMAC_TRY(take_vector(source, gguf, "output_norm.weight", source->dim, &source->final_norm));
    source->head = source->embedding;
    source->tied_head = !tmac_gguf_tensor_find(gguf, "output.weight");
    if (!source->tied_head) {
        TMAC_TRY(find_tensor(gguf, "output.weight", &tensor));
        TMAC_TRY(take_float_matrix(source, "output", tensor, &source->head));
    }
    TMAC_TRY(check_rope_freqs(gguf));
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(take_layer(source, gguf, arch, l));
    for (size_t i = 0; i < gguf->tensor_count; i++)
        if (!gguf->tensors[i].used)
            return tmac_fail(TMAC_UNSUPPORTED,
                             "tensor %.*s is not one we know of architecture %s: leaving it out "
                             "would change the "
                             "result",
                             (int)gguf->tensors[i].name.bytes, gguf->tensors[i].name.data,
                             arch->name);
    TMAC_TRY(tmac_gguf_vocabulary(gguf, &source->vocabulary));
    return tmac_ok();
}

tmac_status tmac_read_gguf(tmac_source *source, tmac_i2s_layout layout)
{
    (void)layout;
    tmac_gguf gguf;
    TMAC_TRY(tmac_gguf_open(&source->map, &gguf));
    tmac_status status = read_model(source, &gguf);
    tmac_gguf_close(&gguf);
    return status;
}

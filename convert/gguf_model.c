// Models in GGUF: which architectures, values and tensors we know, and what they become.
//
//   arch                     activation     sub-norms   Q and K rows
//   llama (and Falcon3)      SiLU           no          interleaved pairs
//   bitnet                   SiLU           yes         half-split
//   bitnet-25, bitnet-b1.58  squared ReLU   yes         half-split
//   qwen2                    SiLU           no          half-split; biases of q, k and v
//   qwen3                    SiLU           no          half-split; norms of query and key heads
//
// Biases, norms of heads and low-rank corrections are taken where they are. A value or tensor that would change what the
// model computes and that we do not know is refused by name: experts, a window. A tensor "blk.N.attn_q.scale" (one f32)
// multiplies its projection.
#include "convert/gguf_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/gguf_blocks.h"
#include "convert/low_rank.h"
#include "convert/neutral.h"
#include "convert/readers.h"
#include "convert/rope_scaling.h"

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
    {"qwen2", "qwen2", TMAC_SILU, false, true},
    {"qwen3", "qwen3", TMAC_SILU, false, true},
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
        "architecture %.*s is not supported; llama, bitnet, bitnet-25, bitnet-b1.58, qwen2 and "
        "qwen3 are",
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

// A float value "{arch}.{key}".
static tmac_status factor(const tmac_gguf *gguf, const architecture *arch, const char *key,
                          double *value)
{
    char name[NAME_BYTES];
    float narrow;
    snprintf(name, sizeof name, "%s.%s", arch->name, key);
    TMAC_TRY(tmac_gguf_float(gguf, name, false, (float)*value, &narrow));
    *value = (double)narrow;
    return tmac_ok();
}

static tmac_status read_rope_scaling(tmac_source *source, const tmac_gguf *gguf,
                                     const architecture *arch)
{
    char name[NAME_BYTES];
    tmac_gguf_text type;
    uint32_t original;
    tmac_rope_parameters p = {.kind = TMAC_ROPE_LINEAR, .factor = 1.0};
    snprintf(name, sizeof name, "%s.rope.scaling.type", arch->name);
    if (tmac_gguf_string(gguf, name, &type))
        TMAC_TRY(tmac_rope_kind_parse(type.data, type.bytes, &p.kind));
    TMAC_TRY(factor(gguf, arch, "rope.scale_linear", &p.factor));
    TMAC_TRY(factor(gguf, arch, "rope.scaling.factor", &p.factor));
    double magnitude = 1.0;
    TMAC_TRY(factor(gguf, arch, "rope.scaling.attn_factor", &magnitude));
    if (!isfinite(magnitude) || magnitude <= 0)
        return tmac_fail(TMAC_BAD_FILE, "%s.rope.scaling.attn_factor is %g, which makes no sense",
                         arch->name, magnitude);
    TMAC_TRY(factor(gguf, arch, "rope.scaling.yarn_beta_fast", &p.beta_fast));
    TMAC_TRY(factor(gguf, arch, "rope.scaling.yarn_beta_slow", &p.beta_slow));
    TMAC_TRY(
        dimension(gguf, arch, "rope.scaling.original_context_length", source->context, &original));
    p.original_context = original;
    if (p.kind == TMAC_ROPE_LLAMA3)
        return tmac_fail(TMAC_UNSUPPORTED, "RoPE scaling llama3 is a tensor in GGUF, not a value");
    // 0: "none", as some writers say it
    if (p.factor != 0.0 && p.factor != 1.0) TMAC_TRY(tmac_rope_scale(source, &p));
    const float scaled = source->rope_magnitude != 0.0f ? source->rope_magnitude : 1.0f;
    if (magnitude != 1.0) source->rope_magnitude = scaled * (float)magnitude;
    return tmac_ok();
}

// What must be absent or 0 because it changes the computation.
static tmac_status check_unknown_features(const tmac_gguf *gguf, const architecture *arch)
{
    static const char *const keys[] = {"expert_count", "attention.sliding_window"};
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
    TMAC_TRY(tmac_gguf_float(gguf, "tmac.final_norm_epsilon", false, source->norm_epsilon,
                             &source->final_norm_epsilon)); // convert/gguf_write.c
    snprintf(name, sizeof name, "%s.rope.freq_base", arch->name);
    TMAC_TRY(tmac_gguf_float(gguf, name, false, 10000.0f, &source->rope_theta));
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
    TMAC_TRY(find_tensor(gguf, name, &tensor));
    if (tensor->extent[0] != count ||
        tensor->extent[1] * tensor->extent[2] * tensor->extent[3] != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has %llu numbers, the model needs %u", name,
                         (unsigned long long)tensor->extent[0], count);
    return tmac_gguf_floats(source, tensor, vector);
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

// A vector that may be absent; in half-split order of heads of `head` numbers.
static tmac_status take_optional(tmac_source *source, const tmac_gguf *gguf, const char *name,
                                 uint32_t count, uint32_t head, const float **vector)
{
    if (!tmac_gguf_tensor_find(gguf, name)) return tmac_ok();
    TMAC_TRY(take_vector(source, gguf, name, count, vector));
    return head ? tmac_source_permute(source, *vector, count, head, vector) : tmac_ok();
}

// NAME.lrc_u or NAME.lrc_U, with or without ".weight".
static tmac_status take_factor(tmac_source *source, const tmac_gguf *gguf, const char *name,
                               char which, bool *found, tmac_factor *factor)
{
    static const char *const endings[] = {"", ".weight"};
    char full[NAME_BYTES];
    *found = false;
    for (int i = 0; i < 4 && !*found; i++) {
        snprintf(full, sizeof full, "%s.lrc_%c%s", name, i / 2 ? which - 'a' + 'A' : which,
                 endings[i % 2]);
        tmac_gguf_tensor *tensor = tmac_gguf_tensor_find(gguf, full);
        if (!tensor) continue;
        *found = tensor->used = true;
        factor->fast = tensor->extent[0];
        factor->slow = tensor->extent[1];
        if (tensor->extent[2] * tensor->extent[3] != 1)
            return tmac_fail(TMAC_BAD_FILE, "tensor %s is no matrix", full);
        TMAC_TRY(tmac_gguf_floats(source, tensor, &factor->values));
    }
    return tmac_ok();
}

static tmac_status take_part_extras(tmac_source *source, const tmac_gguf *gguf, uint32_t layer,
                                    tmac_part_of_layer part, uint32_t head)
{
    tmac_source_extras *extras = &source->layers[layer].extras;
    const tmac_matrix *matrix = tmac_layer_part(source, layer, part);
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.bias", matrix->name);
    if (part <= TMAC_LAYER_VALUE)
        TMAC_TRY(take_optional(source, gguf, name, matrix->rows, head, &extras->bias[part]));
    bool has_u, has_v;
    tmac_factor u, v;
    TMAC_TRY(take_factor(source, gguf, matrix->name, 'u', &has_u, &u));
    TMAC_TRY(take_factor(source, gguf, matrix->name, 'v', &has_v, &v));
    if (has_u != has_v)
        return tmac_fail(TMAC_BAD_FILE, "%s has one of lrc_u and lrc_v without the other",
                         matrix->name);
    return has_u ? tmac_low_rank_take(source, matrix->name, matrix->rows, matrix->columns, head, &u,
                                      &v, &extras->low[part])
                 : tmac_ok();
}

static tmac_status take_head_norms(tmac_source *source, const tmac_gguf *gguf, uint32_t layer,
                                   uint32_t head)
{
    tmac_source_extras *extras = &source->layers[layer].extras;
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "blk.%u.attn_q_norm.weight", layer);
    TMAC_TRY(take_optional(source, gguf, name, source->head_dim, head, &extras->query_norm));
    snprintf(name, sizeof name, "blk.%u.attn_k_norm.weight", layer);
    return take_optional(source, gguf, name, source->head_dim, head, &extras->key_norm);
}

static tmac_status take_layer(tmac_source *source, const tmac_gguf *gguf, const architecture *arch,
                              tmac_i2s_layout layout, uint32_t index)
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
        uint32_t head = rotated && arch->half_split ? source->head_dim : 0;
        TMAC_TRY(tmac_gguf_matrix(source, matrix, tensor, scale, layout, head));
        TMAC_TRY(take_part_extras(source, gguf, index, part, head));
    }
    TMAC_TRY(take_head_norms(source, gguf, index, arch->half_split ? source->head_dim : 0));
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
    *matrix = (tmac_matrix){.name = name, .rows = source->vocab, .columns = source->dim};
    if (!tmac_gguf_is_float(tensor->type))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %s.weight has type %s; F32, F16, BF16, Q4_0, Q8_0, Q4_K and Q6_K "
                         "are supported there",
                         name, tmac_gguf_type_name(tensor->type));
    if (tensor->extent[0] != source->dim || tensor->extent[1] != source->vocab ||
        tensor->extent[2] * tensor->extent[3] != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s.weight is %llu x %llu, the model needs %u x %u",
                         name, (unsigned long long)tensor->extent[1],
                         (unsigned long long)tensor->extent[0], source->vocab, source->dim);
    tmac_gguf_float_matrix(matrix, tensor, 0);
    return tmac_ok();
}

// rope_freqs divides the rotation frequencies: what llama3's scaling comes to. Nothing where it is all ones.
static tmac_status take_rope_freqs(tmac_source *source, const tmac_gguf *gguf)
{
    const float *divisors = NULL;
    TMAC_TRY(take_optional(source, gguf, "rope_freqs.weight", source->rope_dims / 2, 0, &divisors));
    for (uint32_t i = 0; divisors && i < source->rope_dims / 2; i++)
        if (divisors[i] != 1.0f) source->rope_divisors = divisors;
    return tmac_ok();
}

static tmac_status read_model(tmac_source *source, const tmac_gguf *gguf, tmac_i2s_layout layout)
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
    TMAC_TRY(take_rope_freqs(source, gguf));
    TMAC_TRY(read_rope_scaling(source, gguf, arch));
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(take_layer(source, gguf, arch, layout, l));
    for (size_t i = 0; i < gguf->tensor_count; i++)
        if (!gguf->tensors[i].used)
            return tmac_fail(TMAC_UNSUPPORTED,
                             "tensor %.*s is not one we know of architecture %s: leaving it out "
                             "would change the "
                             "result",
                             (int)gguf->tensors[i].name.bytes, gguf->tensors[i].name.data,
                             arch->name);
    // A model whose vocabulary we do not know can still be run with another file's.
    tmac_status status = tmac_gguf_vocabulary(gguf, &source->vocabulary);
    return status.code == TMAC_UNSUPPORTED ? tmac_ok() : status;
}

tmac_status tmac_read_gguf(tmac_source *source, tmac_i2s_layout layout)
{
    tmac_gguf gguf;
    TMAC_TRY(tmac_gguf_open(&source->map, &gguf));
    tmac_status status = read_model(source, &gguf, layout);
    tmac_gguf_close(&gguf);
    return status;
}

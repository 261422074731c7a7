// A model folder of Hugging Face: config.json and safetensors.
//
// Tensors are "model.layers.N.self_attn.q_proj.weight" and so on; some parts go by several names, which are tried in
// turn. Q and K rows are in half-split RoPE order. Biases of q, k and v, norms of heads and low-rank corrections are
// taken where they are. Every tensor must have been made use of in the end: leaving one out would change the result.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/huggingface.h"
#include "convert/low_rank.h"
#include "convert/neutral.h"
#include "convert/readers.h"

enum { NAME_BYTES = 160 };

typedef struct reader {
    tmac_source *source;
    tmac_safetensors files;
    tmac_hf_config config;
    tmac_base3 base3;
    const char *prefix; // "model." or ""
} reader;

static const char *const projections[TMAC_LAYER_MATRICES][2] = {
    [TMAC_LAYER_QUERY] = {"self_attn.q_proj"},
    [TMAC_LAYER_KEY] = {"self_attn.k_proj"},
    [TMAC_LAYER_VALUE] = {"self_attn.v_proj"},
    [TMAC_LAYER_OUTPUT] = {"self_attn.o_proj", "self_attn.o_proj.1"},
    [TMAC_LAYER_GATE] = {"mlp.gate_proj"},
    [TMAC_LAYER_UP] = {"mlp.up_proj"},
    [TMAC_LAYER_DOWN] = {"mlp.down_proj", "mlp.down_proj.1"},
};

// transformers; 1bitLLM; older WrinkleFree, which wraps norm and projection together.
static const char *const attention_sub_norms[] = {
    "self_attn.attn_sub_norm", "self_attn.inner_attn_ln", "self_attn.o_proj.0", NULL};
static const char *const ffn_sub_norms[] = {"mlp.ffn_sub_norm", "mlp.ffn_layernorm",
                                            "mlp.down_proj.0", NULL};

// PREFIXlayers.LAYER.PART.SUFFIX, marked as used; NULL when there is none.
static tmac_st_tensor *find(const reader *r, uint32_t layer, const char *part, const char *suffix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%slayers.%u.%s.%s", r->prefix, layer, part, suffix);
    tmac_st_tensor *tensor = tmac_safetensors_find(&r->files, name);
    if (tensor) tensor->used = true;
    return tensor;
}

static tmac_status missing(const reader *r, uint32_t layer, const char *part)
{
    return tmac_fail(TMAC_BAD_FILE, "tensor %slayers.%u.%s.weight is missing", r->prefix, layer,
                     part);
}

// `count` numbers; where they belong to half-split rows of heads of `head` rows, in neutral order.
static tmac_status take_vector(const reader *r, const tmac_st_tensor *tensor, uint32_t count,
                               uint32_t head, const float **vector)
{
    tmac_number number;
    const float *values;
    if (tensor->extent[0] != count || tensor->dimensions != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has %llu numbers, the model needs %u",
                         tensor->name, (unsigned long long)tensor->extent[0], count);
    if (!tmac_st_number(tensor, &number))
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %s has dtype %s, expected a float", tensor->name,
                         tensor->type_name);
    TMAC_TRY(tmac_source_vector(r->source, number, tensor->data, count, &values));
    *vector = values;
    return head ? tmac_source_permute(r->source, values, count, head, vector) : tmac_ok();
}

static tmac_status take_norm(const reader *r, uint32_t layer, const char *const *names,
                             uint32_t count, bool wanted, const float **vector)
{
    for (const char *const *name = names; *name; name++) {
        const tmac_st_tensor *tensor = find(r, layer, *name, "weight");
        if (tensor) return take_vector(r, tensor, count, 0, vector);
    }
    return wanted ? missing(r, layer, names[0]) : tmac_ok();
}

static tmac_status take_factor(const reader *r, const tmac_st_tensor *tensor, tmac_factor *factor)
{
    tmac_number number;
    if (tensor->dimensions != 2 || !tmac_st_number(tensor, &number) ||
        tensor->extent[0] * tensor->extent[1] > UINT32_MAX)
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %s is no float matrix", tensor->name);
    factor->slow = tensor->extent[0];
    factor->fast = tensor->extent[1];
    return tmac_source_vector(r->source, number, tensor->data,
                              (uint32_t)(factor->slow * factor->fast), &factor->values);
}

static tmac_status take_low_rank(const reader *r, uint32_t layer, tmac_part_of_layer part,
                                 const char *name, uint32_t head)
{
    const tmac_matrix *matrix = tmac_layer_part(r->source, layer, part);
    const tmac_st_tensor *u = find(r, layer, name, "lrc_U"), *v = find(r, layer, name, "lrc_V");
    if (!u) u = find(r, layer, name, "lrc_u");
    if (!v) v = find(r, layer, name, "lrc_v");
    if (!u && !v) return tmac_ok();
    if (!u || !v)
        return tmac_fail(TMAC_BAD_FILE, "%s has one of lrc_U and lrc_V without the other",
                         matrix->name);
    tmac_factor up, down;
    TMAC_TRY(take_factor(r, u, &up));
    TMAC_TRY(take_factor(r, v, &down));
    return tmac_low_rank_take(r->source, matrix->name, matrix->rows, matrix->columns, head, &up,
                              &down, &r->source->layers[layer].extras.low[part]);
}

static tmac_status take_projection(const reader *r, uint32_t layer, tmac_part_of_layer part)
{
    tmac_source *source = r->source;
    TMAC_TRY(tmac_layer_part_shape(source, layer, part));
    tmac_matrix *matrix = tmac_layer_part(source, layer, part);
    uint32_t head = part == TMAC_LAYER_QUERY || part == TMAC_LAYER_KEY ? source->head_dim : 0;
    const char *name = projections[part][0];
    const tmac_st_tensor *tensor = find(r, layer, name, "weight");
    if (!tensor && projections[part][1]) {
        name = projections[part][1];
        tensor = find(r, layer, name, "weight");
    }
    if (!tensor) return missing(r, layer, projections[part][0]);
    TMAC_TRY(tmac_hf_matrix(source, matrix, &r->config, tensor,
                            find(r, layer, name, "weight_scale"), r->base3, head));
    find(r, layer, name, "weight_quantized"); // derived from `weight`
    const tmac_st_tensor *bias = part <= TMAC_LAYER_VALUE ? find(r, layer, name, "bias") : NULL;
    if (bias)
        TMAC_TRY(
            take_vector(r, bias, matrix->rows, head, &source->layers[layer].extras.bias[part]));
    TMAC_TRY(take_low_rank(r, layer, part, name, head));
    tmac_source_drop(source); // opening looks at every weight: what was looked at need not stay
    return tmac_ok();
}

static tmac_status take_layer(const reader *r, uint32_t index)
{
    static const char *const before[] = {"input_layernorm", NULL};
    static const char *const between[] = {"post_attention_layernorm", NULL};
    tmac_source *source = r->source;
    tmac_source_layer *layer = &source->layers[index];
    uint32_t wide = source->heads * source->head_dim;
    for (int part = 0; part < TMAC_LAYER_MATRICES; part++)
        TMAC_TRY(take_projection(r, index, (tmac_part_of_layer)part));
    TMAC_TRY(take_norm(r, index, before, source->dim, true, &layer->attention_norm));
    TMAC_TRY(take_norm(r, index, between, source->dim, true, &layer->ffn_norm));
    TMAC_TRY(take_norm(r, index, attention_sub_norms, wide, r->config.sub_norms,
                       &layer->attention_sub_norm));
    TMAC_TRY(take_norm(r, index, ffn_sub_norms, source->hidden, r->config.sub_norms,
                       &layer->ffn_sub_norm));
    const struct {
        const char *name;
        const float **vector;
    } norms[] = {{"self_attn.q_norm", &layer->extras.query_norm},
                 {"self_attn.k_norm", &layer->extras.key_norm}};
    for (size_t i = 0; i < 2; i++) {
        const tmac_st_tensor *tensor = find(r, index, norms[i].name, "weight");
        if (!tensor && r->config.head_norms) return missing(r, index, norms[i].name);
        if (tensor)
            TMAC_TRY(take_vector(r, tensor, source->head_dim, source->head_dim, norms[i].vector));
    }
    return tmac_ok();
}

static tmac_status take_table(const reader *r, const char *file_name, const char *name,
                              tmac_matrix *matrix)
{
    const tmac_source *source = r->source;
    tmac_st_tensor *tensor = tmac_safetensors_find(&r->files, file_name);
    tmac_number number;
    if (!tensor) return tmac_fail(TMAC_BAD_FILE, "tensor %s is missing", file_name);
    tensor->used = true;
    *matrix = (tmac_matrix){.name = name, .rows = source->vocab, .columns = source->dim};
    if (!tmac_st_number(tensor, &number))
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %s has dtype %s, expected a float", file_name,
                         tensor->type_name);
    if (tensor->dimensions != 2 || tensor->extent[0] != source->vocab ||
        tensor->extent[1] != source->dim)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s is %llu x %llu, config.json says %u x %u",
                         file_name, (unsigned long long)tensor->extent[0],
                         (unsigned long long)tensor->extent[1], source->vocab, source->dim);
    tmac_matrix_float(matrix, number, tensor->data, 0);
    return tmac_ok();
}

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

// Tensors that say nothing new: a table of frequencies, the copy of a tied embedding.
static bool says_nothing(const reader *r, const tmac_st_tensor *tensor)
{
    return ends_with(tensor->name, "rotary_emb.inv_freq") ||
           (r->source->tied_head && strcmp(tensor->name, "lm_head.weight") == 0);
}

static tmac_status read_tensors(reader *r)
{
    tmac_source *source = r->source;
    char name[NAME_BYTES];
    r->prefix = tmac_safetensors_find(&r->files, "model.embed_tokens.weight") ? "model." : "";
    snprintf(name, sizeof name, "%sembed_tokens.weight", r->prefix);
    TMAC_TRY(take_table(r, name, "token_embd", &source->embedding));
    source->head = source->embedding;
    // A model for embeddings has no head of its own, whatever its configuration says.
    if (!source->tied_head && !tmac_safetensors_find(&r->files, "lm_head.weight") && !*r->prefix)
        source->tied_head = true;
    if (!source->tied_head) TMAC_TRY(take_table(r, "lm_head.weight", "output", &source->head));
    snprintf(name, sizeof name, "%snorm.weight", r->prefix);
    tmac_st_tensor *norm = tmac_safetensors_find(&r->files, name);
    if (!norm) return tmac_fail(TMAC_BAD_FILE, "tensor %s is missing", name);
    norm->used = true;
    TMAC_TRY(take_vector(r, norm, source->dim, 0, &source->final_norm));
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(take_layer(r, l));
    for (size_t i = 0; i < r->files.tensor_count; i++)
        if (!r->files.tensors[i].used && !says_nothing(r, &r->files.tensors[i]))
            return tmac_fail(TMAC_UNSUPPORTED,
                             "tensor %s is not one we know of architecture %s: leaving it out "
                             "would change the result",
                             r->files.tensors[i].name, source->architecture);
    return tmac_ok();
}

tmac_status tmac_read_huggingface(tmac_source *source, tmac_base3 base3)
{
    reader r = {.source = source, .base3 = base3};
    TMAC_TRY(tmac_hf_config_read(source->path, source, &r.config));
    TMAC_TRY(tmac_source_take_layers(source));
    TMAC_TRY(tmac_safetensors_open(source->path, &r.files));
    source->shards = r.files.shards; // unmapped with the source
    source->shard_count = r.files.shard_count;
    r.files.shards = NULL;
    memcpy(source->recorded_hash, r.files.hash, sizeof source->recorded_hash);
    source->has_recorded_hash = true;
    tmac_status status = read_tensors(&r);
    tmac_safetensors_close(&r.files);
    return status;
}

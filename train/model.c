#include "train/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/math.h"

typedef struct part {
    tmac_layer_tensor tensor;
    size_t offset; // in tmac_source_layer
    const char *name;
} part;

static const part matrices[] = {
    {TMAC_T_QUERY, offsetof(tmac_source_layer, query), "attn_q"},
    {TMAC_T_KEY, offsetof(tmac_source_layer, key), "attn_k"},
    {TMAC_T_VALUE, offsetof(tmac_source_layer, value), "attn_v"},
    {TMAC_T_OUTPUT, offsetof(tmac_source_layer, output), "attn_output"},
    {TMAC_T_GATE, offsetof(tmac_source_layer, gate), "ffn_gate"},
    {TMAC_T_UP, offsetof(tmac_source_layer, up), "ffn_up"},
    {TMAC_T_DOWN, offsetof(tmac_source_layer, down), "ffn_down"},
};
static const part norms[] = {
    {TMAC_T_ATTENTION_NORM, offsetof(tmac_source_layer, attention_norm), ""},
    {TMAC_T_ATTENTION_SUB_NORM, offsetof(tmac_source_layer, attention_sub_norm), ""},
    {TMAC_T_FFN_NORM, offsetof(tmac_source_layer, ffn_norm), ""},
    {TMAC_T_FFN_SUB_NORM, offsetof(tmac_source_layer, ffn_sub_norm), ""},
};
enum { MATRICES = sizeof matrices / sizeof *matrices, NORMS = sizeof norms / sizeof *norms };

static tmac_matrix *matrix_of(const tmac_source *source, uint32_t layer, int i)
{
    return (tmac_matrix *)(void *)((char *)&source->layers[layer] + matrices[i].offset);
}

static const float **norm_of(const tmac_source *source, uint32_t layer, int i)
{
    return (const float **)(void *)((char *)&source->layers[layer] + norms[i].offset);
}

tmac_train_shape tmac_train_shape_of(const tmac_source *source)
{
    tmac_train_shape shape = {
        .dim = source->dim,
        .hidden = source->hidden,
        .layers = source->layer_count,
        .heads = source->heads,
        .kv_heads = source->kv_heads,
        .head_dim = source->head_dim,
        .vocab = source->vocab,
        .context = source->context,
        .rope_theta = source->rope_theta,
        .epsilon = source->norm_epsilon,
        .final_epsilon = source->final_norm_epsilon,
        .activation = source->activation,
        .ternary = 1,
        .sub_norms = source->layers[0].attention_sub_norm != NULL,
        .tied = source->tied_head,
        .half = source->embedding.number == TMAC_F16,
    };
    for (uint32_t l = 0; l < source->layer_count; l++)
        for (int i = 0; i < MATRICES; i++)
            if (matrix_of(source, l, i)->number != TMAC_TERNARY) shape.ternary = 0;
    return shape;
}

// ------------------------------------------------------------------------------------------------------ to start

// Box and Muller's normal numbers, with the project's own logarithm and sines.
static float normal(tmac_random *random)
{
    double u = ((double)tmac_random_unit(random) + 0x1p-25),
           angle = 6.283185307179586 * (double)tmac_random_unit(random);
    return (float)(sqrt(-2.0 * tmac_log(u)) * tmac_cos(angle));
}

void tmac_parameters_random(const tmac_network *network, uint64_t seed, float *parameters)
{
    tmac_random random = {seed};
    for (uint32_t i = 0; i < network->tensor_count; i++) {
        const tmac_tensor *tensor = &network->tensors[i];
        const size_t count = (size_t)tensor->rows * tensor->columns;
        const uint32_t in_layer = (i - TMAC_T_LAYERS) % TMAC_T_COUNT;
        // Matrices get about half of what keeps variances as they are. What adds to the residual stream starts well below
        // the embedding, so that a token can still be told from others after all layers: copying is learned sooner.
        const bool adds =
            i >= TMAC_T_LAYERS && (in_layer == TMAC_T_OUTPUT || in_layer == TMAC_T_DOWN);
        const double deviation =
            tensor->kind == TMAC_TENSOR_TABLE ? 0.1 : (adds ? 0.05 : 0.5) / sqrt(tensor->columns);
        for (size_t k = 0; k < count; k++)
            parameters[tensor->at + k] =
                tensor->kind == TMAC_TENSOR_NORM ? 1.0f : (float)deviation * normal(&random);
    }
}

static tmac_status read_matrix(const tmac_network *network, const tmac_matrix *matrix, float *to)
{
    const size_t count = (size_t)matrix->rows * matrix->columns;
    if (!tmac_number_is_integer(matrix->number)) {
        matrix->read_float(matrix, 0, matrix->rows, to);
        return tmac_ok();
    }
    int8_t *codes = malloc(count);
    if (!codes) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu weights", count);
    matrix->read_codes(matrix, 0, matrix->rows, codes);
    size_t nonzero = 0;
    for (size_t k = 0; k < count; k++)
        nonzero += codes[k] != 0;
    // The mean magnitude of the latent weights must be the scale.
    const bool keep = network->shape.ternary && matrix->scale_count == 1 && nonzero != 0;
    const float grow = keep ? (float)((double)count / (double)nonzero) : 1.0f;
    const uint32_t groups = (matrix->columns + matrix->group - 1) / matrix->group;
    for (uint32_t r = 0; r < matrix->rows; r++)
        for (uint32_t c = 0; c < matrix->columns; c++) {
            size_t k = (size_t)r * matrix->columns + c;
            size_t at = matrix->scale_count == 1 ? 0 : (size_t)r * groups + c / matrix->group;
            to[k] = (float)codes[k] * matrix->scales[at] * grow;
        }
    free(codes);
    return tmac_ok();
}

tmac_status tmac_parameters_read(const tmac_network *network, const tmac_source *source,
                                 float *parameters)
{
    const tmac_tensor *tensors = network->tensors;
    TMAC_TRY(read_matrix(network, &source->embedding, parameters + tensors[TMAC_T_EMBEDDING].at));
    memcpy(parameters + tensors[TMAC_T_FINAL_NORM].at, source->final_norm,
           source->dim * sizeof *parameters);
    if (!network->shape.tied)
        TMAC_TRY(read_matrix(network, &source->head, parameters + tensors[TMAC_T_HEAD].at));
    for (uint32_t l = 0; l < source->layer_count; l++) {
        for (int i = 0; i < MATRICES; i++) {
            const tmac_tensor *tensor = &tensors[tmac_layer_tensor_index(l, matrices[i].tensor)];
            TMAC_TRY(read_matrix(network, matrix_of(source, l, i), parameters + tensor->at));
        }
        for (int i = 0; i < NORMS; i++) {
            const tmac_tensor *tensor = &tensors[tmac_layer_tensor_index(l, norms[i].tensor)];
            const float *norm = *norm_of(source, l, i);
            for (size_t k = 0; k < (size_t)tensor->rows * tensor->columns; k++)
                parameters[tensor->at + k] = norm ? norm[k] : 1.0f;
        }
    }
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------- the model

static void give_codes(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const float *from = (const float *)matrix->data + (size_t)first * matrix->columns;
    for (size_t i = 0; i < (size_t)count * matrix->columns; i++)
        codes[i] = (int8_t)from[i];
}

static void give_floats(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    const float *from = (const float *)matrix->data + (size_t)first * matrix->columns;
    memcpy(values, from, (size_t)count * matrix->columns * sizeof *values);
}

static void describe(const tmac_network *network, uint32_t index, const char *name,
                     tmac_matrix *matrix)
{
    const tmac_tensor *tensor = &network->tensors[index];
    const bool ternary = tensor->kind == TMAC_TENSOR_MATRIX && network->shape.ternary;
    *matrix = (tmac_matrix){
        .name = name,
        .number = ternary                                                    ? TMAC_TERNARY
                  : tensor->kind == TMAC_TENSOR_TABLE && network->shape.half ? TMAC_F16
                                                                             : TMAC_F32,
        .rows = tensor->rows,
        .columns = tensor->columns,
        .group = tensor->columns,
        .scale_count = ternary ? 1 : 0,
        .scales = ternary ? &network->scales[index] : NULL,
        .read_codes = ternary ? give_codes : NULL,
        .read_float = ternary ? NULL : give_floats,
        .data = network->weights + tensor->at,
    };
}

static void close_layers(tmac_source *source)
{
    free(source->layers);
    source->layers = NULL;
}

static tmac_status make_source(const tmac_network *network, const tmac_vocabulary *vocabulary,
                               tmac_source *source)
{
    const tmac_train_shape *s = &network->shape;
    *source = (tmac_source){
        .dim = s->dim,
        .hidden = s->hidden,
        .layer_count = s->layers,
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .vocab = s->vocab,
        .context = s->context,
        .norm_epsilon = s->epsilon,
        .final_norm_epsilon = s->final_epsilon,
        .rope_theta = s->rope_theta,
        .rope_dims = s->head_dim,
        .activation = (tmac_activation)s->activation,
        .tied_head = s->tied != 0,
        .final_norm = network->weights + network->tensors[TMAC_T_FINAL_NORM].at,
        .vocabulary = *vocabulary,
        .close = close_layers,
    };
    strcpy(source->path, "a model in training");
    strcpy(source->format, "tmac-train");
    strcpy(source->architecture, s->sub_norms ? "bitnet" : "llama");
    source->layers = calloc(s->layers, sizeof *source->layers);
    if (!source->layers) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    describe(network, TMAC_T_EMBEDDING, "token_embd", &source->embedding);
    source->head = source->embedding;
    if (!s->tied) describe(network, TMAC_T_HEAD, "output", &source->head);
    for (uint32_t l = 0; l < s->layers; l++) {
        for (int i = 0; i < MATRICES; i++)
            describe(network, tmac_layer_tensor_index(l, matrices[i].tensor), matrices[i].name,
                     matrix_of(source, l, i));
        for (int i = 0; i < NORMS; i++) {
            const tmac_tensor *tensor =
                &network->tensors[tmac_layer_tensor_index(l, norms[i].tensor)];
            *norm_of(source, l, i) = tensor->rows ? network->weights + tensor->at : NULL;
        }
    }
    return tmac_source_check(source);
}

tmac_status tmac_network_write(const tmac_network *network, const tmac_vocabulary *vocabulary,
                               const char *path)
{
    tmac_source source;
    tmac_status status = make_source(network, vocabulary, &source);
    if (status.code == TMAC_OK) status = tmac_tm2_write(&source, path, false);
    close_layers(&source);
    return status;
}

// What a model asks of the tuner, from the model or from its shape alone.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tmac.h"
#include "tune/tune.h"

static tmac_status fill_work(const tmac_source *source, const char *name, tmac_work *work)
{
    memset(work, 0, sizeof *work);
    snprintf(work->model, sizeof work->model, "%.127s", name);
    TMAC_TRY(tmac_model_input_sets(source, work->sets, &work->count));
    for (uint32_t i = 0; i < work->count; i++)
        work->calls[i] = tmac_model_set_calls(source, &work->sets[i]);
    work->head_bytes = (uint64_t)source->head.rows * source->head.columns *
                       (source->head.number == TMAC_F32 ? 4 : 2);
    return tmac_ok();
}

tmac_status tmac_work_of_source(const tmac_source *source, tmac_work *work)
{
    const char *slash = strrchr(source->path, '/');
    return fill_work(source, slash ? slash + 1 : source->path, work);
}

static tmac_matrix ternary(const char *name, uint32_t rows, uint32_t columns)
{
    return (tmac_matrix){.name = name,
                         .number = TMAC_TERNARY,
                         .rows = rows,
                         .columns = columns,
                         .group = columns,
                         .scale_count = 1};
}

// A source with dimensions and no data: the input sets follow from the description alone.
tmac_status tmac_work_of_shape(const tmac_synth_shape *shape, const char *name, tmac_work *work)
{
    if (shape->heads == 0 || shape->dim % shape->heads != 0 || shape->layers == 0 ||
        shape->kv_heads == 0 || shape->kv_heads > shape->heads || shape->dim > TMAC_COLUMNS_MAX ||
        shape->hidden > TMAC_COLUMNS_MAX || shape->hidden == 0)
        return tmac_fail(TMAC_USAGE, "shape %s: heads must divide dim, and nothing may be zero",
                         name);
    tmac_source source = {.dim = shape->dim,
                          .hidden = shape->hidden,
                          .layer_count = shape->layers,
                          .heads = shape->heads,
                          .kv_heads = shape->kv_heads,
                          .head_dim = shape->dim / shape->heads,
                          .vocab = shape->vocab,
                          .context = shape->context,
                          .tied_head = shape->tied};
    uint32_t kv = source.kv_heads * source.head_dim;
    source.embedding = (tmac_matrix){.name = "embedding",
                                     .number = shape->bf16_head ? TMAC_BF16 : TMAC_F32,
                                     .rows = shape->vocab,
                                     .columns = shape->dim};
    source.head = source.embedding;
    source.layers = calloc(shape->layers, sizeof *source.layers);
    if (!source.layers)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u layers", shape->layers);
    for (uint32_t i = 0; i < shape->layers; i++) {
        tmac_source_layer *layer = &source.layers[i];
        layer->query = ternary("query", shape->dim, shape->dim);
        layer->key = ternary("key", kv, shape->dim);
        layer->value = ternary("value", kv, shape->dim);
        layer->output = ternary("output", shape->dim, shape->dim);
        layer->gate = ternary("gate", shape->hidden, shape->dim);
        layer->up = ternary("up", shape->hidden, shape->dim);
        layer->down = ternary("down", shape->dim, shape->hidden);
    }
    tmac_status status = fill_work(&source, name, work);
    free(source.layers);
    return status;
}

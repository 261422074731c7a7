#include "convert/synth_extras.h"

#include "base/random.h"
#include "convert/neutral.h"
#include "convert/rope_scaling.h"

// Multiples of 1/64 around `middle`, within 1/2 of it: exact in every float format that files use.
static const float *some(tmac_source *source, tmac_random *random, size_t count, float middle,
                         float unit)
{
    float *values = tmac_source_take(source, count * sizeof *values);
    for (size_t i = 0; values && i < count; i++)
        values[i] = middle + ((float)tmac_random_below(random, 65) - 32.0f) * unit / 64.0f;
    return values;
}

tmac_status tmac_synth_extras_make(tmac_source *source, uint32_t layer,
                                   const tmac_synth_extras *extras, uint64_t seed)
{
    tmac_source_extras *to = &source->layers[layer].extras;
    tmac_random random = {seed ^ ((uint64_t)layer + 1) << 20};
    random.state = tmac_random_next(&random);
    for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
        const tmac_matrix *matrix = tmac_layer_part(source, layer, (tmac_part_of_layer)p);
        if (p <= TMAC_LAYER_VALUE && extras->bias) {
            to->bias[p] = some(source, &random, matrix->rows, 0.0f, 1.0f);
            if (!to->bias[p]) return tmac_no_memory();
        }
        if (extras->rank == 0) continue;
        to->low[p].rank = extras->rank;
        to->low[p].up = some(source, &random, (size_t)matrix->rows * extras->rank, 0.0f, 0.25f);
        to->low[p].down =
            some(source, &random, (size_t)extras->rank * matrix->columns, 0.0f, 0.25f);
        if (!to->low[p].up || !to->low[p].down) return tmac_no_memory();
    }
    if (!extras->head_norms) return tmac_ok();
    to->query_norm = some(source, &random, source->head_dim, 1.0f, 1.0f);
    to->key_norm = some(source, &random, source->head_dim, 1.0f, 1.0f);
    return to->query_norm && to->key_norm ? tmac_ok() : tmac_no_memory();
}

tmac_status tmac_synth_rope(tmac_source *source, const tmac_synth_extras *extras)
{
    tmac_rope_parameters parameters = {.kind = (tmac_rope_kind)extras->rope,
                                       .factor = 4.0,
                                       .original_context = source->context / 4.0,
                                       .low = 1.0,
                                       .high = 4.0};
    return tmac_rope_scale(source, &parameters);
}

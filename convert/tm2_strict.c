// Whether a TM2 body alone can express a model. The rules mirror what a reader of a body assumes (convert/tm2.c).
#include "convert/neutral.h"
#include "convert/tm2.h"
#include "convert/tm2_write.h"
#include "runtime/half.h"

static tmac_status refuse(const char *what)
{
    return tmac_fail(TMAC_UNSUPPORTED, "a strict TM2 file cannot express %s: leave --strict away",
                     what);
}

static tmac_status check_matrix(const tmac_matrix *matrix, tmac_number first)
{
    if (matrix->number > TMAC_TERNARY) return refuse("weights of one to four bits");
    if ((matrix->number == TMAC_TERNARY) != (first == TMAC_TERNARY))
        return refuse("a matrix that is ternary in some layers and float in others");
    if (matrix->number != TMAC_TERNARY) return tmac_ok();
    if (matrix->group != matrix->columns) return refuse("scales of groups within a row");
    for (uint32_t i = 0; i < matrix->scale_count; i++) {
        float rounded = tmac_f16_to_f32(tmac_f32_to_f16(matrix->scales[i]));
        if (rounded - rounded != 0.0f || (rounded == 0.0f && matrix->scales[i] != 0.0f))
            return tmac_fail(TMAC_UNSUPPORTED,
                             "%s: scale %g is outside the range of f16: leave --strict away",
                             matrix->name, (double)matrix->scales[i]);
    }
    return tmac_ok();
}

// Norms inside the layers: none but the usual two, with llama2.c's epsilon, or all of them bitllama2.c's.
static tmac_status check_norms(const tmac_source *source)
{
    bool constant = tmac_tm2_is_bitllama(source);
    uint32_t wide = source->heads * source->head_dim, subs = 0;
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_source_layer *layer = &source->layers[l];
        subs += (layer->attention_sub_norm ? 1u : 0u) + (layer->ffn_sub_norm ? 1u : 0u);
        if ((layer->attention_sub_norm &&
             !tmac_vector_is_reciprocal(layer->attention_sub_norm, wide)) ||
            (layer->ffn_sub_norm &&
             !tmac_vector_is_reciprocal(layer->ffn_sub_norm, source->hidden)))
            return refuse("sub-norms with weights");
    }
    if (subs == 0 && constant)
        return refuse("norms of 1/dim without sub-norms (they mark bitllama2.c models)");
    if (subs != 0 && (!constant || subs != 2 * source->layer_count))
        return refuse("sub-norms beside norms with weights");
    if (source->norm_epsilon != (constant ? 1e-12f : 1e-5f))
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "a strict TM2 file cannot express the norms' epsilon %g: leave --strict away",
            (double)source->norm_epsilon);
    if (source->final_norm_epsilon != 1e-5f && !(constant && source->final_norm_epsilon == 1e-12f))
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "a strict TM2 file cannot express the last norm's epsilon %g: leave --strict away",
            (double)source->final_norm_epsilon);
    return tmac_ok();
}

tmac_status tmac_tm2_check_strict(const tmac_source *source)
{
    if (source->activation != TMAC_SILU) return refuse("squared ReLU");
    if (tmac_tm2_needs_version_2(source))
        return refuse("biases, norms of heads, low-rank corrections, scaled RoPE or wide heads");
    TMAC_TRY(check_norms(source));
    float sine = tmac_tm2_rope_sine(source->rope_theta, source->head_dim);
    float base = source->context >= 2 ? tmac_tm2_rope_base(sine, source->head_dim) : 10000.0f;
    if (base != source->rope_theta)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "a strict TM2 file cannot express the RoPE base %g: leave --strict away",
                         (double)source->rope_theta);
    for (int part = 0; part < TMAC_LAYER_MATRICES; part++)
        for (uint32_t l = 0; l < source->layer_count; l++)
            TMAC_TRY(check_matrix(tmac_layer_part(source, l, (tmac_part_of_layer)part),
                                  tmac_layer_part(source, 0, (tmac_part_of_layer)part)->number));
    return tmac_ok();
}

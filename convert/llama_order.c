#include "convert/llama_order.h"

static const struct {
    const char *name;
    int part;
} kinds[TMAC_STACKED_KINDS] = {
    [TMAC_STACKED_EMBEDDING] = {"token_embd", -1},
    [TMAC_STACKED_ATTENTION_NORM] = {"attn_norm", -1},
    [TMAC_STACKED_QUERY] = {"attn_q", TMAC_LAYER_QUERY},
    [TMAC_STACKED_KEY] = {"attn_k", TMAC_LAYER_KEY},
    [TMAC_STACKED_VALUE] = {"attn_v", TMAC_LAYER_VALUE},
    [TMAC_STACKED_OUTPUT] = {"attn_output", TMAC_LAYER_OUTPUT},
    [TMAC_STACKED_FFN_NORM] = {"ffn_norm", -1},
    [TMAC_STACKED_GATE] = {"ffn_gate", TMAC_LAYER_GATE},
    [TMAC_STACKED_DOWN] = {"ffn_down", TMAC_LAYER_DOWN},
    [TMAC_STACKED_UP] = {"ffn_up", TMAC_LAYER_UP},
    [TMAC_STACKED_FINAL_NORM] = {"output_norm", -1},
    [TMAC_STACKED_COSINES] = {"rope_cos", -1},
    [TMAC_STACKED_SINES] = {"rope_sin", -1},
    [TMAC_STACKED_HEAD] = {"output", -1},
};

tmac_stacked_shape tmac_stacked_describe(const tmac_source *source, tmac_stacked kind)
{
    tmac_stacked_shape shape = {.name = kinds[kind].name, .part = kinds[kind].part};
    switch (kind) {
    case TMAC_STACKED_EMBEDDING:
    case TMAC_STACKED_HEAD:
        shape.rows = source->vocab;
        shape.columns = source->dim;
        break;
    case TMAC_STACKED_ATTENTION_NORM:
    case TMAC_STACKED_FFN_NORM:
        shape.rows = source->layer_count;
        shape.columns = source->dim;
        shape.layered = true;
        break;
    case TMAC_STACKED_FINAL_NORM:
        shape.rows = 1;
        shape.columns = source->dim;
        break;
    case TMAC_STACKED_COSINES:
    case TMAC_STACKED_SINES:
        shape.rows = source->context;
        shape.columns = source->head_dim / 2;
        break;
    default: {
        uint32_t rows;
        tmac_layer_part_size(source, (tmac_part_of_layer)shape.part, &rows, &shape.columns);
        shape.rows = (uint64_t)rows * source->layer_count;
        shape.layered = true;
    }
    }
    return shape;
}

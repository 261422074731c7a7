// The order of tensors that llama2.c v0 and TM2 share: every kind of tensor once, stacked over the layers.
#ifndef TMAC_CONVERT_LLAMA_ORDER_H
#define TMAC_CONVERT_LLAMA_ORDER_H

#include "convert/neutral.h"

typedef enum tmac_stacked {
    TMAC_STACKED_EMBEDDING,
    TMAC_STACKED_ATTENTION_NORM,
    TMAC_STACKED_QUERY,
    TMAC_STACKED_KEY,
    TMAC_STACKED_VALUE,
    TMAC_STACKED_OUTPUT,
    TMAC_STACKED_FFN_NORM,
    TMAC_STACKED_GATE, // w1
    TMAC_STACKED_DOWN, // w2
    TMAC_STACKED_UP,   // w3
    TMAC_STACKED_FINAL_NORM,
    TMAC_STACKED_COSINES, // [context, head_dim / 2]
    TMAC_STACKED_SINES,
    TMAC_STACKED_HEAD, // absent where the head is tied
    TMAC_STACKED_KINDS
} tmac_stacked;

typedef struct tmac_stacked_shape {
    const char *name; // as in GGUF: "token_embd", "attn_q"
    uint64_t rows;    // of all layers together
    uint32_t columns;
    bool layered; // rows are split evenly over the layers
    int part;     // tmac_part_of_layer, or -1
} tmac_stacked_shape;

// The shape of a kind of tensor under the source's dimensions, which have been checked.
tmac_stacked_shape tmac_stacked_describe(const tmac_source *source, tmac_stacked kind);

#endif

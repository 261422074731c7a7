// The transformer forwards and backwards over whole documents.
//
// Parameters are one flat vector, so that the optimizer, a checkpoint and a sum of gradients are loops over it; the plan
// says where each tensor lies. The forward pass reads a second vector of the same layout, made by tmac_network_set: what
// the exported model will hold. There ternary matrices are codes -1, 0, 1 (as floats) with one scale each, and the
// embedding is rounded to f16; everything else is a copy. Gradients pass both roundings and the rounding of activations
// unchanged (straight-through): the gradient of a quantized product is that of the product of the quantized numbers.
//
// The arithmetic of the forward pass is that of docs/DESIGN.md, section 3: a ternary product is an integer sum, exact in
// float whatever the order (127 * K < 2^24 for K < 132104), and everything outside products and attention runs through
// the runtime's own functions.
#ifndef TMAC_TRAIN_NETWORK_H
#define TMAC_TRAIN_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/memory.h"
#include "base/status.h"
#include "runtime/floats.h"
#include "train/passes.h"

typedef struct tmac_train_shape {
    uint32_t dim, hidden, layers, heads, kv_heads, head_dim, vocab, context;
    float rope_theta, epsilon, final_epsilon;
    uint32_t activation; // tmac_activation
    uint32_t ternary;    // 1: matrices of the layers are ternary and their inputs int8
    uint32_t sub_norms;  // 1: norms before the output and down projections
    uint32_t tied;       // 1: the head is the embedding
    uint32_t half;       // 1: embedding and head are rounded to f16
} tmac_train_shape;

typedef enum tmac_tensor_kind {
    TMAC_TENSOR_TABLE,
    TMAC_TENSOR_NORM,
    TMAC_TENSOR_MATRIX
} tmac_tensor_kind;

typedef struct tmac_tensor {
    size_t at; // its first number in the flat vector
    uint32_t rows, columns;
    tmac_tensor_kind kind;
} tmac_tensor;

// Tensors of a layer, in this order; those of the whole model come before the layers.
typedef enum tmac_layer_tensor {
    TMAC_T_ATTENTION_NORM,
    TMAC_T_QUERY,
    TMAC_T_KEY,
    TMAC_T_VALUE,
    TMAC_T_ATTENTION_SUB_NORM,
    TMAC_T_OUTPUT,
    TMAC_T_FFN_NORM,
    TMAC_T_GATE,
    TMAC_T_UP,
    TMAC_T_FFN_SUB_NORM,
    TMAC_T_DOWN,
    TMAC_T_COUNT
} tmac_layer_tensor;
enum { TMAC_T_EMBEDDING, TMAC_T_FINAL_NORM, TMAC_T_HEAD, TMAC_T_LAYERS };

typedef struct tmac_network {
    tmac_train_shape shape;
    tmac_tensor *tensors; // [TMAC_T_LAYERS + layers * TMAC_T_COUNT]; absent ones have no rows
    uint32_t tensor_count;
    size_t parameters;
    real *weights; // [parameters], as the forward pass reads them
    real *scales;  // [tensor_count]
    real *turns;   // [context][head_dim]
    const tmac_passes *passes;
    const tmac_floats *floats; // the runtime's arithmetic
    tmac_pages pages;
} tmac_network;

// Fills in tensors, tensor_count and parameters of a network whose shape is set; the caller frees tensors.
tmac_status tmac_network_plan(tmac_network *network);

// isa: the instruction sets to use. The caller calls tmac_network_free, which is harmless on a zeroed struct.
tmac_status tmac_network_new(const tmac_train_shape *shape, tmac_isa_set isa,
                             tmac_network *network);
void tmac_network_free(tmac_network *network);

// Makes the weights of the forward pass from the trained ones (the latent weights).
void tmac_network_set(tmac_network *network, const real *parameters);

// Some documents, one after the other: document d is tokens starts[d] .. starts[d + 1] - 1.
typedef struct tmac_chunk {
    const uint32_t *inputs, *targets; // [tokens]
    uint32_t tokens;
    const uint32_t *starts; // [documents + 1], starts[0] == 0
    uint32_t documents;
} tmac_chunk;

// What one layer leaves for the way back. Names as in runtime/decode.c; "in" is the input of the products that follow,
// as they saw it: normed and, in a ternary model, rounded to 127ths of its maximum.
typedef struct tmac_layer_memory {
    real *x, *attention_in, *query, *key, *value, *probabilities, *attended, *output_in;
    real *middle, *ffn_in, *gate, *up, *product, *down_in;
} tmac_layer_memory;

typedef struct tmac_workspace {
    uint32_t tokens; // a chunk has at most as many
    tmac_layer_memory *layers;
    real *x;       // [tokens][dim] after the last layer
    real *head_in; // [tokens][dim]
    real *logits;  // [block][vocab]
    real *other_logits;
    real *row_scale;                              // [tokens]
    real *dx, *wide_a, *wide_b, *wide_c, *wide_d; // [tokens][max(dim, hidden, heads * head_dim)]
    real *dscores;                                // [context][context]
    int8_t *codes;
    tmac_pages pages;
} tmac_workspace;

// Room for the activations of `tokens` tokens in documents of at most `context`. TMAC_OUT_OF_MEMORY says how much.
tmac_status tmac_workspace_new(const tmac_network *network, uint32_t tokens,
                               tmac_workspace *workspace);
void tmac_workspace_free(tmac_workspace *workspace);

// From tokens to the vectors before the head.
void tmac_network_forward(const tmac_network *network, tmac_workspace *workspace,
                          const tmac_chunk *chunk);

// The same chunk as seen by a teacher, after tmac_network_forward: share of the loss that is the divergence from the
// teacher's distribution instead of from the text.
typedef struct tmac_teacher_view {
    const tmac_network *network; // NULL: none
    const tmac_workspace *workspace;
    double share;
} tmac_teacher_view;

// The head: returns the sum over tokens of the negative log-likelihood of their targets, in nats. gradient: NULL, or
// where the gradient of (that sum * scale) is added; workspace->dx then holds the gradient of the last layer's output.
double tmac_network_loss(const tmac_network *network, tmac_workspace *workspace,
                         const tmac_chunk *chunk, const tmac_teacher_view *teacher, double scale,
                         real *gradient);

// The layers and the embedding: from workspace->dx back. Adds to gradient.
void tmac_network_backward(const tmac_network *network, tmac_workspace *workspace,
                           const tmac_chunk *chunk, real *gradient);

static inline uint32_t tmac_layer_tensor_index(uint32_t layer, tmac_layer_tensor tensor)
{
    return TMAC_T_LAYERS + layer * TMAC_T_COUNT + (uint32_t)tensor;
}

// ------------------------------------------------------------------------------------------ attention of a chunk

// query, key and value are rotated; [tokens][heads * head_dim] and [tokens][kv_heads * head_dim]. probabilities: for each
// document and head a square of its length.
void tmac_attention_forward(const tmac_network *network, const tmac_chunk *chunk,
                            const tmac_layer_memory *memory);
// dout: gradient of memory->attended. scores: [context][context] of scratch.
void tmac_attention_backward(const tmac_network *network, const tmac_chunk *chunk,
                             const tmac_layer_memory *memory, const real *dout, real *scores,
                             real *dquery, real *dkey, real *dvalue);

#endif

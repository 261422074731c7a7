// Causal attention over whole documents, as products of matrices: twice the operations that causality needs, at the speed
// of a product. Probabilities are kept for the way back.
#include <string.h>

#include "train/multiply.h"
#include "train/network.h"

// One head of one document.
typedef struct place {
    uint32_t length;
    size_t query, key; // offsets of its first vector
    size_t query_stride, key_stride;
    size_t probabilities; // offset of its square
} place;

static place first_place(const tmac_network *network)
{
    const tmac_train_shape *s = &network->shape;
    return (place){.query_stride = (size_t)s->heads * s->head_dim,
                   .key_stride = (size_t)s->kv_heads * s->head_dim};
}

static void find_place(const tmac_network *network, const tmac_chunk *chunk, uint32_t document,
                       uint32_t head, place *at)
{
    const tmac_train_shape *s = &network->shape;
    size_t start = chunk->starts[document];
    at->length = chunk->starts[document + 1] - chunk->starts[document];
    at->query = start * at->query_stride + (size_t)head * s->head_dim;
    at->key = start * at->key_stride + (size_t)(head / (s->heads / s->kv_heads)) * s->head_dim;
}

void tmac_attention_forward(const tmac_network *network, const tmac_chunk *chunk,
                            const tmac_layer_memory *memory)
{
    const tmac_train_shape *s = &network->shape;
    const real scale = 1 / tmac_square_root((real)s->head_dim);
    place at = first_place(network);
    for (uint32_t d = 0; d < chunk->documents; d++) {
        for (uint32_t h = 0; h < s->heads; h++) {
            find_place(network, chunk, d, h, &at);
            real *p = memory->probabilities + at.probabilities;
            tmac_operand query = {memory->query + at.query, at.query_stride, false};
            tmac_operand key = {memory->key + at.key, at.key_stride, true};
            tmac_operand value = {memory->value + at.key, at.key_stride, false};
            tmac_operand weights = {p, at.length, false};
            tmac_multiply(at.length, at.length, s->head_dim, scale, query, key, 0, p, at.length);
            network->passes->softmax(p, at.length);
            tmac_multiply(at.length, s->head_dim, at.length, 1, weights, value, 0,
                          memory->attended + at.query, at.query_stride);
            at.probabilities += (size_t)at.length * at.length;
        }
    }
}

void tmac_attention_backward(const tmac_network *network, const tmac_chunk *chunk,
                             const tmac_layer_memory *memory, const real *dout, real *scores,
                             real *dquery, real *dkey, real *dvalue)
{
    const tmac_train_shape *s = &network->shape;
    const real scale = 1 / tmac_square_root((real)s->head_dim);
    place at = first_place(network);
    // Query heads that share a key head add to its gradient; the first of them overwrites.
    const uint32_t group = s->heads / s->kv_heads;
    for (uint32_t d = 0; d < chunk->documents; d++) {
        for (uint32_t h = 0; h < s->heads; h++) {
            find_place(network, chunk, d, h, &at);
            const uint32_t n = at.length;
            const real keep = h % group == 0 ? 0 : 1;
            const real *p = memory->probabilities + at.probabilities;
            tmac_operand query = {memory->query + at.query, at.query_stride, false};
            tmac_operand key = {memory->key + at.key, at.key_stride, false};
            tmac_operand value = {memory->value + at.key, at.key_stride, true};
            tmac_operand out = {dout + at.query, at.query_stride, false};
            tmac_multiply(n, s->head_dim, n, 1, (tmac_operand){p, n, true}, out, keep,
                          dvalue + at.key, at.key_stride);
            tmac_multiply(n, n, s->head_dim, 1, out, value, 0, scores, n);
            network->passes->softmax_back(p, scores, n);
            tmac_multiply(n, s->head_dim, n, scale, (tmac_operand){scores, n, false}, key, 0,
                          dquery + at.query, at.query_stride);
            tmac_multiply(n, s->head_dim, n, scale, (tmac_operand){scores, n, true}, query, keep,
                          dkey + at.key, at.key_stride);
            at.probabilities += (size_t)n * n;
        }
    }
}

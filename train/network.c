#include "train/network.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/half.h"
#include "runtime/math.h"
#include "train/arithmetic.h"
#include "train/multiply.h"

enum { HEAD_BLOCK = 256 }; // tokens whose logits exist at once

// ---------------------------------------------------------------------------------------------------------- plan

tmac_status tmac_network_plan(tmac_network *network)
{
    const tmac_train_shape *s = &network->shape;
    const uint32_t wide = s->heads * s->head_dim, narrow = s->kv_heads * s->head_dim;
    const tmac_tensor model[TMAC_T_LAYERS] = {
        [TMAC_T_EMBEDDING] = {0, s->vocab, s->dim, TMAC_TENSOR_TABLE},
        [TMAC_T_FINAL_NORM] = {0, 1, s->dim, TMAC_TENSOR_NORM},
        [TMAC_T_HEAD] = {0, s->tied ? 0 : s->vocab, s->dim, TMAC_TENSOR_TABLE},
    };
    const tmac_tensor layer[TMAC_T_COUNT] = {
        [TMAC_T_ATTENTION_NORM] = {0, 1, s->dim, TMAC_TENSOR_NORM},
        [TMAC_T_QUERY] = {0, wide, s->dim, TMAC_TENSOR_MATRIX},
        [TMAC_T_KEY] = {0, narrow, s->dim, TMAC_TENSOR_MATRIX},
        [TMAC_T_VALUE] = {0, narrow, s->dim, TMAC_TENSOR_MATRIX},
        [TMAC_T_ATTENTION_SUB_NORM] = {0, s->sub_norms, wide, TMAC_TENSOR_NORM},
        [TMAC_T_OUTPUT] = {0, s->dim, wide, TMAC_TENSOR_MATRIX},
        [TMAC_T_FFN_NORM] = {0, 1, s->dim, TMAC_TENSOR_NORM},
        [TMAC_T_GATE] = {0, s->hidden, s->dim, TMAC_TENSOR_MATRIX},
        [TMAC_T_UP] = {0, s->hidden, s->dim, TMAC_TENSOR_MATRIX},
        [TMAC_T_FFN_SUB_NORM] = {0, s->sub_norms, s->hidden, TMAC_TENSOR_NORM},
        [TMAC_T_DOWN] = {0, s->dim, s->hidden, TMAC_TENSOR_MATRIX},
    };
    network->tensor_count = TMAC_T_LAYERS + s->layers * TMAC_T_COUNT;
    network->tensors = calloc(network->tensor_count, sizeof *network->tensors);
    if (!network->tensors) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    size_t at = 0;
    for (uint32_t i = 0; i < network->tensor_count; i++) {
        tmac_tensor *tensor = &network->tensors[i];
        *tensor = i < TMAC_T_LAYERS ? model[i] : layer[(i - TMAC_T_LAYERS) % TMAC_T_COUNT];
        tensor->at = at;
        // Every tensor starts at a cache line, whatever the one before it.
        at += tmac_round_up((size_t)tensor->rows * tensor->columns, 16);
    }
    network->parameters = at;
    return tmac_ok();
}

tmac_status tmac_network_new(const tmac_train_shape *shape, tmac_isa_set isa, tmac_network *network)
{
    memset(network, 0, sizeof *network);
    network->shape = *shape;
    TMAC_TRY(tmac_network_plan(network));
    size_t scales = tmac_round_up(network->tensor_count, 16);
    size_t numbers = network->parameters + scales + (size_t)shape->context * shape->head_dim;
    tmac_status status = tmac_pages_map(numbers * sizeof(real), &network->pages);
    if (status.code != TMAC_OK) {
        tmac_network_free(network);
        return tmac_prefix(status, "%zu MB for %zu parameters", numbers * sizeof(real) >> 20,
                           network->parameters);
    }
    network->weights = network->pages.data;
    network->scales = network->weights + network->parameters;
    network->turns = network->scales + scales;
    for (uint32_t i = 0; i < network->tensor_count; i++)
        network->scales[i] = 1;
#ifndef TMAC_TRAIN_DOUBLE
    network->passes = tmac_passes_for(isa);
    network->floats = tmac_floats_for(isa);
#else
    (void)isa;
    network->passes = &TMAC_PASSES;
#endif
    for (uint32_t i = 0; i < shape->head_dim / 2; i++) {
        double frequency = tmac_pow((double)shape->rope_theta, -2.0 * i / shape->head_dim);
        for (uint32_t p = 0; p < shape->context; p++) {
            real *turn = network->turns + (size_t)p * shape->head_dim + (size_t)2 * i;
            turn[0] = (real)tmac_cos(p * frequency);
            turn[1] = (real)tmac_sin(p * frequency);
        }
    }
    return tmac_ok();
}

void tmac_network_free(tmac_network *network)
{
    free(network->tensors);
    tmac_pages_unmap(&network->pages);
    memset(network, 0, sizeof *network);
}

void tmac_network_set(tmac_network *network, const real *parameters)
{
    for (uint32_t i = 0; i < network->tensor_count; i++) {
        const tmac_tensor *tensor = &network->tensors[i];
        const real *from = parameters + tensor->at;
        real *to = network->weights + tensor->at;
        size_t count = (size_t)tensor->rows * tensor->columns;
        if (tensor->kind == TMAC_TENSOR_MATRIX && network->shape.ternary) {
            double mean = network->passes->sum_of_magnitudes(from, count) / (double)count;
            if (!(mean > 1e-5)) mean = 1e-5;
            network->scales[i] = (real)mean;
            network->passes->ternary(from, count, 1 / (real)mean, to);
        } else if (tensor->kind == TMAC_TENSOR_TABLE && network->shape.half) {
            for (size_t k = 0; k < count; k++)
                to[k] = (real)tmac_f16_to_f32(tmac_f32_to_f16((float)from[k]));
        } else {
            memcpy(to, from, count * sizeof *to);
        }
    }
}

// ----------------------------------------------------------------------------------------------------- workspace

tmac_status tmac_workspace_new(const tmac_network *network, uint32_t tokens,
                               tmac_workspace *workspace)
{
    const tmac_train_shape *s = &network->shape;
    const size_t wide = (size_t)s->heads * s->head_dim, narrow = (size_t)s->kv_heads * s->head_dim;
    size_t widest = s->hidden > s->dim ? s->hidden : s->dim;
    if (wide > widest) widest = wide;
    memset(workspace, 0, sizeof *workspace);
    workspace->tokens = tokens;
    workspace->layers = calloc(s->layers ? s->layers : 1, sizeof *workspace->layers);
    // Documents of a chunk are at most context long, so that their squares sum to at most tokens * context.
    const size_t squares = (size_t)tokens * (s->context < tokens ? s->context : tokens) * s->heads;
    size_t count = 0, bytes = 0, limit = (size_t)s->layers * 14 + 16;
    struct piece {
        void **where;
        size_t numbers;
    } *pieces = calloc(limit, sizeof *pieces);
    if (!workspace->layers || !pieces) {
        free(pieces);
        tmac_workspace_free(workspace);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    }
#define PIECE(pointer, size)                                                                       \
    pieces[count++] = (struct piece)                                                               \
    {                                                                                              \
        (void **)&(pointer), (size)                                                                \
    }
    for (uint32_t l = 0; l < s->layers; l++) {
        tmac_layer_memory *m = &workspace->layers[l];
        PIECE(m->x, tokens * s->dim);
        PIECE(m->attention_in, tokens * s->dim);
        PIECE(m->query, tokens * wide);
        PIECE(m->key, tokens * narrow);
        PIECE(m->value, tokens * narrow);
        PIECE(m->probabilities, squares);
        PIECE(m->attended, tokens * wide);
        PIECE(m->output_in, tokens * wide);
        PIECE(m->middle, tokens * s->dim);
        PIECE(m->ffn_in, tokens * s->dim);
        PIECE(m->gate, tokens * s->hidden);
        PIECE(m->up, tokens * s->hidden);
        PIECE(m->product, tokens * s->hidden);
        PIECE(m->down_in, tokens * s->hidden);
    }
    PIECE(workspace->x, tokens * s->dim);
    PIECE(workspace->head_in, tokens * s->dim);
    PIECE(workspace->logits, (size_t)HEAD_BLOCK * s->vocab);
    PIECE(workspace->other_logits, (size_t)HEAD_BLOCK * s->vocab);
    PIECE(workspace->row_scale, tokens);
    PIECE(workspace->dx, tokens * s->dim);
    PIECE(workspace->wide_a, tokens * widest);
    PIECE(workspace->wide_b, tokens * widest);
    PIECE(workspace->wide_c, tokens * widest);
    PIECE(workspace->wide_d, tokens * widest);
    PIECE(workspace->dscores, (size_t)s->context * s->context);
    PIECE(workspace->codes, widest);
#undef PIECE
    for (size_t i = 0; i < count; i++)
        bytes += tmac_round_up(pieces[i].numbers * sizeof(real), 64);
    tmac_status status = tmac_pages_map(bytes, &workspace->pages);
    char *next = workspace->pages.data;
    for (size_t i = 0; i < count && status.code == TMAC_OK; i++) {
        *pieces[i].where = next;
        next += tmac_round_up(pieces[i].numbers * sizeof(real), 64);
    }
    free(pieces);
    if (status.code == TMAC_OK) return status;
    tmac_workspace_free(workspace);
    return tmac_prefix(status, "%zu MB for the activations of %u tokens (--chunk makes them fewer)",
                       bytes >> 20, tokens);
}

void tmac_workspace_free(tmac_workspace *workspace)
{
    free(workspace->layers);
    tmac_pages_unmap(&workspace->pages);
    memset(workspace, 0, sizeof *workspace);
}

// ------------------------------------------------------------------------------------------------------- linears

static const tmac_tensor *tensor_of(const tmac_network *network, uint32_t layer,
                                    tmac_layer_tensor which)
{
    return &network->tensors[tmac_layer_tensor_index(layer, which)];
}

// The input of products: `in` = norm(x), or x where there is no such norm; in a ternary model, integers then.
static void make_input(const tmac_network *network, tmac_workspace *workspace, uint32_t tokens,
                       const tmac_tensor *norm, uint32_t width, const real *x, real *in)
{
    for (uint32_t t = 0; t < tokens; t++, x += width, in += width) {
        if (norm->rows)
            tmac_norm(network, x, network->weights + norm->at, width, in, network->shape.epsilon);
        else
            memcpy(in, x, width * sizeof *in);
        if (network->shape.ternary)
            workspace->row_scale[t] = tmac_quantize(network, in, width, workspace->codes);
    }
}

// The integers become what they stand for, which is what the way back multiplies with.
static void settle_input(const tmac_network *network, const tmac_workspace *workspace,
                         uint32_t tokens, uint32_t width, real *in)
{
    if (!network->shape.ternary) return;
    for (uint32_t t = 0; t < tokens; t++)
        network->passes->scale(in + (size_t)t * width, width, workspace->row_scale[t]);
}

static void linear(const tmac_network *network, const tmac_workspace *workspace, uint32_t tokens,
                   uint32_t layer, tmac_layer_tensor which, const real *in, real *out)
{
    const tmac_tensor *w = tensor_of(network, layer, which);
    tmac_multiply(tokens, w->rows, w->columns, 1, (tmac_operand){in, w->columns, false},
                  (tmac_operand){network->weights + w->at, w->columns, true}, 0, out, w->rows);
    if (!network->shape.ternary) return;
    const real scale = network->scales[tmac_layer_tensor_index(layer, which)];
    for (uint32_t t = 0; t < tokens; t++)
        network->passes->scale(out + (size_t)t * w->rows, w->rows, scale * workspace->row_scale[t]);
}

// dw += dout^T in; din = keep * din + dout w.
static void linear_back(const tmac_network *network, uint32_t tokens, uint32_t layer,
                        tmac_layer_tensor which, const real *in, const real *dout, real keep,
                        real *din, real *gradient)
{
    const tmac_tensor *w = tensor_of(network, layer, which);
    const real scale = network->scales[tmac_layer_tensor_index(layer, which)];
    tmac_multiply(w->rows, w->columns, tokens, 1, (tmac_operand){dout, w->rows, true},
                  (tmac_operand){in, w->columns, false}, 1, gradient + w->at, w->columns);
    tmac_multiply(tokens, w->columns, w->rows, scale, (tmac_operand){dout, w->rows, false},
                  (tmac_operand){network->weights + w->at, w->columns, false}, keep, din,
                  w->columns);
}

// Where there is a norm, dx += its gradient; where there is none, dx += din.
static void norm_backward(const tmac_network *network, uint32_t tokens, const tmac_tensor *norm,
                          uint32_t width, real epsilon, const real *x, const real *din, real *dx,
                          real *gradient)
{
    if (!norm->rows) {
        network->passes->add(dx, din, (size_t)tokens * width);
        return;
    }
    for (uint32_t t = 0; t < tokens; t++)
        network->passes->norm_back(x + (size_t)t * width, network->weights + norm->at,
                                   din + (size_t)t * width, width, epsilon, dx + (size_t)t * width,
                                   gradient + norm->at);
}

// ------------------------------------------------------------------------------------------------------- forward

static void turn_all(const tmac_network *network, const tmac_chunk *chunk, uint32_t heads, real *x,
                     void (*turn)(const tmac_network *, real *, const real *, uint32_t))
{
    const uint32_t dim = network->shape.head_dim;
    for (uint32_t d = 0; d < chunk->documents; d++)
        for (uint32_t t = chunk->starts[d]; t < chunk->starts[d + 1]; t++)
            for (uint32_t h = 0; h < heads; h++)
                turn(network, x + ((size_t)t * heads + h) * dim,
                     network->turns + (size_t)(t - chunk->starts[d]) * dim, dim / 2);
}

static void forward_layer(const tmac_network *network, tmac_workspace *workspace,
                          const tmac_chunk *chunk, uint32_t l, real *next)
{
    const tmac_train_shape *s = &network->shape;
    const uint32_t tokens = chunk->tokens, wide = s->heads * s->head_dim;
    tmac_layer_memory *m = &workspace->layers[l];

    make_input(network, workspace, tokens, tensor_of(network, l, TMAC_T_ATTENTION_NORM), s->dim,
               m->x, m->attention_in);
    linear(network, workspace, tokens, l, TMAC_T_QUERY, m->attention_in, m->query);
    linear(network, workspace, tokens, l, TMAC_T_KEY, m->attention_in, m->key);
    linear(network, workspace, tokens, l, TMAC_T_VALUE, m->attention_in, m->value);
    settle_input(network, workspace, tokens, s->dim, m->attention_in);
    turn_all(network, chunk, s->heads, m->query, tmac_turn);
    turn_all(network, chunk, s->kv_heads, m->key, tmac_turn);
    tmac_attention_forward(network, chunk, m);

    make_input(network, workspace, tokens, tensor_of(network, l, TMAC_T_ATTENTION_SUB_NORM), wide,
               m->attended, m->output_in);
    linear(network, workspace, tokens, l, TMAC_T_OUTPUT, m->output_in, m->middle);
    settle_input(network, workspace, tokens, wide, m->output_in);
    network->passes->add(m->middle, m->x, (size_t)tokens * s->dim);

    make_input(network, workspace, tokens, tensor_of(network, l, TMAC_T_FFN_NORM), s->dim,
               m->middle, m->ffn_in);
    linear(network, workspace, tokens, l, TMAC_T_GATE, m->ffn_in, m->gate);
    linear(network, workspace, tokens, l, TMAC_T_UP, m->ffn_in, m->up);
    settle_input(network, workspace, tokens, s->dim, m->ffn_in);
    for (uint32_t t = 0; t < tokens; t++)
        tmac_activate(network, m->gate + (size_t)t * s->hidden, m->up + (size_t)t * s->hidden,
                      s->hidden, m->product + (size_t)t * s->hidden);

    make_input(network, workspace, tokens, tensor_of(network, l, TMAC_T_FFN_SUB_NORM), s->hidden,
               m->product, m->down_in);
    linear(network, workspace, tokens, l, TMAC_T_DOWN, m->down_in, next);
    settle_input(network, workspace, tokens, s->hidden, m->down_in);
    network->passes->add(next, m->middle, (size_t)tokens * s->dim);
}

void tmac_network_forward(const tmac_network *network, tmac_workspace *workspace,
                          const tmac_chunk *chunk)
{
    const tmac_train_shape *s = &network->shape;
    const real *embedding = network->weights + network->tensors[TMAC_T_EMBEDDING].at;
    real *x = s->layers ? workspace->layers[0].x : workspace->x;
    for (uint32_t t = 0; t < chunk->tokens; t++)
        memcpy(x + (size_t)t * s->dim, embedding + (size_t)chunk->inputs[t] * s->dim,
               s->dim * sizeof *x);
    for (uint32_t l = 0; l < s->layers; l++)
        forward_layer(network, workspace, chunk, l,
                      l + 1 < s->layers ? workspace->layers[l + 1].x : workspace->x);
    const real *weight = network->weights + network->tensors[TMAC_T_FINAL_NORM].at;
    for (uint32_t t = 0; t < chunk->tokens; t++)
        tmac_norm(network, workspace->x + (size_t)t * s->dim, weight, s->dim,
                  workspace->head_in + (size_t)t * s->dim, s->final_epsilon);
}

// ---------------------------------------------------------------------------------------------------------- head

static const tmac_tensor *head_of(const tmac_network *network)
{
    return &network->tensors[network->shape.tied ? TMAC_T_EMBEDDING : TMAC_T_HEAD];
}

static void run_head(const tmac_network *network, const real *head_in, uint32_t tokens,
                     real *logits)
{
    const tmac_train_shape *s = &network->shape;
    tmac_multiply(tokens, s->vocab, s->dim, 1, (tmac_operand){head_in, s->dim, false},
                  (tmac_operand){network->weights + head_of(network)->at, s->dim, true}, 0, logits,
                  s->vocab);
}

// Turns the logits of a block into the gradient of its loss; returns the likelihoods' part of it.
static double judge_block(const tmac_network *network, tmac_workspace *workspace,
                          const tmac_chunk *chunk, uint32_t first, uint32_t count,
                          const tmac_teacher_view *teacher, double scale)
{
    const uint32_t vocab = network->shape.vocab;
    const bool taught = teacher && teacher->network;
    double total = 0;
    if (taught)
        run_head(teacher->network,
                 teacher->workspace->head_in + (size_t)first * teacher->network->shape.dim, count,
                 workspace->other_logits);
    for (uint32_t t = 0; t < count; t++) {
        real *row = workspace->logits + (size_t)t * vocab, maximum;
        const uint32_t target = chunk->targets[first + t];
        const real at_target = row[target];
        const double log_sum = network->passes->softmax_row(row, vocab, &maximum);
        total += log_sum - ((double)at_target - (double)maximum);
        row[target] -= taught ? (real)(1 - teacher->share) : 1;
        if (taught) {
            real *other = workspace->other_logits + (size_t)t * vocab;
            network->passes->softmax_row(other, vocab, &maximum);
            network->passes->scale(other, vocab, (real)-teacher->share);
            network->passes->add(row, other, vocab);
        }
        network->passes->scale(row, vocab, (real)scale);
    }
    return total;
}

double tmac_network_loss(const tmac_network *network, tmac_workspace *workspace,
                         const tmac_chunk *chunk, const tmac_teacher_view *teacher, double scale,
                         real *gradient)
{
    const tmac_train_shape *s = &network->shape;
    const tmac_tensor *head = head_of(network);
    double total = 0;
    for (uint32_t first = 0; first < chunk->tokens; first += HEAD_BLOCK) {
        const uint32_t left = chunk->tokens - first, count = left < HEAD_BLOCK ? left : HEAD_BLOCK;
        const real *in = workspace->head_in + (size_t)first * s->dim;
        run_head(network, in, count, workspace->logits);
        total += judge_block(network, workspace, chunk, first, count, teacher, scale);
        if (!gradient) continue;
        tmac_multiply(s->vocab, s->dim, count, 1, (tmac_operand){workspace->logits, s->vocab, true},
                      (tmac_operand){in, s->dim, false}, 1, gradient + head->at, s->dim);
        tmac_multiply(count, s->dim, s->vocab, 1,
                      (tmac_operand){workspace->logits, s->vocab, false},
                      (tmac_operand){network->weights + head->at, s->dim, false}, 0,
                      workspace->wide_a + (size_t)first * s->dim, s->dim);
    }
    if (!gradient) return total;
    memset(workspace->dx, 0, (size_t)chunk->tokens * s->dim * sizeof *workspace->dx);
    norm_backward(network, chunk->tokens, &network->tensors[TMAC_T_FINAL_NORM], s->dim,
                  s->final_epsilon, workspace->x, workspace->wide_a, workspace->dx, gradient);
    return total;
}

// ------------------------------------------------------------------------------------------------------ backward

static void backward_layer(const tmac_network *network, tmac_workspace *workspace,
                           const tmac_chunk *chunk, uint32_t l, real *gradient)
{
    const tmac_train_shape *s = &network->shape;
    const uint32_t tokens = chunk->tokens, wide = s->heads * s->head_dim;
    const tmac_layer_memory *m = &workspace->layers[l];
    real *dx = workspace->dx, *a = workspace->wide_a, *b = workspace->wide_b,
         *c = workspace->wide_c, *d = workspace->wide_d;

    linear_back(network, tokens, l, TMAC_T_DOWN, m->down_in, dx, 0, a, gradient);
    memset(b, 0, (size_t)tokens * s->hidden * sizeof *b);
    norm_backward(network, tokens, tensor_of(network, l, TMAC_T_FFN_SUB_NORM), s->hidden,
                  s->epsilon, m->product, a, b, gradient);
    for (uint32_t t = 0; t < tokens; t++) {
        size_t at = (size_t)t * s->hidden;
        network->passes->activation_back[s->activation](m->gate + at, m->up + at, b + at, s->hidden,
                                                        c + at, d + at);
    }
    linear_back(network, tokens, l, TMAC_T_GATE, m->ffn_in, c, 0, a, gradient);
    linear_back(network, tokens, l, TMAC_T_UP, m->ffn_in, d, 1, a, gradient);
    norm_backward(network, tokens, tensor_of(network, l, TMAC_T_FFN_NORM), s->dim, s->epsilon,
                  m->middle, a, dx, gradient);

    linear_back(network, tokens, l, TMAC_T_OUTPUT, m->output_in, dx, 0, a, gradient);
    memset(b, 0, (size_t)tokens * wide * sizeof *b);
    norm_backward(network, tokens, tensor_of(network, l, TMAC_T_ATTENTION_SUB_NORM), wide,
                  s->epsilon, m->attended, a, b, gradient);
    tmac_attention_backward(network, chunk, m, b, workspace->dscores, a, c, d);
    turn_all(network, chunk, s->heads, a, tmac_turn_back);
    turn_all(network, chunk, s->kv_heads, c, tmac_turn_back);
    linear_back(network, tokens, l, TMAC_T_QUERY, m->attention_in, a, 0, b, gradient);
    linear_back(network, tokens, l, TMAC_T_KEY, m->attention_in, c, 1, b, gradient);
    linear_back(network, tokens, l, TMAC_T_VALUE, m->attention_in, d, 1, b, gradient);
    norm_backward(network, tokens, tensor_of(network, l, TMAC_T_ATTENTION_NORM), s->dim, s->epsilon,
                  m->x, b, dx, gradient);
}

void tmac_network_backward(const tmac_network *network, tmac_workspace *workspace,
                           const tmac_chunk *chunk, real *gradient)
{
    const tmac_train_shape *s = &network->shape;
    for (uint32_t l = s->layers; l-- > 0;)
        backward_layer(network, workspace, chunk, l, gradient);
    real *embedding = gradient + network->tensors[TMAC_T_EMBEDDING].at;
    for (uint32_t t = 0; t < chunk->tokens; t++)
        network->passes->add(embedding + (size_t)chunk->inputs[t] * s->dim,
                             workspace->dx + (size_t)t * s->dim, s->dim);
}

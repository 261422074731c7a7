// How much of a step is matrix products: one thread trains on a chunk, then multiplies the same matrices and does nothing
// else. What is compared is the same count of operations.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "train/model.h"
#include "train/multiply.h"
#include "train/train.h"

enum { ROUNDS = 9, HEAD_BLOCK = 256 };

typedef struct bench {
    tmac_network network;
    tmac_workspace workspace;
    tmac_train_shape shape;
    uint32_t tokens, *numbers; // inputs, targets and starts
    tmac_chunk chunk;
    float *parameters, *gradient, *first, *second;
    double operations; // of the products of one pass, counted while they run
} bench;

static void multiply(bench *b, uint32_t rows, uint32_t columns, uint32_t depth, bool turn_a,
                     bool turn_b)
{
    const tmac_operand x = {b->workspace.wide_a, turn_a ? rows : depth, turn_a},
                       w = {b->parameters, turn_b ? depth : columns, turn_b};
    tmac_multiply(rows, columns, depth, 1, x, w, 0, b->gradient, columns);
    b->operations += 2.0 * rows * columns * depth;
}

// Forward, the gradient of the weights, the gradient of the input.
static void multiply_linear(bench *b, uint32_t tokens, uint32_t rows, uint32_t columns)
{
    multiply(b, tokens, rows, columns, false, true);
    multiply(b, rows, columns, tokens, true, false);
    multiply(b, tokens, columns, rows, false, false);
}

static void multiply_all(bench *b)
{
    const tmac_train_shape *s = &b->shape;
    const uint32_t n = s->context, d = s->head_dim;
    for (uint32_t l = 0; l < s->layers; l++) {
        for (int t = 0; t < TMAC_T_COUNT; t++) {
            const tmac_tensor *tensor =
                &b->network.tensors[tmac_layer_tensor_index(l, (tmac_layer_tensor)t)];
            if (tensor->kind == TMAC_TENSOR_MATRIX)
                multiply_linear(b, b->tokens, tensor->rows, tensor->columns);
        }
        for (uint32_t squares = 0; squares < b->chunk.documents * s->heads; squares++) {
            multiply(b, n, n, d, false, true);
            multiply(b, n, d, n, false, false);
            multiply(b, n, d, n, true, false);
            multiply(b, n, n, d, false, true);
            multiply(b, n, d, n, false, false);
            multiply(b, n, d, n, true, false);
        }
    }
    for (uint32_t at = 0; at < b->tokens; at += HEAD_BLOCK)
        multiply_linear(b, b->tokens - at < HEAD_BLOCK ? b->tokens - at : HEAD_BLOCK, s->vocab,
                        s->dim);
}

static void train_once(bench *b)
{
    const tmac_adam how = {1e-4f, 0, 0.9f, 0.95f, 1, 1, 1e-8f, 1};
    tmac_network_set(&b->network, b->parameters);
    memset(b->gradient, 0, b->network.parameters * sizeof(float));
    tmac_network_forward(&b->network, &b->workspace, &b->chunk);
    tmac_network_loss(&b->network, &b->workspace, &b->chunk, NULL, 1.0 / b->tokens, b->gradient);
    tmac_network_backward(&b->network, &b->workspace, &b->chunk, b->gradient);
    b->network.passes->adam(&how, b->gradient, b->network.parameters, b->parameters, b->first,
                            b->second);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_both(bench *b, double *training, double *products)
{
    double times[2][ROUNDS];
    for (int round = -1; round < ROUNDS; round++) { // the first one warms up
        uint64_t begin = tmac_now_ns();
        train_once(b);
        uint64_t middle = tmac_now_ns();
        b->operations = 0;
        multiply_all(b);
        if (round < 0) continue;
        times[0][round] = 1e-9 * (double)(middle - begin);
        times[1][round] = 1e-9 * (double)(tmac_now_ns() - middle);
    }
    qsort(times[0], ROUNDS, sizeof(double), by_size);
    qsort(times[1], ROUNDS, sizeof(double), by_size);
    *training = times[0][ROUNDS / 2];
    *products = times[1][ROUNDS / 2];
}

static tmac_status prepare(bench *b, uint32_t rows)
{
    const uint32_t context = b->shape.context;
    tmac_random random = {1};
    TMAC_TRY(tmac_network_new(&b->shape, tmac_isa_verified(), &b->network));
    TMAC_TRY(tmac_workspace_new(&b->network, b->tokens, &b->workspace));
    // The head's products write a block of logits where a step writes gradients.
    const size_t room = b->network.parameters + (size_t)HEAD_BLOCK * b->shape.vocab +
                        (size_t)b->tokens * (b->shape.hidden + b->shape.dim);
    b->numbers = calloc((size_t)2 * b->tokens + rows + 1, sizeof *b->numbers);
    b->parameters = calloc(room, sizeof *b->parameters);
    b->gradient = calloc(room, sizeof *b->gradient);
    b->first = calloc(room, sizeof *b->first);
    b->second = calloc(room, sizeof *b->second);
    if (!b->numbers || !b->parameters || !b->gradient || !b->first || !b->second)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    uint32_t *targets = b->numbers + b->tokens, *starts = targets + b->tokens;
    for (uint32_t i = 0; i < 2 * b->tokens; i++)
        b->numbers[i] = tmac_random_below(&random, b->shape.vocab);
    for (uint32_t i = 0; i <= rows; i++)
        starts[i] = i * context;
    b->chunk = (tmac_chunk){b->numbers, targets, b->tokens, starts, rows};
    tmac_parameters_random(&b->network, 1, b->parameters);
    return tmac_ok();
}

tmac_status tmac_train_speed(const tmac_train_shape *shape, uint32_t rows)
{
    bench b = {.shape = *shape, .tokens = rows * shape->context};
    const char *multiplier = tmac_multiply_open(tmac_isa_verified());
    tmac_status status = prepare(&b, rows);
    if (status.code == TMAC_OK) {
        double training, products;
        time_both(&b, &training, &products);
        printf("%s, one thread, %u tokens in rows of %u\n", multiplier, b.tokens, shape->context);
        printf("products alone  %8.1f Gflop/s\n", 1e-9 * b.operations / products);
        printf("whole step      %8.1f Gflop/s, %.0f tokens/s: %.2f of the products' rate\n",
               1e-9 * b.operations / training, b.tokens / training, products / training);
    }
    free(b.numbers);
    free(b.parameters);
    free(b.gradient);
    free(b.first);
    free(b.second);
    tmac_workspace_free(&b.workspace);
    tmac_network_free(&b.network);
    return status;
}

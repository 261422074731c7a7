// The forward arithmetic of one vector: the runtime's functions, the same bits as in tmac-run; in double, the same
// formulas written out.
#ifndef TMAC_TRAIN_ARITHMETIC_H
#define TMAC_TRAIN_ARITHMETIC_H

#include "train/network.h"

#ifndef TMAC_TRAIN_DOUBLE

static inline void tmac_norm(const tmac_network *network, const real *x, const real *weight,
                             uint32_t n, real *out, real epsilon)
{
    network->floats->rms_norm(x, weight, n, epsilon, out);
}

// x becomes the integers of its quantization; returns what one of them is worth.
static inline real tmac_quantize(const tmac_network *network, real *x, uint32_t n, int8_t *codes)
{
    real worth = network->floats->quantize(x, n, codes);
    for (uint32_t i = 0; i < n; i++)
        x[i] = codes[i];
    return worth;
}

static inline void tmac_activate(const tmac_network *network, const real *gate, const real *up,
                                 uint32_t n, real *out)
{
    if (network->shape.activation == TMAC_RELU2)
        network->floats->relu2_multiply(gate, up, n, out);
    else
        network->floats->silu_multiply(gate, up, n, out);
}

static inline void tmac_turn(const tmac_network *network, real *x, const real *turns,
                             uint32_t pairs)
{
    network->floats->rotate(x, turns, pairs);
}

#else

static inline void tmac_norm(const tmac_network *network, const real *x, const real *weight,
                             uint32_t n, real *out, real epsilon)
{
    (void)network;
    real squares = 0;
    for (uint32_t i = 0; i < n; i++)
        squares += x[i] * x[i];
    real size = tmac_square_root(squares / n + epsilon);
    for (uint32_t i = 0; i < n; i++)
        out[i] = x[i] / size * weight[i];
}

static inline real tmac_quantize(const tmac_network *network, real *x, uint32_t n, int8_t *codes)
{
    (void)network, (void)codes;
    real m = (real)1e-5;
    for (uint32_t i = 0; i < n; i++)
        m = fmax(m, fabs(x[i]));
    for (uint32_t i = 0; i < n; i++)
        x[i] = nearbyint(x[i] * (127 / m));
    return m / 127;
}

static inline void tmac_activate(const tmac_network *network, const real *gate, const real *up,
                                 uint32_t n, real *out)
{
    for (uint32_t i = 0; i < n; i++) {
        real positive = gate[i] > 0 ? gate[i] : 0;
        out[i] = (network->shape.activation == TMAC_RELU2 ? positive * positive
                                                          : gate[i] / (1 + exp(-gate[i]))) *
                 up[i];
    }
}

static inline void tmac_turn(const tmac_network *network, real *x, const real *turns,
                             uint32_t pairs)
{
    (void)network;
    for (uint32_t i = 0; i < pairs; i++) {
        real a = x[2 * i], b = x[2 * i + 1], cosine = turns[2 * i], sine = turns[2 * i + 1];
        x[2 * i] = a * cosine - b * sine;
        x[2 * i + 1] = a * sine + b * cosine;
    }
}

#endif

// The transpose of a rotation.
static inline void tmac_turn_back(const tmac_network *network, real *x, const real *turns,
                                  uint32_t pairs)
{
    (void)network;
    for (uint32_t i = 0; i < pairs; i++) {
        real a = x[2 * i], b = x[2 * i + 1], cosine = turns[2 * i], sine = turns[2 * i + 1];
        x[2 * i] = a * cosine + b * sine;
        x[2 * i + 1] = b * cosine - a * sine;
    }
}

#endif

// What training computes besides matrix products: one vector, or one row, at a time.
//
// The forward arithmetic of the float build is the runtime's own (runtime/floats.h, the same bits); what is here is the
// way back, the softmax over whole rows, the loss and the optimizer. Compiled once per instruction set from
// train/passes.inc; sums run in 16 partial sums combined in a fixed tree and nothing is contracted, so that every table
// gives the same bits.
//
// d... are gradients of the loss. "Adds" means to what is there.
#ifndef TMAC_TRAIN_PASSES_H
#define TMAC_TRAIN_PASSES_H

#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "runtime/source.h"
#include "train/real.h"

typedef struct tmac_adam {
    real rate;           // learning rate of this step
    real decay;          // decoupled weight decay, times rate
    real beta1, beta2;   // decay of the first and second moment
    real bias1, bias2;   // 1 - beta^step
    real epsilon;        // added to the root of the second moment
    real gradient_scale; // clipping
} tmac_adam;

typedef struct tmac_passes {
    // Backward of out = x / sqrt(mean(x^2) + epsilon) * weight. Adds to dx and dweight.
    void (*norm_back)(const real *x, const real *weight, const real *dout, uint32_t n, real epsilon,
                      real *dx, real *dweight);

    // Backward of out = act(gate) * up; by tmac_activation.
    void (*activation_back[2])(const real *gate, const real *up, const real *dout, uint32_t n,
                               real *dgate, real *dup);

    // Row i of the n x n scores becomes its softmax over entries 0 .. i; the rest of the row becomes 0.
    void (*softmax)(real *scores, uint32_t n);
    // dp, n x n, becomes the gradient of the scores of which p is the softmax.
    void (*softmax_back)(const real *p, real *dp, uint32_t n);

    // Turns a row of logits into exp(l - max) / sum; returns log(sum exp(l)) - max, and the maximum.
    double (*softmax_row)(real *logits, uint32_t n, real *maximum);

    // y *= factor, x += y
    void (*scale)(real *y, uint32_t n, real factor);
    void (*add)(real *x, const real *y, size_t n);

    double (*sum_of_squares)(const real *x, size_t n);
    double (*sum_of_magnitudes)(const real *x, size_t n);
    // codes[i] = nearest(w[i] * inverse) in [-1, 1], ties to even
    void (*ternary)(const real *w, size_t n, real inverse, real *codes);
    void (*adam)(const tmac_adam *how, const real *gradient, size_t n, real *w, real *m, real *v);
} tmac_passes;

extern const tmac_passes tmac_passes_baseline;
#if defined __x86_64__
extern const tmac_passes tmac_passes_avx2, tmac_passes_avx512bw;
#endif

const tmac_passes *tmac_passes_for(tmac_isa_set isa);

#endif

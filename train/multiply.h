// Matrix products, the bulk of the work: OpenBLAS where the system has it, a plain loop elsewhere.
//
// One call runs on the calling thread alone: several threads may multiply at once, each its own matrices. The same call
// gives the same bits every time on one kind of processor.
#ifndef TMAC_TRAIN_MULTIPLY_H
#define TMAC_TRAIN_MULTIPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "train/real.h"

// One operand, row-major: `stride` numbers from row to row. turned: it is used transposed.
typedef struct tmac_operand {
    const real *data;
    size_t stride;
    bool turned;
} tmac_operand;

// out[r * stride + c] = alpha * sum over k of a[r][k] b[k][c] + beta * out[r * stride + c], for rows x columns.
void tmac_multiply(uint32_t rows, uint32_t columns, uint32_t depth, real alpha, tmac_operand a,
                   tmac_operand b, real beta, real *out, size_t stride);

// Looks for OpenBLAS once and tells it to stay on the calling thread; call it before threads start. Returns what
// multiplies from now on, for people: "OpenBLAS for SkylakeX".
const char *tmac_multiply_open(tmac_isa_set isa);

#endif

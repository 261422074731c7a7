// mad2 in plain C: the reference. Weight by weight, as the layout is described in layout_mad2.c.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes", { block = 16 })

// One block of 16 rows by 16 weights: y[r] += sum of w(r, k) * q[k]. Fields hold w + 1. |y| stays below
// 128 * K < 2^31 at any moment.
static inline void add_block(const uint8_t *block, const int8_t *q, int32_t *y)
{
    for (uint32_t r = 0; r < 16; r++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < 4; i++) {
            const uint8_t byte = block[r * 4 + i];
            sum += ((byte & 3) - 1) * q[i];
            sum += ((byte >> 2 & 3) - 1) * q[4 + i];
            sum += ((byte >> 4 & 3) - 1) * q[8 + i];
            sum += ((byte >> 6) - 1) * q[12 + i];
        }
        y[r] += sum;
    }
}

%% kernel
% part("part_multiply_scalar_run")

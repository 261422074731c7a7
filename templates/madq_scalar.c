// madq${bits} in plain C: the reference. Weight by weight, as the layout is described in layout_madq.c.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 32 })

% part("part_bytes", { block = 32 })

% part("part_bits_values")

% part("part_madq_get")

// One block of 16 rows by 32 weights: y[r] += sum of v(r, k) * q[k], which fits int32: groups are short enough.
static inline void add_block(const uint8_t *block, const int8_t *q, int32_t *y)
{
    for (uint32_t r = 0; r < 16; r++) {
        int32_t sum = 0;
        for (uint32_t k = 0; k < 32; k++)
            sum += value_of(get_code(block + r * 4 + k % 4, k / 4)) * q[k];
        y[r] += sum;
    }
}

%% kernel
% part("part_multiply_scalar_run")

// madq${bits} in plain C: the reference. Weight by weight, as the layout is described in layout_madq.c.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 32 })

% part("part_bytes16", { code_length = 32 })

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
static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = (size_t)codes.total * ${rows * 4 * bits};
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t n = 0; n < matmul->tokens; n++) {
            const uint8_t *block = matmul->tiles + t * tile_bytes;
            const int8_t *q = (const int8_t *)(matmul->prepared + n * matmul->prepared_stride);
            for (uint32_t g = 0; g < codes.groups; g++) {
                int32_t *y = matmul->y + ((size_t)n * codes.groups + g) * matmul->y_stride +
                             (size_t)(t - matmul->tile_begin) * ${rows};
                const uint32_t blocks = g + 1 < codes.groups ? codes.full : codes.last;
                memset(y, 0, ${rows} * sizeof *y);
                for (uint32_t b = 0; b < blocks; b++, q += 32) {
                    for (uint32_t r = 0; r < ${rows}; r += 16, block += ${64 * bits})
                        add_block(block, q, y + r);
                }
            }
        }
    }
}

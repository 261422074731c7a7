// mad2 in plain C: the reference. Weight by weight, as the layout is described in layout_mad2.c.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes16")

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
static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = (size_t)codes.total * ${rows * 4};
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t n = 0; n < matmul->tokens; n++) {
            const uint8_t *block = matmul->tiles + t * tile_bytes;
            const int8_t *q = (const int8_t *)(matmul->prepared + n * matmul->prepared_stride);
            for (uint32_t g = 0; g < codes.groups; g++) {
                int32_t *y = matmul->y + ((size_t)n * codes.groups + g) * matmul->y_stride +
                             (size_t)(t - matmul->tile_begin) * ${rows};
                const uint32_t blocks = g + 1 < codes.groups ? codes.full : codes.last;
                memset(y, 0, ${rows} * sizeof *y);
                for (uint32_t b = 0; b < blocks; b++, q += 16) {
                    for (uint32_t r = 0; r < ${rows}; r += 16, block += 64)
                        add_block(block, q, y + r);
                }
            }
        }
    }
}

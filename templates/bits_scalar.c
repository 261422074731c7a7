// bits${bits} in plain C: the reference. Per code and plane two looked-up sums of activations, counted 2^plane times${bits == 1 and ", and\n// doubled, as a weight is twice its bit less one" or ""}.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 8 })

static inline void build_table(const int8_t *q, uint8_t *table)
{
    for (uint32_t s = 0; s < 16; s++) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < 4; i++)
            sum += s >> i & 1 ? q[i] : 0;
        table[s] = (uint8_t)(sum & 255);
        table[16 + s] = (uint8_t)(sum >> 8 & 255);
    }
}

% part("part_bits_prepare")

% part("part_slot32", { of = "one plane of a code: see layout_bits.c" })

// The sum of the activations whose bit is set.
static inline int32_t lookup(const uint8_t *table, uint8_t code)
{
    const uint8_t a = code & 15, b = code >> 4;
    return (int16_t)(table[a] | table[16 + a] << 8) + (int16_t)(table[32 + b] | table[48 + b] << 8);
}

// What the codes count is ${1 << bits - 1} too much a weight. The sum of codes may pass 2^31 before that is taken off: it is unsigned,
// and wraps exactly.
static inline void finish(const uint8_t *sums, const uint32_t *counted, uint32_t rows, int32_t *y)
{
    uint32_t sum;
    memcpy(&sum, sums, sizeof sum);
    for (uint32_t r = 0; r < rows; r++)
        y[r] = (int32_t)(counted[r] - (sum << ${bits - 1}));
}

%% kernel
static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = ((size_t)codes.total * ${rows * bits} + 63) / 64 * 64;
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t n = 0; n < matmul->tokens; n++) {
            const uint8_t *w = matmul->tiles + t * tile_bytes;
            const uint8_t *table = matmul->prepared + n * matmul->prepared_stride;
            const uint8_t *sums = table + sums_offset(&codes);
            for (uint32_t g = 0; g < codes.groups; g++, sums += 4) {
                int32_t *y = matmul->y + ((size_t)n * codes.groups + g) * matmul->y_stride +
                             (size_t)(t - matmul->tile_begin) * ${rows};
                const uint32_t count = g + 1 < codes.groups ? codes.full : codes.last;
                uint32_t counted[${rows}] = {0};
                for (uint32_t c = 0; c < count; c++, table += TABLE_BYTES) {
                    for (uint32_t b = 0; b < ${bits}; b++, w += ${rows}) {
                        for (uint32_t r = 0; r < ${rows}; r++)
                            counted[r] += (uint32_t)lookup(table, w[slot_of(r)]) << ${bits == 1 and 1 or "b"};
                    }
                }
                finish(sums, counted, ${rows}, y);
            }
        }
    }
}

// lut3 in plain C: the reference.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 6 })

% part("part_lut3_strides")

% part("part_lut3_tables")

static inline void build_table(const int8_t *q, uint8_t *table)
{
% local rows = {}
% for v = 0, 13 do rows[#rows + 1] = ("{%d, %d, %d}"):format(digit(v, 0, 13), digit(v, 1, 13), digit(v, 2, 13)) end
    static const int8_t digits[14][3] = {${table.concat(rows, ", ", 1, 7)},
                                         ${table.concat(rows, ", ", 8, 14)}};
    memset(table, 0, TABLE_BYTES);
    for (uint32_t triple = 0; triple < 2; triple++, q += 3, table += 32) {
        for (uint32_t v = 0; v < 14; v++) {
            const int32_t sum = digits[v][0] * q[0] + digits[v][1] * q[1] + digits[v][2] * q[2];
            // The nearest multiple of 31; there are no ties, 31 is odd.
            const int32_t high = (sum + 31 * 16 + 15) / 31 - 16;
            table[v] = (uint8_t)(sum - 31 * high);
            table[16 + v] = (uint8_t)high;
        }
    }
}

% part("part_lut_prepare", { code_length = 6 })

% part("part_slot32", { of = "one code: see layout_lut3.c" })

// The sum that a nibble and a sign select.
static inline int32_t lookup(const uint8_t *table, uint32_t nibble, bool negative)
{
    const int32_t sum = (int8_t)table[nibble] + 31 * (int8_t)table[16 + nibble];
    return negative ? -sum : sum;
}

%% kernel
static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t bytes = (codes.groups - 1) * stored_bytes(codes.full, ${rows}) +
                         stored_bytes(codes.last, ${rows});
    const size_t tile_bytes = (bytes + 63) / 64 * 64;
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t n = 0; n < matmul->tokens; n++) {
            const uint8_t *w = matmul->tiles + t * tile_bytes, *signs = w;
            const uint8_t *table = matmul->prepared + n * matmul->prepared_stride;
            for (uint32_t g = 0; g < codes.groups; g++) {
                int32_t *y = matmul->y + ((size_t)n * codes.groups + g) * matmul->y_stride +
                             (size_t)(t - matmul->tile_begin) * ${rows};
                const uint32_t count = g + 1 < codes.groups ? codes.full : codes.last;
                memset(y, 0, ${rows} * sizeof *y);
                for (uint32_t c = 0; c < count; c++, w += ${rows}, table += TABLE_BYTES) {
                    if (c % 4 == 0) {
                        signs = w;
                        w += ${rows};
                    }
                    for (uint32_t r = 0; r < ${rows}; r++) {
                        const uint8_t code = w[slot_of(r)], sign = signs[slot_of(r)];
                        y[r] += lookup(table, code & 15, sign >> (7 - c % 4 * 2) & 1);
                        y[r] += lookup(table + 32, code >> 4, sign >> (6 - c % 4 * 2) & 1);
                    }
                }
            }
        }
    }
}

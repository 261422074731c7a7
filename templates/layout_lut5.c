// Layout lut5: five trits a byte, for table lookup.
//
// A code is five neighbours of a row: v = w0 + 3 w1 + 9 w2 + 27 w3 + 81 w4, which is in [-121, 121] and names the five
// weights uniquely (balanced ternary). The byte is |v|, with bit 7 set when v < 0: the table of sums is symmetric, so
// half of it, 122 entries, serves.
//
// A tile of R rows stores, code after code, R bytes side by side, 64 rows after 64 rows. Inside 64 rows the bytes are
// permuted (slot_of below), so that interleaving the low and the high bytes of 64 looked-up sums lane by lane, as
// AVX-512's unpack does, gives rows 0..31 and 32..63 in order.
//
// After the codes: how many negative codes each row has in each scale group, for kernels that negate by one's
// complement: R counts for group 0, R for group 1, ...; one byte each when no group has more than 255 codes, else two.
// A group of more than 65535 codes cannot be held.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry")

enum { COUNT_MAX = 65535 };

static inline size_t count_bytes(const geometry *codes)
{
    return codes->full <= 255 ? 1 : 2;
}

static size_t tile_bytes(const tmac_shape *shape, uint32_t row_tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    if (codes.full > COUNT_MAX) return 0;
    return (codes.total + codes.groups * count_bytes(&codes)) * row_tile;
}

// Where row r of a tile is among the bytes of one code.
static inline uint32_t slot_of(uint32_t r)
{
    return r / 64 * 64 + r % 32 / 8 * 16 + r % 64 / 32 * 8 + r % 8;
}

static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    const size_t wide = count_bytes(&codes);
    uint8_t *counts = tile + (size_t)codes.total * row_tile;
    memset(tile, 0, tile_bytes(shape, row_tile));
    for (uint32_t r = 0; r < rows; r++) {
        const int8_t *w = weights + (size_t)r * shape->columns;
        uint8_t *code = tile + slot_of(r);
        for (uint32_t g = 0; g < codes.groups; g++) {
            uint32_t left = g + 1 < codes.groups ? shape->group : shape->columns - g * shape->group;
            uint32_t negatives = 0;
            while (left > 0) {
                const uint32_t count = left < 5 ? left : 5;
                int32_t v = 0;
                for (uint32_t j = count; j-- > 0;)
                    v = 3 * v + w[j];
                *code = (uint8_t)(v < 0 ? -v | 128 : v);
                negatives += v < 0;
                code += row_tile;
                w += count;
                left -= count;
            }
            uint8_t *at = counts + ((size_t)g * row_tile + r) * wide;
            at[0] = (uint8_t)negatives;
            if (wide == 2) at[1] = (uint8_t)(negatives >> 8);
        }
    }
}

static void unpack_tile(const tmac_shape *shape, uint32_t row_tile, const uint8_t *tile,
                        uint32_t rows, int8_t *weights)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    for (uint32_t r = 0; r < rows; r++) {
        int8_t *w = weights + (size_t)r * shape->columns;
        const uint8_t *code = tile + slot_of(r);
        for (uint32_t g = 0; g < codes.groups; g++) {
            uint32_t left = g + 1 < codes.groups ? shape->group : shape->columns - g * shape->group;
            while (left > 0) {
                const uint32_t count = left < 5 ? left : 5;
                const int32_t sign = *code & 128 ? -1 : 1;
                int32_t v = *code & 127;
                for (uint32_t j = 0; j < count; j++) {
                    const int32_t digit = (v + 1) % 3 - 1; // v >= 0 here: -1, 0 or 1
                    v = (v - digit) / 3;
                    w[j] = (int8_t)(sign * digit);
                }
                code += row_tile;
                w += count;
                left -= count;
            }
        }
    }
}

%% layout
// ${rows} rows a tile.
% part("part_layout_functions")

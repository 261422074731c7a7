// Layout lut3: three trits in four bits and a sign, for lookup in tables of 16 entries.
//
// A triple is three neighbours of a row: v = w0 + 3 w1 + 9 w2, which is in [-13, 13] and names the three weights
// uniquely (balanced ternary). The table of sums is symmetric, so |v|, 0..13, and a sign serve. A code is a byte, two
// triples: |v| of weights 0 to 2 in the low nibble, of weights 3 to 5 in the high one.
//
// The signs of eight triples, which are four codes, make a byte: set where v < 0, the first triple in bit 7. A block is a
// byte of signs and up to four codes; every scale group starts one, and the last block of a group may be shorter. (5
// bytes for 24 weights: 1.67 bits. A group of 32 takes 8 bytes, of 64 takes 14, of 128 takes 28.) What does not exist is
// zero.
//
// A tile of R rows stores, byte after byte, R bytes side by side, 32 rows after 32 rows. Inside 32 rows the bytes are
// permuted (slot_of below), so that interleaving two vectors of 32 rows lane by lane, as AVX2's unpack does, gives rows
// 0..15 and 16..31 in order. A tile ends at a multiple of 64.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry")

% part("part_lut3_strides")

static size_t tile_bytes(const tmac_shape *shape, uint32_t row_tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    const size_t bytes = (codes.groups - 1) * stored_bytes(codes.full, row_tile) +
                         stored_bytes(codes.last, row_tile);
    return (bytes + 63) / 64 * 64;
}

% part("part_slot32", { of = "one code" })

static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    memset(tile, 0, tile_bytes(shape, row_tile));
    for (uint32_t r = 0; r < rows; r++) {
        const int8_t *w = weights + (size_t)r * shape->columns;
        uint8_t *at = tile + slot_of(r), *signs = at;
        for (uint32_t g = 0; g < codes.groups; g++) {
            uint32_t left = g + 1 < codes.groups ? shape->group : shape->columns - g * shape->group;
            for (uint32_t triple = 0; left > 0; triple++) {
                if (triple % 8 == 0) {
                    signs = at;
                    at += row_tile;
                }
                const uint32_t count = left < 3 ? left : 3;
                int32_t v = 0;
                for (uint32_t j = count; j-- > 0;)
                    v = 3 * v + w[j];
                *at |= (uint8_t)((v < 0 ? -v : v) << triple % 2 * 4);
                if (v < 0) *signs |= (uint8_t)(128 >> triple % 8);
                w += count;
                left -= count;
                if (triple % 2 == 1 || left == 0) at += row_tile;
            }
        }
    }
}

static void unpack_tile(const tmac_shape *shape, uint32_t row_tile, const uint8_t *tile,
                        uint32_t rows, int8_t *weights)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    for (uint32_t r = 0; r < rows; r++) {
        int8_t *w = weights + (size_t)r * shape->columns;
        const uint8_t *at = tile + slot_of(r), *signs = at;
        for (uint32_t g = 0; g < codes.groups; g++) {
            uint32_t left = g + 1 < codes.groups ? shape->group : shape->columns - g * shape->group;
            for (uint32_t triple = 0; left > 0; triple++) {
                if (triple % 8 == 0) {
                    signs = at;
                    at += row_tile;
                }
                const uint32_t count = left < 3 ? left : 3;
                const int32_t sign = *signs & (128 >> triple % 8) ? -1 : 1;
                int32_t v = *at >> triple % 2 * 4 & 15;
                for (uint32_t j = 0; j < count; j++) {
                    const int32_t digit = (v + 1) % 3 - 1; // v >= 0 here: -1, 0 or 1
                    v = (v - digit) / 3;
                    w[j] = (int8_t)(sign * digit);
                }
                w += count;
                left -= count;
                if (triple % 2 == 1 || left == 0) at += row_tile;
            }
        }
    }
}

%% layout
// ${rows} rows a tile.
% part("part_layout_functions")

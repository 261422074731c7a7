// Layout lut2: two trits a nibble, four a byte, for lookup in tables of 16 entries.
//
// A nibble is (w0 + 1) + 3 (w1 + 1), 0..8. A code is a byte, four neighbours of a row: weights 0 and 1 in the low
// nibble, 2 and 3 in the high one. A weight that does not exist is zero, so an empty byte is 0x44.
//
// A tile of R rows stores, code after code, R bytes side by side, 32 rows after 32 rows. Inside 32 rows the bytes are
// permuted (slot_of below), so that interleaving the low and the high bytes of 32 looked-up sums lane by lane, as AVX2's
// unpack does, gives rows 0..15 and 16..31 in order. A tile ends at a multiple of 64.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry")

static size_t tile_bytes(const tmac_shape *shape, uint32_t row_tile)
{
    return ((size_t)geometry_of(shape->columns, shape->group).total * row_tile + 63) / 64 * 64;
}

% part("part_slot32", { of = "one code" })

static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    static const uint8_t place[4] = {1, 3, 1 << 4, 3 << 4};
    const geometry codes = geometry_of(shape->columns, shape->group);
    memset(tile, 0x44, tile_bytes(shape, row_tile));
    for (uint32_t r = 0; r < rows; r++) {
        const int8_t *w = weights + (size_t)r * shape->columns;
        uint8_t *code = tile + slot_of(r);
        for (uint32_t g = 0; g < codes.groups; g++) {
            uint32_t left = g + 1 < codes.groups ? shape->group : shape->columns - g * shape->group;
            while (left > 0) {
                const uint32_t count = left < 4 ? left : 4;
                int32_t byte = 0x44;
                for (uint32_t j = 0; j < count; j++)
                    byte += w[j] * place[j];
                *code = (uint8_t)byte;
                code += row_tile;
                w += count;
                left -= count;
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
        const uint8_t *code = tile + slot_of(r);
        for (uint32_t g = 0; g < codes.groups; g++) {
            uint32_t left = g + 1 < codes.groups ? shape->group : shape->columns - g * shape->group;
            while (left > 0) {
                const uint32_t count = left < 4 ? left : 4;
                for (uint32_t j = 0; j < count; j++) {
                    const int32_t nibble = *code >> (j / 2 * 4) & 15;
                    w[j] = (int8_t)((j % 2 == 0 ? nibble % 3 : nibble / 3) - 1);
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

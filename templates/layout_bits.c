// Layout bits${bits}: ${bits == 1 and "one bit" or bits .. " bits"} a weight in bit planes, for T-MAC's lookup in tables of 16 entries.
//
// A weight v is the unsigned code ${bits == 1 and "(v + 1) / 2" or "v + " .. (1 << bits - 1)}; bit b of it belongs to plane b. A code of this layout is eight
// neighbours of a row, one byte per plane: bit i of it is the plane's bit of weight i. So the low nibble selects the sum of
// a subset of activations 0..3, the high one of 4..7.
//
// A tile of R rows stores, code after code and plane after plane, R bytes side by side, 32 rows after 32 rows. Inside 32
// rows the bytes are permuted (slot_of below), so that interleaving the low and the high bytes of looked-up sums lane by
// lane, as AVX2's unpack does, gives rows 0..15 and 16..31 in order. A tile ends at a multiple of 64.
//
// Weights that do not exist: rows of padding hold ${bits == 1 and "the code 0, which is -1" or "zeros"}; beyond the end of a group any code would do, as
// activations are zero there.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry")

% part("part_bits_values")

static inline uint32_t code_of(int8_t value)
{
    return (uint32_t)(value + ${1 << bits - 1})${bits == 1 and " / 2" or ""};
}

static size_t tile_bytes(const tmac_shape *shape, uint32_t row_tile)
{
    if (shape->group > GROUP_MAX) return 0;
    return ((size_t)geometry_of(shape->columns, shape->group).total * BITS * row_tile + 63) / 64 * 64;
}

// Where row r of a tile is among the bytes of one plane of a code.
static inline uint32_t slot_of(uint32_t r)
{
    return r / 32 * 32 + r % 16 / 8 * 16 + r % 32 / 16 * 8 + r % 8;
}

// Where plane 0 of weight k of group g in row r is: the bytes of the other planes follow every row_tile bytes.
static inline size_t byte_of(const geometry *codes, uint32_t row_tile, uint32_t r, uint32_t g,
                             uint32_t k)
{
    const size_t code = (size_t)g * codes->full + k / 8;
    return code * BITS * row_tile + slot_of(r);
}

static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    const size_t bytes = tile_bytes(shape, row_tile);
    memset(tile, 0, bytes);
    for (uint32_t r = 0; r < row_tile; r++) {
        const int8_t *row = weights + (size_t)r * shape->columns;
        for (uint32_t g = 0, k = 0, in_group = 0; k < shape->columns; k++) {
            const uint32_t code = code_of(r < rows ? row[k] : PADDING);
            uint8_t *at = tile + byte_of(&codes, row_tile, r, g, in_group);
            for (uint32_t b = 0; b < BITS; b++, at += row_tile)
                *at |= (uint8_t)((code >> b & 1) << in_group % 8);
            if (++in_group == shape->group) {
                g++;
                in_group = 0;
            }
        }
    }
}

static void unpack_tile(const tmac_shape *shape, uint32_t row_tile, const uint8_t *tile,
                        uint32_t rows, int8_t *weights)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    for (uint32_t r = 0; r < rows; r++) {
        int8_t *row = weights + (size_t)r * shape->columns;
        for (uint32_t g = 0, k = 0, in_group = 0; k < shape->columns; k++) {
            const uint8_t *at = tile + byte_of(&codes, row_tile, r, g, in_group);
            uint32_t code = 0;
            for (uint32_t b = 0; b < BITS; b++, at += row_tile)
                code |= (uint32_t)(*at >> in_group % 8 & 1) << b;
            row[k] = value_of(code);
            if (++in_group == shape->group) {
                g++;
                in_group = 0;
            }
        }
    }
}

%% layout
// ${rows} rows a tile.
% part("part_layout_functions")

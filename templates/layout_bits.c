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

% part("part_slot32", { of = "one plane of a code" })

// Where plane 0 of weight k of group g in row r is: the bytes of the other planes follow every row_tile bytes.
static inline size_t byte_of(const geometry *codes, uint32_t row_tile, uint32_t r, uint32_t g,
                             uint32_t k)
{
    const size_t code = (size_t)g * codes->full + k / 8;
    return code * BITS * row_tile + slot_of(r);
}

static inline void put_weight(uint8_t *at, uint32_t row_tile, uint32_t k, int8_t value)
{
    for (uint32_t b = 0; b < BITS; b++, at += row_tile)
        *at |= (uint8_t)((code_of(value) >> b & 1) << k % 8);
}

static inline int8_t get_weight(const uint8_t *at, uint32_t row_tile, uint32_t k)
{
    uint32_t code = 0;
    for (uint32_t b = 0; b < BITS; b++, at += row_tile)
        code |= (uint32_t)(*at >> k % 8 & 1) << b;
    return value_of(code);
}

% part("part_layout_weights", { empty = "0" })

%% layout
// ${rows} rows a tile.
% part("part_layout_functions")

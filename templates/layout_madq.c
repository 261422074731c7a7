// Layout madq${bits}: ${bits == 1 and "one bit" or bits .. " bits"} a weight, for multiply-add.
//
// A weight v is the unsigned code ${bits == 1 and "(v + 1) / 2" or "v + " .. (1 << bits - 1)}. A block is 16 rows by 32 weights along K in ${bits} vectors of 64 bytes.
// Byte r * 4 + i of a vector holds parts of row r's weights 4j + i of the block, j = 0..7, so that after a shift and a
// mask 16 rows have four neighbours along K in each 32-bit lane: what a byte dot product with four broadcast activations
// wants, with no shuffle.
% if bits == 4 then
// Code 4j + i is in vector j / 2, in the low nibble for even j, the high one for odd j.
% elseif bits == 3 then
// The two low bits of code 4j + i are in vector j / 4, from bit 2 (j % 4) upwards; the third is bit j in vector 2.
% elseif bits == 2 then
// Code 4j + i is in vector j / 4, from bit 2 (j % 4) upwards.
% else
// Code 4j + i is bit j.
% end
//
// A tile of R rows stores, block of K after block of K, its R / 16 blocks side by side: one sequential stream. Rows of
// padding hold ${bits == 1 and "the code 0, which is -1" or "zeros"}; beyond the end of a group any code would do, as activations are zero there. There are no
// per-row constants.
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
    return (size_t)geometry_of(shape->columns, shape->group).total * row_tile * 4 * BITS;
}

// Where the parts of weight k of group g in row r are: byte 0 of the weight's column in the first vector of its block.
static inline size_t byte_of(const geometry *codes, uint32_t row_tile, uint32_t r, uint32_t g,
                             uint32_t k)
{
    const size_t block = (size_t)g * codes->full + k / 32;
    return (block * (row_tile / 16) + r / 16) * 64 * BITS + r % 16 * 4 + k % 4;
}

// The bits of weight 4j + i of a block: `at` is its byte in the first vector.
static inline void put_code(uint8_t *at, uint32_t j, uint32_t code)
{
% if bits == 4 then
    at[j / 2 * 64] |= (uint8_t)(code << j % 2 * 4);
% elseif bits == 3 then
    at[j / 4 * 64] |= (uint8_t)((code & 3) << j % 4 * 2);
    at[128] |= (uint8_t)(code >> 2 << j);
% elseif bits == 2 then
    at[j / 4 * 64] |= (uint8_t)(code << j % 4 * 2);
% else
    at[0] |= (uint8_t)(code << j);
% end
}

% part("part_madq_get")

static inline void put_weight(uint8_t *at, uint32_t row_tile, uint32_t k, int8_t value)
{
    (void)row_tile; // all parts are in the block
    put_code(at, k % 32 / 4, code_of(value));
}

static inline int8_t get_weight(const uint8_t *at, uint32_t row_tile, uint32_t k)
{
    (void)row_tile;
    return value_of(get_code(at, k % 32 / 4));
}

% part("part_layout_weights", { empty = "0" })

%% layout
// ${rows} rows a tile.
% part("part_layout_functions")

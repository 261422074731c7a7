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

static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    memset(tile, 0, tile_bytes(shape, row_tile));
    for (uint32_t r = 0; r < row_tile; r++) {
        const int8_t *row = weights + (size_t)r * shape->columns;
        for (uint32_t g = 0, k = 0, in_group = 0; k < shape->columns; k++) {
            const uint32_t code = code_of(r < rows ? row[k] : PADDING);
            put_code(tile + byte_of(&codes, row_tile, r, g, in_group), in_group % 32 / 4, code);
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
            row[k] = value_of(get_code(at, in_group % 32 / 4));
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

// Layout mad2: two bits a weight, for multiply-add.
//
// A block is 16 rows by 16 weights along K in 64 bytes. Byte r * 4 + i holds four weights of row r: weight 4 * f + i of
// the block, plus one, is in bits 2f and 2f + 1, f = 0..3. So one mask picks, for 16 rows at once, four neighbours
// along K: what a byte dot product with four broadcast activations wants, with no shuffle.
//
// A tile of R rows stores, block of K after block of K, its R / 16 blocks side by side: one sequential stream. A weight
// that does not exist is stored as zero, which is the field 1. There are no per-row constants.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry")

static size_t tile_bytes(const tmac_shape *shape, uint32_t row_tile)
{
    return (size_t)geometry_of(shape->columns, shape->group).total * row_tile * 4;
}

// Where weight k of group g in row r is: the byte, and how far up in it.
static inline size_t byte_of(const geometry *codes, uint32_t row_tile, uint32_t r, uint32_t g,
                             uint32_t k)
{
    const size_t block = (size_t)g * codes->full + k / 16;
    return (block * (row_tile / 16) + r / 16) * 64 + r % 16 * 4 + k % 4;
}

static inline uint32_t shift_of(uint32_t k)
{
    return k % 16 / 4 * 2;
}

static void pack_tile(const tmac_shape *shape, uint32_t row_tile, const int8_t *weights,
                      uint32_t rows, uint8_t *tile)
{
    const geometry codes = geometry_of(shape->columns, shape->group);
    memset(tile, 0x55, tile_bytes(shape, row_tile)); // all weights zero
    for (uint32_t r = 0; r < rows; r++) {
        const int8_t *row = weights + (size_t)r * shape->columns;
        for (uint32_t g = 0, k = 0, in_group = 0; k < shape->columns; k++) {
            // The field holds 01; 00 and 10 differ from it by 01 and 11.
            const uint32_t change = ((uint32_t)(row[k] + 1) & 3) ^ 1;
            const size_t at = byte_of(&codes, row_tile, r, g, in_group);
            tile[at] ^= (uint8_t)(change << shift_of(in_group));
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
            const uint8_t byte = tile[byte_of(&codes, row_tile, r, g, in_group)];
            row[k] = (int8_t)((byte >> shift_of(in_group) & 3) - 1);
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

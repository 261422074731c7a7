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

enum { PADDING = 0 };

// A field holds 01, the weight zero, before; 00 and 10 differ from it by 01 and 11.
static inline void put_weight(uint8_t *at, uint32_t row_tile, uint32_t k, int8_t value)
{
    (void)row_tile; // a weight is in one byte
    *at ^= (uint8_t)((((uint32_t)(value + 1) & 3) ^ 1) << shift_of(k));
}

static inline int8_t get_weight(const uint8_t *at, uint32_t row_tile, uint32_t k)
{
    (void)row_tile;
    return (int8_t)((*at >> shift_of(k) & 3) - 1);
}

% part("part_layout_weights", { empty = "0x55" })

%% layout
// ${rows} rows a tile.
% part("part_layout_functions")

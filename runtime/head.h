// Integer heads: the language-model head requantized to 4, 5, 6 or 8 bits a weight, multiplied by int8 activations.
//
// A head is an array of tiles. A tile holds 16 rows: all codes first, then the scales, then perhaps losses.
//
//   codes   blocks of 16 columns, ascending; the last scale group is padded to whole blocks with weights of zero. A
//           block is four sets of four columns; a set is 16 rows x 4 columns, the bytes of row r at 4r .. 4r + 3, which
//           is what one four-way integer dot product reads. A code is the weight / scale + 2^(bits - 1), unsigned.
//             8 bits  four vectors of 64 bytes, one a set
//             6 bits  three: sets 0 and 1 as low and high nibbles, sets 2 and 3 the same, then the upper two bits of
//                     set s at bits 2s and 2s + 1
//             4 bits  two: sets 0 and 1 as low and high nibbles, then sets 2 and 3
//             5 bits  two blocks together: the vectors of 4 bits of both, then one of their upper bits, set s of block b
//                     at bit 4b + s
//   scales  [group][16 rows], bf16: the range of a float, and no loss, because codes are made for the rounded scale
//   losses  [16 rows], of heads that screen only: what rounding did to a row
//
// Bits per weight with their scales: 8 + 16 / columns (one scale a row), 6.25, 5.25 and 4.25 (one for every 64
// columns).
//
// The dot product of a group is an exact int32. The epilogue is one written order for every instruction set:
// y = (fma((float)sum_g, scale_g, acc) in ascending g) * activation scale. So the bits are the same everywhere.
#ifndef TMAC_RUNTIME_HEAD_H
#define TMAC_RUNTIME_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"

enum {
    TMAC_HEAD_ROWS = 16,  // rows of a tile
    TMAC_HEAD_BLOCK = 16, // columns of a block
    TMAC_HEAD_GROUP = 64, // columns that share a scale at 4 to 6 bits
    // |code| <= 128 and |q| <= 128, so that a whole row's sum stays within 2^30.
    TMAC_HEAD_COLUMNS_MAX = 1 << 16,
};

typedef struct tmac_head_shape {
    uint32_t rows, columns;
    uint32_t bits;   // 4, 5, 6 or 8
    uint32_t group;  // columns that share a scale, a multiple of TMAC_HEAD_BLOCK
    uint32_t groups; // of a row
    size_t tile_bytes;
    size_t loss_offset; // of the losses in a tile; 0: it has none
} tmac_head_shape;

// columns <= TMAC_HEAD_COLUMNS_MAX.
tmac_head_shape tmac_head_shape_of(uint32_t rows, uint32_t columns, uint32_t bits);

// Makes room for losses behind the scales of each tile.
void tmac_head_shape_add_losses(tmac_head_shape *shape);

static inline uint32_t tmac_head_tiles(const tmac_head_shape *shape)
{
    return (shape->rows + TMAC_HEAD_ROWS - 1) / TMAC_HEAD_ROWS;
}

// Columns with their padding: how many codes an activation vector has.
static inline uint32_t tmac_head_padded(const tmac_head_shape *shape)
{
    return shape->group * shape->groups;
}

// y[t * y_stride + r - 16 * tile_begin], for the rows of tiles [tile_begin, tile_end) that exist.
typedef struct tmac_head_task {
    const tmac_head_shape *shape;
    const uint8_t *tiles; // of the whole head
    uint32_t tile_begin, tile_end;
    uint32_t tokens;
    const int8_t *codes;        // [tokens][padded columns], zeros in the padding
    const int32_t *corrections; // [tokens][groups]: 2^(bits - 1) * the sum of a group's codes
    const float *scales;        // [tokens]: of the activations
    float *y;
    size_t y_stride;
} tmac_head_task;

// What rounding a row to codes did to it: upper bounds of Euclidean norms.
typedef struct tmac_head_loss {
    float error; // of weights - rounded weights
    float norm;  // of the weights and of the rounded weights
} tmac_head_loss;

// Those of a tile; NULL when it has none.
static inline tmac_head_loss *tmac_head_losses(const tmac_head_shape *shape, uint8_t *tile)
{
    return shape->loss_offset ? (tmac_head_loss *)(void *)(tile + shape->loss_offset) : NULL;
}

typedef struct tmac_head_kernels {
    tmac_isa isa;
    // Packs `count` <= 16 rows of float weights; missing rows become zeros. losses: [16], or NULL. False when a weight is
    // not finite.
    bool (*pack_tile)(const tmac_head_shape *shape, const float *rows, uint32_t count,
                      uint8_t *tile, tmac_head_loss *losses);
    void (*run)(const tmac_head_task *task);
} tmac_head_kernels;

// Rendered from templates/head.c.
extern const tmac_head_kernels tmac_head_scalar;
#if defined __x86_64__
extern const tmac_head_kernels tmac_head_avx2, tmac_head_avx512bw, tmac_head_avx512vnni;
#elif defined __aarch64__
extern const tmac_head_kernels tmac_head_neon, tmac_head_dotprod;
#endif

// The kernels of the widest instruction set in `isa` that has them.
const tmac_head_kernels *tmac_head_kernels_for(tmac_isa_set isa);

#endif

// The contract between generated kernels and everybody who calls them: layouts, kernels, and the registry of both.
//
// A packed matrix is an array of tiles. A tile holds `row_tile` consecutive rows in whole: first all codes, in the
// order of its layout, scale group after scale group; then whatever per-row constants the layout needs. Layouts pad by
// themselves: the last tile's missing rows and the missing weights at the end of each scale group are zeros, so that
// any M and K work. Tiles are 64-byte aligned and all have the same size.
//
//   rows    M     outputs of the matrix
//   columns K     inputs
//   group   G     weights of a row that share one scale: 1 <= G <= K. Group g of a row covers columns [g*G, g*G + G),
//                 the last one up to K; there are ceil(K / G) of them
//
// The activations of one token are K int8 values in [-128, 127]. `prepare` turns them, once for all matrices that share
// this input, into the form a kernel reads: padded bytes and their sums, or lookup tables.
//
// Weights are small integers. What a layout can hold is its format:
//
//   't'          ternary: -1, 0, +1
//   '2' '3' '4'  b bits: v = code - 2^(b-1) for codes 0 .. 2^b - 1: -2..1, -4..3, -8..7
//   '1'          one bit: v = 2 * code - 1: -1 or +1. There is no zero: where a layout needs a weight that does not exist
//                (rows of padding) it takes -1; missing weights at the end of a group meet activations of zero
//
// Everything here is exact: y = sum over the columns of one group of v * q, as int32, the same on every instruction
// set. Bound: |y| <= 128 * max|v| * G, so that G < 2^24 for formats 't' and '1', 2^21 for '4'. A layout refuses
// longer groups.
#ifndef TMAC_RUNTIME_KERNEL_H
#define TMAC_RUNTIME_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"

enum { TMAC_KERNEL_ABI = 3, TMAC_COLUMNS_MAX = (1 << 24) - 1 };

typedef struct tmac_shape {
    uint32_t rows, columns, group;
} tmac_shape;

// The number of scale groups in a row.
static inline uint32_t tmac_shape_groups(const tmac_shape *shape)
{
    return (shape->columns + shape->group - 1) / shape->group;
}

typedef struct tmac_layout {
    const char *name;   // "mad2_r64"
    const char *family; // "mad2"
    uint32_t row_tile;  // rows per tile
    uint32_t
        code_length; // weights along K in one code: 16, 5, 2; a scale group is padded to a multiple of it

    char format;      // 't', '1', '2', '3', '4'
    int8_t low, high; // the least and the greatest weight
    int8_t step;      // between neighbouring weights: 2 for format '1', else 1

    // Bytes of one tile for this shape, a multiple of 64; 0 when the layout cannot hold the shape (a group too long
    // for its counters).
    size_t (*tile_bytes)(const tmac_shape *shape);

    // Packs one tile. weights: rows x shape->columns, row-major, values of the format, where rows <= row_tile is how many
    // rows this tile really has. tile: tile_bytes(shape) bytes, all written.
    void (*pack_tile)(const tmac_shape *shape, const int8_t *weights, uint32_t rows, uint8_t *tile);

    // The inverse: writes rows x shape->columns weights.
    void (*unpack_tile)(const tmac_shape *shape, const uint8_t *tile, uint32_t rows,
                        int8_t *weights);
} tmac_layout;

// The weight that rows of padding are made of: zero where the format has it.
static inline int8_t tmac_layout_padding(const tmac_layout *layout)
{
    return layout->step == 1 ? 0 : layout->low;
}

// One of the weights of a format, each as likely as any other for a number of equal odds.
static inline int8_t tmac_layout_weight(const tmac_layout *layout, uint32_t number)
{
    const uint32_t count = (uint32_t)(layout->high - layout->low) / (uint32_t)layout->step + 1;
    return (int8_t)(layout->low + (int32_t)(number % count) * layout->step);
}

static inline uint32_t tmac_layout_tiles(const tmac_layout *layout, uint32_t rows)
{
    return (rows + layout->row_tile - 1) / layout->row_tile;
}

// What a kernel multiplies in one call: the rows of tiles [tile_begin, tile_end) by `tokens` tokens.
typedef struct tmac_matmul {
    const uint8_t *tiles; // the packed matrix
    const uint8_t *
        prepared; // token n's prepared activations at prepared + n * prepared_stride, 64-byte aligned
    size_t prepared_stride;
    // y[(n * groups + g) * y_stride + r], r counted from the first row of tile_begin. Whole tiles are written, rows of
    // padding included (as sums of tmac_layout_padding). 64-byte aligned; y_stride a multiple of 16.
    int32_t *y;
    size_t y_stride;
    tmac_shape shape;
    uint32_t tile_begin, tile_end;
    // With row_end > 0 only these rows of every tile, multiples of the kernel's row_span; other rows of y stay as they are.
    uint32_t row_begin, row_end;
    uint32_t tokens;
} tmac_matmul;

typedef struct tmac_kernel {
    const char *name;       // "mad2_avx512vnni_r64_n1_p2048": family, instruction set, parameters
    const char *family;     // "mad2"
    const char *parameters; // "rows=64 tokens=1 prefetch=2048"
    const char
        *source_id; // SHA-256 of the rendered text and the parameters, lower-case hexadecimal
    const char
        *compiler; // what compiled it and with which flags: together with source_id the binary id
    tmac_isa isa;
    const tmac_layout *layout;
    uint32_t
        row_span; // a worker can take so many rows of a tile; divides row_tile, mostly all of it
    uint32_t token_block; // tokens handled together in registers; any number of tokens works
    uint32_t tokens_min;  // fewest tokens it is meant for: plans and tuner pass it over below

    // The activation side. Kernels with the same `preparation` name accept each other's prepared bytes, whatever their
    // instruction set.
    const char *preparation; // "bytes16", "lut5"

    // Bytes of one token's prepared activations, a multiple of 64.
    size_t (*prepared_bytes)(uint32_t columns, uint32_t group);

    // Prepares one token: part `part` of `parts`, which may run on different threads at once; every part writes its
    // own bytes and all parts together write prepared_bytes(). q: `columns` int8 values, no alignment needed, readable
    // up to q + columns only.
    void (*prepare)(const int8_t *q, uint32_t columns, uint32_t group, uint8_t *prepared,
                    uint32_t part, uint32_t parts);

    void (*run)(const tmac_matmul *matmul);
} tmac_kernel;

// Work is divided by spans of rows, so that an odd number of tall tiles can be shared fairly; spans of nothing but padding
// are not counted.
static inline uint32_t tmac_kernel_spans(const tmac_kernel *kernel, uint32_t rows)
{
    return (rows + kernel->row_span - 1) / kernel->row_span;
}

// Sets the tiles and rows of a call that multiplies the first of the spans [begin, end) of a matrix: as many whole tiles as
// there are, or a part of one. Returns how many spans that are.
static inline uint32_t tmac_kernel_cut(const tmac_kernel *kernel, tmac_matmul *matmul,
                                       uint32_t begin, uint32_t end)
{
    const uint32_t spans = kernel->layout->row_tile / kernel->row_span; // of a tile
    const uint32_t tile = begin / spans, tiles = (end - begin) / spans, first = begin % spans;
    if (first == 0 && tiles > 0) {
        matmul->tile_begin = tile;
        matmul->tile_end = tile + tiles;
        matmul->row_begin = matmul->row_end = 0;
        return tiles * spans;
    }
    const uint32_t count = end - begin < spans - first ? end - begin : spans - first;
    matmul->tile_begin = tile;
    matmul->tile_end = tile + 1;
    matmul->row_begin = first * kernel->row_span;
    matmul->row_end = (first + count) * kernel->row_span;
    return count;
}

// A worker multiplies so many tiles in one call, whose sums then lie in its cache until they are floats: 8192 sums or 64
// rows of all of them, at least one tile. outputs: sums of a row, tokens times scale groups.
enum { TMAC_CHUNK_SUMS = 8192, TMAC_CHUNK_ROWS = 64 };
static inline size_t tmac_chunk_sums(size_t outputs)
{
    return outputs < TMAC_CHUNK_SUMS / TMAC_CHUNK_ROWS ? TMAC_CHUNK_SUMS
                                                       : outputs * TMAC_CHUNK_ROWS;
}
static inline uint32_t tmac_chunk_tiles(uint32_t row_tile, size_t outputs)
{
    const size_t tiles = tmac_chunk_sums(outputs) / (outputs * row_tile);
    return tiles > 0 ? (uint32_t)tiles : 1;
}

// Sums that a call needs room for, with tmac_sums_stride: for so many outputs and all fewer ones.
static inline size_t tmac_sums_room(uint32_t row_tile, size_t outputs)
{
    const size_t tile = outputs * row_tile, chunk = tmac_chunk_sums(outputs);
    return (tile > chunk ? tile : chunk) + 16 * outputs;
}

// The y_stride of so many rows, at most 16 more for whole lines of rows: an odd number of cache lines, so that tokens' sums of the same rows
// lie in different sets of the first-level cache. With a power of two prompts are up to a tenth slower (AMX).
static inline size_t tmac_sums_stride(size_t rows)
{
    return ((rows + 15) / 16 | 1) * 16;
}

// Every kernel and every layout compiled in, in a fixed order, then the kernels added. Nobody frees anything.
const tmac_kernel *const *tmac_kernels(size_t *count);
const tmac_kernel *const *tmac_kernels_built_in(size_t *count);
const tmac_layout *const *tmac_layouts(size_t *count);

// By name; NULL when there is none.
const tmac_kernel *tmac_kernel_find(const char *name);
const tmac_layout *tmac_layout_find(const char *name);

// Adds kernels that were compiled for a model's shapes and opened (db/kernels.h): they stay for the life of the process.
// Their names must be new. Only while nobody else uses the registry: it is one for the process, and an array that
// tmac_kernels gave before is no more.
tmac_status tmac_kernels_add(const tmac_kernel *const *kernels, size_t count);
bool tmac_kernel_is_added(const tmac_kernel *kernel);

// The shape that a kernel was compiled for: false when it is for any shape. (It is exact on others too, and slower.)
bool tmac_kernel_shape(const tmac_kernel *kernel, uint32_t *columns, uint32_t *group);

// The binary id: SHA-256 over source_id, compiler and TMAC_KERNEL_ABI, as lower-case hexadecimal. Two kernels with one
// binary id are the same machine code.
void tmac_kernel_binary_id(const tmac_kernel *kernel, char hex[65]);

#endif

// The float arithmetic of the transformer: one written order of operations, compiled once per instruction set.
//
// Every table of this kind computes the same bits (docs/DESIGN.md, section 3): sums run in 16 partial sums, lane i taking
// elements i, i + 16, ..., combined in one fixed tree; multiply-add is one fused operation; nothing is estimated. The
// source is templates/floats.c, over the 16-lane vectors of runtime/lanes_*.h.
//
// Vectors need no alignment and no padding: reads and writes stay within n elements.
#ifndef TMAC_RUNTIME_FLOATS_H
#define TMAC_RUNTIME_FLOATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "runtime/source.h"

enum {
    TMAC_KEY_BLOCK =
        16, // positions whose keys lie side by side: keys are cached as [block][head_dim][16]
    TMAC_OUTPUT_BLOCK = 64, // positions whose weighted values are summed before blocks are added
};

// y[n * y_stride + r - row_begin] = dot(row r of weights, x + n * x_stride) for r in [row_begin, row_end).
typedef struct tmac_dot_rows {
    const void *weights; // rows x columns, row-major, f32, f16 or bf16
    uint32_t columns;
    uint32_t row_begin, row_end;
    const float *x;
    size_t x_stride;
    uint32_t tokens;
    float *y;
    size_t y_stride;
} tmac_dot_rows;

// Query heads that read one KV head, of one or several neighbouring tokens of a session. A row is a head of a token:
// token t's are rows [t * heads, (t + 1) * heads).
typedef struct tmac_attention {
    const float *query;        // [rows][head_dim], rotated
    const void *keys;          // [blocks of 16 positions][head_dim][16], f32, f16 or int8
    const void *values;        // [positions][head_dim], likewise
    const float *key_scales;   // int8: what the codes of a position are to be multiplied by
    const float *value_scales; // the same of the values
    uint32_t heads, head_dim;
    uint32_t tokens;
    uint32_t positions; // token t attends to positions [0, positions + t)
    float *scores;      // [rows][score_stride]
    size_t score_stride;
} tmac_attention;

// One matrix's exact sums to floats, for one token.
typedef struct tmac_scale_rows {
    const int32_t *sums; // [groups][sum_stride]
    size_t sum_stride;
    uint32_t groups, rows;
    const float
        *scales; // of the first of these rows: [1], [rows] or [rows][groups] (see scale_count)
    uint32_t scales_per_row; // 0: one scale for the tensor; else groups
    float activation_scale;  // m / 127
} tmac_scale_rows;

typedef struct tmac_floats {
    tmac_isa isa;

    // out = (x / sqrt(mean(x^2) + epsilon)) * weight. out may be x.
    void (*rms_norm)(const float *x, const float *weight, uint32_t n, float epsilon, float *out);

    // q = nearest(x * 127 / m), ties to even, with m = max(max|x|, 1e-5); returns m / 127.
    float (*quantize)(const float *x, uint32_t n, int8_t *q);

    // out = silu(gate) * up, out = relu(gate)^2 * up. out may be gate or up.
    void (*silu_multiply)(const float *gate, const float *up, uint32_t n, float *out);
    void (*relu2_multiply)(const float *gate, const float *up, uint32_t n, float *out);

    // x += y
    void (*add)(float *x, const float *y, uint32_t n);

    // Rotates interleaved pairs: (x[2i], x[2i+1]) by the angle whose cosine and sine are turns[2i], turns[2i+1].
    void (*rotate)(float *x, const float *turns, uint32_t pairs);

    // f32 to f16, nearest, ties to even.
    void (*to_f16)(const float *x, uint32_t n, uint16_t *out);

    void (*dot_rows_f32)(const tmac_dot_rows *task);
    void (*dot_rows_f16)(const tmac_dot_rows *task);
    void (*dot_rows_bf16)(const tmac_dot_rows *task);

    // Attention, in the order of docs/DESIGN.md, cut at blocks of TMAC_OUTPUT_BLOCK positions. First the scaled scores
    // of positions in blocks [begin, end), up to a multiple of 16 (those beyond a token's last are of no meaning):
    void (*score_f32)(const tmac_attention *task, uint32_t begin, uint32_t end);
    void (*score_f16)(const tmac_attention *task, uint32_t begin, uint32_t end);
    void (*score_i8)(const tmac_attention *task, uint32_t begin, uint32_t end);

    // Of one row, `count` a multiple of 16, beyond its last position minus infinity: the largest score; scores to
    // weights, e^(score - maximum), returning 1 / their sum; 1 / the sum of what are weights already.
    float (*maximum)(const float *scores, uint32_t count);
    float (*weigh)(float *scores, uint32_t count, float maximum);
    float (*inverse_sum)(const float *weights, uint32_t count);

    // Then the weighted values of blocks [begin, end): with block_stride 0 added up in order in sums[rows][head_dim],
    // else each block's at sums + (block - begin) * block_stride.
    void (*value_f32)(const tmac_attention *task, uint32_t begin, uint32_t end, float *sums,
                      size_t block_stride);
    void (*value_f16)(const tmac_attention *task, uint32_t begin, uint32_t end, float *sums,
                      size_t block_stride);
    void (*value_i8)(const tmac_attention *task, uint32_t begin, uint32_t end, float *sums,
                     size_t block_stride);

    // out = x * factor
    void (*scale)(const float *x, float factor, uint32_t n, float *out);

    // y[r] = (float)sum * (scale * activation_scale) where a row has one scale; with several, acc = fma((float)sum_g,
    // scale_g, acc) in ascending g and y[r] = acc * activation_scale.
    void (*scale_rows)(const tmac_scale_rows *task, float *y);
} tmac_floats;

// Rendered from the template, one each per instruction set that has a lanes_*.h.
extern const tmac_floats tmac_floats_scalar;
#if defined __x86_64__
extern const tmac_floats tmac_floats_avx2, tmac_floats_avx512bw;
#elif defined __aarch64__
extern const tmac_floats tmac_floats_neon;
#endif

// The table of the widest instruction set in `isa` that has one.
const tmac_floats *tmac_floats_for(tmac_isa_set isa);

// number: of the task's weights, F32, F16 or BF16.
static inline void tmac_floats_dot_rows(const tmac_floats *floats, tmac_number number,
                                        const tmac_dot_rows *task)
{
    if (number == TMAC_F32)
        floats->dot_rows_f32(task);
    else if (number == TMAC_F16)
        floats->dot_rows_f16(task);
    else
        floats->dot_rows_bf16(task);
}

#endif

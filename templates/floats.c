% local lanes = ({ scalar = "scalar", avx2 = "avx2", avx512bw = "avx512", neon = "neon" })[isa.name]
// The float arithmetic of the transformer for ${isa.name}: runtime/floats.h says what each function computes.
//
// Everything is written once, over 16 lanes; the lanes are those of runtime/lanes_${lanes}.h. Whatever the
// instruction set, the same operations run in the same order on every lane, so the results agree to the last bit. A
// length that is no multiple of 16 is padded with zeros, and the padding goes through the same operations.
#include "runtime/floats.h"

#include <math.h>
#include <string.h>

#include "runtime/lanes_${lanes}.h"

// Adding 1.5 * 2^23 leaves a number of magnitude below 2^22 rounded to nearest even in the low mantissa bits.
static const float ROUND_MAGIC = 12582912.0f;

// e^x within 2 ulp for x in [-87, 88]; 0 below, e^88 above. x = n ln 2 + r with |r| <= 0.35, Taylor's series to r^7
// (the rest is under 6e-9 of the result), then n is added to the exponent: n >= -126, and where it is -126 the series
// is at least 1, so the result stays normal.
static inline lanes exponential(lanes x)
{
    lanes bounded = lanes_min(lanes_max(x, lanes_set(-87.0f)), lanes_set(88.0f));
    lanes magic = lanes_fma(bounded, lanes_set(1.44269504f), lanes_set(ROUND_MAGIC));
    lanes n = lanes_subtract(magic, lanes_set(ROUND_MAGIC));
    lanes r = lanes_fma(n, lanes_set(-0.693359375f), bounded);
    r = lanes_fma(n, lanes_set(2.12194440e-4f), r);
    lanes series = lanes_set(1.0f / 5040.0f);
    series = lanes_fma(series, r, lanes_set(1.0f / 720.0f));
    series = lanes_fma(series, r, lanes_set(1.0f / 120.0f));
    series = lanes_fma(series, r, lanes_set(1.0f / 24.0f));
    series = lanes_fma(series, r, lanes_set(1.0f / 6.0f));
    series = lanes_fma(series, r, lanes_set(0.5f));
    series = lanes_fma(series, r, lanes_set(1.0f));
    series = lanes_fma(series, r, lanes_set(1.0f));
    return lanes_zero_below(lanes_raise(series, magic), x, -87.0f);
}

static void rms_norm(const float *x, const float *weight, uint32_t n, float epsilon, float *out)
{
    uint32_t whole = n & ~15u, rest = n & 15u;
    lanes squares = lanes_set(0.0f);
    for (uint32_t i = 0; i < whole; i += 16) {
        lanes v = lanes_load(x + i);
        squares = lanes_fma(v, v, squares);
    }
    if (rest) {
        lanes v = lanes_load_part(x + whole, rest);
        squares = lanes_fma(v, v, squares);
    }
    lanes size = lanes_set(sqrtf(lanes_sum(squares) / (float)n + epsilon));
    for (uint32_t i = 0; i < whole; i += 16)
        lanes_store(out + i, lanes_multiply(lanes_divide(lanes_load(x + i), size), lanes_load(weight + i)));
    if (rest) {
        lanes v = lanes_divide(lanes_load_part(x + whole, rest), size);
        lanes_store_part(out + whole, lanes_multiply(v, lanes_load_part(weight + whole, rest)), rest);
    }
}

static float quantize(const float *x, uint32_t n, int8_t *q)
{
    uint32_t whole = n & ~15u, rest = n & 15u;
    lanes largest = lanes_set(0.0f);
    for (uint32_t i = 0; i < whole; i += 16) largest = lanes_max(largest, lanes_absolute(lanes_load(x + i)));
    if (rest) largest = lanes_max(largest, lanes_absolute(lanes_load_part(x + whole, rest)));
    float m = lanes_maximum(largest);
    if (!(m > 1e-5f)) m = 1e-5f;
    lanes scale = lanes_set(127.0f / m), magic = lanes_set(ROUND_MAGIC);
    for (uint32_t i = 0; i < whole; i += 16)
        lanes_store_int8_part(q + i, lanes_add(lanes_multiply(lanes_load(x + i), scale), magic), 16);
    if (rest) {
        lanes v = lanes_multiply(lanes_load_part(x + whole, rest), scale);
        lanes_store_int8_part(q + whole, lanes_add(v, magic), rest);
    }
    return m / 127.0f;
}

static inline lanes silu(lanes gate, lanes up)
{
    lanes decay = exponential(lanes_subtract(lanes_set(0.0f), gate));
    return lanes_multiply(lanes_divide(gate, lanes_add(lanes_set(1.0f), decay)), up);
}

static inline lanes relu2(lanes gate, lanes up)
{
    lanes positive = lanes_max(gate, lanes_set(0.0f));
    return lanes_multiply(lanes_multiply(positive, positive), up);
}

% for _, activation in ipairs { "silu", "relu2" } do
static void ${activation}_multiply(const float *gate, const float *up, uint32_t n, float *out)
{
    uint32_t whole = n & ~15u, rest = n & 15u;
    for (uint32_t i = 0; i < whole; i += 16)
        lanes_store(out + i, ${activation}(lanes_load(gate + i), lanes_load(up + i)));
    if (rest) {
        lanes v = ${activation}(lanes_load_part(gate + whole, rest), lanes_load_part(up + whole, rest));
        lanes_store_part(out + whole, v, rest);
    }
}

% end
static void add(float *x, const float *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) x[i] += y[i];
}

static void rotate(float *x, const float *turns, uint32_t pairs)
{
    for (uint32_t i = 0; i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1], cosine = turns[2 * i], sine = turns[2 * i + 1];
        x[2 * i] = fmaf(a, cosine, -(b * sine));
        x[2 * i + 1] = fmaf(a, sine, b * cosine);
    }
}

static void to_f16(const float *x, uint32_t n, uint16_t *out)
{
    uint32_t whole = n & ~15u, rest = n & 15u;
    for (uint32_t i = 0; i < whole; i += 16) lanes_store_f16_part(out + i, lanes_load(x + i), 16);
    if (rest) lanes_store_f16_part(out + whole, lanes_load_part(x + whole, rest), rest);
}

// Dot products of rows with tokens: a block of rows by a block of tokens, with 16 partial sums for each pair. The blocks
// hide the latency of the multiply-add; a sum is the same whatever the block it is part of.
% local numbers = {
%     { name = "f32", type = "float", load = "lanes_load", bytes = 4 },
%     { name = "f16", type = "uint16_t", load = "lanes_load_f16", bytes = 2 },
%     { name = "bf16", type = "uint16_t", load = "lanes_load_bf16", bytes = 2 },
% }
% local blocks = {
%     avx512 = { { 8, 1 }, { 4, 4 }, { 1, 1 } },
%     avx2 = { { 4, 1 }, { 2, 2 }, { 1, 1 } },
%     neon = { { 4, 1 }, { 2, 2 }, { 1, 1 } },
%     scalar = { { 1, 1 } },
% }
% for _, number in ipairs(numbers) do
% for _, block in ipairs(blocks[lanes]) do
% local rows, tokens = block[1], block[2]
static inline void dot_${number.name}_${rows}x${tokens}(const ${number.type} *w, size_t columns, const float *x,
    size_t x_stride, float *y, size_t y_stride)
{
    enum { ROWS = ${rows}, TOKENS = ${tokens}, PREFETCH = 1024 }; // bytes ahead, in each of the ROWS streams
    size_t whole = columns & ~(size_t)15;
    uint32_t rest = (uint32_t)(columns & 15);
    lanes sum[TOKENS][ROWS], v[TOKENS];
    for (int t = 0; t < TOKENS; t++)
        for (int r = 0; r < ROWS; r++) sum[t][r] = lanes_set(0.0f);
    for (size_t k = 0; k < whole; k += 16) {
        for (int t = 0; t < TOKENS; t++) v[t] = lanes_load(x + (size_t)t * x_stride + k);
        for (int r = 0; r < ROWS; r++) {
            const ${number.type} *at = w + (size_t)r * columns + k;
            __builtin_prefetch((const char *)at + PREFETCH);
            lanes row = ${number.load}(at);
            for (int t = 0; t < TOKENS; t++) sum[t][r] = lanes_fma(row, v[t], sum[t][r]);
        }
    }
    if (rest) {
        for (int t = 0; t < TOKENS; t++) v[t] = lanes_load_part(x + (size_t)t * x_stride + whole, rest);
        for (int r = 0; r < ROWS; r++) {
            lanes row = ${number.load}_part(w + (size_t)r * columns + whole, rest);
            for (int t = 0; t < TOKENS; t++) sum[t][r] = lanes_fma(row, v[t], sum[t][r]);
        }
    }
    for (int t = 0; t < TOKENS; t++)
        for (int r = 0; r < ROWS; r++) y[(size_t)t * y_stride + (size_t)r] = lanes_sum(sum[t][r]);
}

% end
static void dot_rows_${number.name}(const tmac_dot_rows *task)
{
    const ${number.type} *weights = task->weights;
    size_t columns = task->columns;
% for _, block in ipairs(blocks[lanes]) do
% if block[2] > 1 then
    uint32_t blocked_tokens = task->tokens / ${block[2]} * ${block[2]};
% end
% end
% if lanes == "scalar" then
    uint32_t blocked_tokens = 0;
% end
    uint32_t row = task->row_begin;
% if lanes ~= "scalar" then
% local decode, prefill = blocks[lanes][1], blocks[lanes][2]
    for (; row + ${decode[1]} <= task->row_end; row += ${decode[1]}) {
        const ${number.type} *w = weights + (size_t)row * columns;
        float *y = task->y + (row - task->row_begin);
        for (uint32_t t = 0; t < blocked_tokens; t += ${prefill[2]})
            for (uint32_t r = 0; r < ${decode[1]}; r += ${prefill[1]})
                dot_${number.name}_${prefill[1]}x${prefill[2]}(w + r * columns, columns, task->x + t * task->x_stride,
                    task->x_stride, y + r + t * task->y_stride, task->y_stride);
        for (uint32_t t = blocked_tokens; t < task->tokens; t++)
            dot_${number.name}_${decode[1]}x1(w, columns, task->x + t * task->x_stride, 0, y + t * task->y_stride, 0);
    }
    blocked_tokens = 0;
% end
    for (; row < task->row_end; row++)
        for (uint32_t t = blocked_tokens; t < task->tokens; t++)
            dot_${number.name}_1x1(weights + (size_t)row * columns, columns, task->x + t * task->x_stride, 0,
                task->y + (row - task->row_begin) + t * task->y_stride, 0);
}

% end
% part("part_attention", { lanes = lanes, numbers = numbers })

static void scale_rows(const tmac_scale_rows *task, float *y)
{
    if (task->scales_per_row > 1) {
        for (uint32_t r = 0; r < task->rows; r++) {
            float sum = 0.0f;
            for (uint32_t g = 0; g < task->groups; g++)
                sum = fmaf((float)task->sums[g * task->sum_stride + r], task->scales[r * task->groups + g], sum);
            y[r] = sum * task->activation_scale;
        }
        return;
    }
    lanes activation_scale = lanes_set(task->activation_scale);
    lanes scale = lanes_multiply(lanes_set(task->scales[0]), activation_scale);
    for (uint32_t r = 0; r < task->rows; r += 16) {
        uint32_t width = task->rows - r < 16 ? task->rows - r : 16;
        if (task->scales_per_row == 1) scale = lanes_multiply(lanes_load_part(task->scales + r, width), activation_scale);
        lanes_store_part(y + r, lanes_multiply(lanes_from_int(task->sums + r), scale), width);
    }
}

const tmac_floats tmac_floats_${isa.name} = {
    .isa = ${isa.enum},
    .rms_norm = rms_norm,
    .quantize = quantize,
    .silu_multiply = silu_multiply,
    .relu2_multiply = relu2_multiply,
    .add = add,
    .rotate = rotate,
    .to_f16 = to_f16,
% for _, number in ipairs(numbers) do
    .dot_rows_${number.name} = dot_rows_${number.name},
% end
% for _, number in ipairs { "f32", "f16", "i8" } do
    .score_${number} = score_${number},
    .value_${number} = value_${number},
% end
    .maximum = maximum,
    .weigh = weigh,
    .inverse_sum = inverse_sum,
    .scale = scale,
    .scale_rows = scale_rows,
};

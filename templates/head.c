% local lanes = ({ avx512bw = "avx512", avx512vnni = "avx512", dotprod = "neon" })[isa.name] or isa.name
// Integer heads for ${isa.name}: runtime/head.h has the layout, the order of operations and what each function promises.
//
// The loop is limited by memory: a block of 128 bytes (4 bits) costs about 14 instructions, fewer cycles than the
// memory needs to deliver it. Weights are fetched ahead of their use, far ahead into the second-level cache and near
// into the first; the few tokens of a batch share each block while it is decoded.
#include "runtime/head.h"

#include <math.h>
#include <string.h>

#include "runtime/lanes_${lanes}.h"

% part("part_codes_" .. lanes)

enum { NEAR = 2048, FAR = 16384 }; // bytes ahead of the block being read

// --------------------------------------------------------------------------------------------------------- packing

// Adding 1.5 * 2^23 rounds to nearest even.
static const float ROUND_MAGIC = 12582912.0f;

static inline lanes load_some(const float *p, uint32_t count)
{
    return count == 16 ? lanes_load(p) : lanes_load_part(p, count);
}

// The scale of n weights: the one of largest magnitude becomes the most negative code (of 4 to 6 bits, which have one
// more code below zero than above) or +-127. Zero for weights below 1e-30, whose reciprocal would overflow.
static uint16_t group_scale(const float *weights, uint32_t n, uint32_t bits, bool *finite)
{
    lanes most = lanes_set(0.0f), least = most, alive = most;
    for (uint32_t i = 0; i < n; i += 16) {
        lanes v = load_some(weights + i, n - i < 16 ? n - i : 16);
        most = lanes_max(most, v);
        least = lanes_max(least, lanes_subtract(lanes_set(0.0f), v));
        alive = lanes_fma(v, lanes_set(0.0f), alive);
    }
    if (lanes_sum(alive) != 0.0f) { // infinity times zero is NaN
        *finite = false;
        return 0;
    }
    float above = lanes_maximum(most), below = lanes_maximum(least);
    float largest = above > below ? above : below;
    if (largest < 1e-30f) return 0;
    float scale = bits == 8 ? largest / 127.0f : largest / (float)(1u << (bits - 1));
    if (bits != 8 && above > below) scale = -scale;
    uint32_t word;
    memcpy(&word, &scale, sizeof word);
    return (uint16_t)((word + 0x7fffu + ((word >> 16) & 1u)) >> 16); // nearest even; no float is near overflow / 8
}

// Puts the codes of 16 columns of one row into block `b` of its tile.
static inline void place_block(uint8_t *tile, uint32_t b, uint32_t bits, uint32_t row, const int8_t *signed_codes)
{
    uint8_t *block = bits == 5 ? tile + (size_t)b / 2 * 320 + b % 2 * 128 : tile + (size_t)b * 32 * bits;
    uint8_t *upper = bits == 5 ? tile + (size_t)b / 2 * 320 + 256 : block + 128;
    for (uint32_t k = 0; k < TMAC_HEAD_BLOCK; k++) {
        uint32_t set = k / 4, at = 4 * row + k % 4;
        uint8_t code = (uint8_t)(signed_codes[k] + (1 << (bits - 1)));
        if (bits == 8) {
            block[64 * set + at] = code;
            continue;
        }
        block[64 * (set / 2) + at] |= (uint8_t)((code & 15u) << (4 * (set % 2)));
        if (bits == 5) upper[at] |= (uint8_t)((code >> 4) << (4 * (b % 2) + set));
        if (bits == 6) upper[at] |= (uint8_t)((code >> 4) << (2 * set));
    }
}

// 16 weights to signed codes; returns the weights that the codes stand for, exactly: 8 bits times 8 bits.
static inline lanes round_block(lanes v, float scale, float inverse, uint32_t bits, int8_t *signed_codes)
{
    int low = -(1 << (bits - 1)), high = (1 << (bits - 1)) - 1;
    lanes_store_int8_part(signed_codes, lanes_fma(v, lanes_set(inverse), lanes_set(ROUND_MAGIC)), 16);
    float rounded[TMAC_HEAD_BLOCK];
    for (uint32_t k = 0; k < TMAC_HEAD_BLOCK; k++) {
        int code = signed_codes[k] < low ? low : signed_codes[k] > high ? high : signed_codes[k];
        signed_codes[k] = (int8_t)code;
        rounded[k] = (float)code * scale;
    }
    return lanes_load(rounded);
}

// The bound of a norm from a sum of squares made in float. A partial sum takes at most columns / 16 + 5 <= 4101
// roundings of 2^-24 each, 2.5e-4 in all: a thousandth covers it. What squares lose to underflow is below
// 2^16 * 2^-149, whose root is below 1e-19.
static float norm_bound(lanes squares)
{
    return sqrtf(lanes_sum(squares)) * 1.001f + 1e-19f;
}

static bool pack_tile(const tmac_head_shape *shape, const float *rows, uint32_t count, uint8_t *tile,
    tmac_head_loss *losses)
{
    const size_t block_bytes = (size_t)32 * shape->bits;
    const size_t blocks = tmac_head_padded(shape) / TMAC_HEAD_BLOCK;
    uint16_t *scales = (uint16_t *)(void *)(tile + blocks * block_bytes);
    bool finite = true;
    memset(tile, 0, shape->tile_bytes);
    for (uint32_t r = 0; r < TMAC_HEAD_ROWS; r++) {
        lanes lost = lanes_set(0.0f), whole = lost, kept = lost;
        for (uint32_t g = 0; g < shape->groups; g++) {
            const uint32_t first = g * shape->group;
            uint32_t n = shape->columns - first < shape->group ? shape->columns - first : shape->group;
            const float *weights = rows + (size_t)r * shape->columns + first;
            uint16_t word = r < count ? group_scale(weights, n, shape->bits, &finite) : 0;
            uint32_t wide = (uint32_t)word << 16;
            float scale;
            memcpy(&scale, &wide, sizeof scale);
            scales[(size_t)g * TMAC_HEAD_ROWS + r] = word;
            float inverse = word ? 1.0f / scale : 0.0f;
            for (uint32_t i = 0; i < shape->group; i += TMAC_HEAD_BLOCK) {
                int8_t signed_codes[TMAC_HEAD_BLOCK] = {0};
                if (r < count && i < n && finite) {
                    lanes v = load_some(weights + i, n - i < 16 ? n - i : 16);
                    lanes rounded = round_block(v, scale, inverse, shape->bits, signed_codes);
                    lanes difference = lanes_subtract(v, rounded);
                    lost = lanes_fma(difference, difference, lost);
                    whole = lanes_fma(v, v, whole);
                    kept = lanes_fma(rounded, rounded, kept);
                }
                place_block(tile, (first + i) / TMAC_HEAD_BLOCK, shape->bits, r, signed_codes);
            }
        }
        if (losses) {
            float before = norm_bound(whole), after = norm_bound(kept);
            losses[r] = (tmac_head_loss){norm_bound(lost), before > after ? before : after};
        }
    }
    return finite;
}

// -------------------------------------------------------------------------------------------------- multiplication

% for _, bits in ipairs { 4, 5, 6, 8 } do
% local blocks = bits == 5 and 2 or 1 -- read together, because they share bytes
% for _, tokens in ipairs { 4, 2, 1 } do
static void run_${bits}_${tokens}(const tmac_head_task *task, uint32_t tile, uint32_t token)
{
    enum { TOKENS = ${tokens}, COLUMNS = ${blocks * 16}, BYTES = ${blocks * bits * 32} };
    const tmac_head_shape *shape = task->shape;
    const uint8_t *block = task->tiles + tile * shape->tile_bytes;
    const uint32_t padded = tmac_head_padded(shape), groups = shape->groups;
    const uint8_t *scales = block + (size_t)padded / COLUMNS * BYTES;
    const int8_t *q = task->codes + (size_t)token * padded;
    lanes total[TOKENS];
    for (int t = 0; t < TOKENS; t++) total[t] = lanes_set(0.0f);
    for (uint32_t g = 0; g < groups; g++, scales += 32) {
        counts even[TOKENS], odd[TOKENS];
        for (int t = 0; t < TOKENS; t++) even[t] = odd[t] = counts_zero();
        for (uint32_t i = 0; i < shape->group; i += COLUMNS, block += BYTES, q += COLUMNS) {
            for (int line = 0; line < BYTES; line += 64) {
                __builtin_prefetch(block + NEAR + line, 0, 3);
                __builtin_prefetch(block + FAR + line, 0, 2);
            }
            codes set0, set1, set2, set3;
% for b = 0, blocks - 1 do
% if bits == 8 then
            set0 = codes_load(block), set1 = codes_load(block + 64);
            set2 = codes_load(block + 128), set3 = codes_load(block + 192);
% else
            set0 = codes_load(block + ${b * 128}), set2 = codes_load(block + ${b * 128 + 64});
            set1 = codes_high(set0), set3 = codes_high(set2);
            set0 = codes_low(set0), set2 = codes_low(set2);
% end
% if bits == 5 or bits == 6 then
% if b == 0 then
            codes upper = codes_load(block + ${blocks * 128});
% end
% for set = 0, 3 do
            set${set} = codes_join(set${set}, upper, ${(bits - 4) * set + 4 * b}, ${bits == 5 and "0x10" or "0x30"});
% end
% end
% local dot = bits == 8 and "counts_dot_8" or "counts_dot"
            for (int t = 0; t < TOKENS; t++) {
                const int8_t *at = q + (size_t)t * padded + ${b * 16};
                even[t] = ${dot}(even[t], set0, at);
                odd[t] = ${dot}(odd[t], set1, at + 4);
                even[t] = ${dot}(even[t], set2, at + 8);
                odd[t] = ${dot}(odd[t], set3, at + 12);
            }
% end
        }
        __builtin_prefetch(scales + shape->tile_bytes, 0, 3);
        lanes scale = lanes_load_bf16((const uint16_t *)(const void *)scales);
        for (int t = 0; t < TOKENS; t++) {
            int32_t correction = task->corrections[(size_t)(token + (uint32_t)t) * groups + g];
            total[t] = lanes_fma(counts_floats(counts_add(even[t], odd[t]), correction), scale, total[t]);
        }
    }
    uint32_t row = tile * TMAC_HEAD_ROWS;
    uint32_t rows = shape->rows - row < TMAC_HEAD_ROWS ? shape->rows - row : TMAC_HEAD_ROWS;
    float *y = task->y + (size_t)token * task->y_stride + (row - task->tile_begin * TMAC_HEAD_ROWS);
    for (int t = 0; t < TOKENS; t++) {
        lanes value = lanes_multiply(total[t], lanes_set(task->scales[token + (uint32_t)t]));
        lanes_store_part(y + (size_t)t * task->y_stride, value, rows);
    }
}

% end
static void run_${bits}(const tmac_head_task *task)
{
    for (uint32_t tile = task->tile_begin; tile < task->tile_end; tile++) {
        uint32_t token = 0;
        for (; token + 4 <= task->tokens; token += 4) run_${bits}_4(task, tile, token);
        if (token + 2 <= task->tokens) {
            run_${bits}_2(task, tile, token);
            token += 2;
        }
        if (token < task->tokens) run_${bits}_1(task, tile, token);
    }
}

% end
static void run(const tmac_head_task *task)
{
    if (task->shape->bits == 4)
        run_4(task);
    else if (task->shape->bits == 5)
        run_5(task);
    else if (task->shape->bits == 6)
        run_6(task);
    else
        run_8(task);
}

const tmac_head_kernels tmac_head_${isa.name} = {
    .isa = ${isa.enum},
    .pack_tile = pack_tile,
    .run = run,
};

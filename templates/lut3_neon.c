// lut3 for NEON of Armv8.0: tbl looks up 16 rows at once in tables of 16 bytes; two planes give a low and a high digit of
// 16 sums, sum = low + 31 high, and a multiplication by -1 or 1 adds both with the sign of the code.
//
// Bounds: a block has at most 8 triples, so bytes take |low| <= 8 * 15 = 120 and |high| <= 8 * 12 = 96. Joined to int16,
// low + 31 high is at most 8 * 3 * 128 = 3072 in size; ten blocks, 30720, fit. Segments of ten blocks are widened into
// the int32 outputs, which stay in the first-level cache.
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 6 })

% part("part_lut3_strides")

% part("part_lut3_tables")

// The sums of a triple, and their nearest multiples of 31: 1057 / 32768 is 1/31 to 3e-5, and no sum is nearer to a tie
// than 0.5 / 31. Digits beyond 13 are zero.
static inline void build_triple(const int8_t *q, uint8_t *table)
{
% local digits = { {}, {}, {} }
% for v = 0, 15 do
%     for j = 1, 3 do digits[j][v + 1] = digit(v, j - 1, 13) end
% end
    static const int8_t digits[3][16] = {{${table.concat(digits[1], ", ")}},
                                         {${table.concat(digits[2], ", ")}},
                                         {${table.concat(digits[3], ", ")}}};
    int16x8_t low[2], high[2];
    for (uint32_t half = 0; half < 2; half++) {
        int16x8_t sums = vdupq_n_s16(0);
        for (uint32_t j = 0; j < 3; j++)
            sums = vmlal_s8(sums, vld1_s8(digits[j] + 8 * half), vdup_n_s8(q[j]));
        high[half] = vqrdmulhq_n_s16(sums, 1057);
        low[half] = vmlsq_n_s16(sums, high[half], 31);
    }
    vst1q_s8((int8_t *)table, vcombine_s8(vmovn_s16(low[0]), vmovn_s16(low[1])));
    vst1q_s8((int8_t *)table + 16, vcombine_s8(vmovn_s16(high[0]), vmovn_s16(high[1])));
}

static inline void build_table(const int8_t *q, uint8_t *table)
{
    build_triple(q, table);
    build_triple(q + 3, table + 32);
}

% part("part_lut_prepare", { code_length = 6 })

enum { SEGMENT = 40 }; // codes, ten blocks, whose sums fit int16

// Sets the outputs of a scale group to zero, for each of `tokens` tokens.
static inline void start(int32_t *y, size_t y_step, uint32_t rows, uint32_t tokens)
{
    for (uint32_t n = 0; n < tokens; n++)
        memset(y + n * y_step, 0, rows * sizeof *y);
}

static inline int8x16_t look_up(const uint8_t *table, uint8x16_t index)
{
    return vqtbl1q_s8(vld1q_s8((const int8_t *)table), index);
}

// Adds 8 int16 sums to 8 outputs.
static inline void widen(int32_t *y, int16x8_t sums)
{
    vst1q_s32(y, vaddw_s16(vld1q_s32(y), vget_low_s16(sums)));
    vst1q_s32(y + 4, vaddw_high_s16(vld1q_s32(y + 4), sums));
}

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 16
% for _, count in ipairs(block_sizes(tokens)) do
// A block of up to four codes for ${count == 1 and "one token" or count .. " tokens"}: adds to sums, two vectors of int16 for every vector of rows and token.
static inline __attribute__((always_inline)) void ${name}_block_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int16x8_t *sums)
{
    const uint8x16_t nibble = vdupq_n_u8(15);
    const int8x16_t one = vdupq_n_s8(1);
    const int8x8_t thirty_one = vdup_n_s8(31);
% if count == 1 then
    (void)stride; // of one token
% end
% for offset = 0, 5 * rows - 1, 64 do part("part_prefetch_arm", { offset = offset, indent = "    " }) end
% for v = 0, vectors - 1 do
    int8x16_t signs${v} = vld1q_s8((const int8_t *)w${v > 0 and " + " .. 16 * v or ""});
%     for n = 0, count - 1 do
    int8x16_t low${v}_${n} = vdupq_n_s8(0), high${v}_${n} = vdupq_n_s8(0);
%     end
% end
    w += ${rows};
    for (uint32_t c = 0; c < codes; c++, w += ${rows}, table += TABLE_BYTES) {
% for v = 0, vectors - 1 do
        const uint8x16_t x${v} = vld1q_u8(${token("w", "", 0, 16 * v)});
%     for half = 0, 1 do
%         local id = v .. "_" .. half
        const uint8x16_t index${id} = ${half == 0 and ("vandq_u8(x%d, nibble)"):format(v) or ("vshrq_n_u8(x%d, 4)"):format(v)};
        const int8x16_t sign${id} = vorrq_s8(vshrq_n_s8(signs${v}, 7), one); // -1 or 1
        signs${v} = vshlq_n_s8(signs${v}, 1);
%         for n = 0, count - 1 do
%             local sum = v .. "_" .. n
        low${sum} = vmlaq_s8(low${sum}, look_up(${token("table", "stride", n, 32 * half)}, index${id}), sign${id});
        high${sum} = vmlaq_s8(high${sum}, look_up(${token("table", "stride", n, 32 * half + 16)}, index${id}), sign${id});
%         end
%     end
% end
    }
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
%         local id, at = v .. "_" .. n, 2 * (v * count + n)
%         for half, part_of in ipairs({ "low", "high" }) do
    sums[${at + half - 1}] = vmlal_s8(vaddw_s8(sums[${at + half - 1}], vget_${part_of}_s8(low${id})), vget_${part_of}_s8(high${id}), thirty_one);
%         end
%     end
% end
}

// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}: adds to y.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int32_t *y,
    size_t y_step)
{
% if count == 1 then
    (void)y_step; // of one token
% end
    while (codes > 0) {
        uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
        int16x8_t sums[${2 * vectors * count}];
        for (uint32_t i = 0; i < ${2 * vectors * count}; i++)
            sums[i] = vdupq_n_s16(0);
        for (; segment >= 4; segment -= 4, w += ${5 * rows}, table += 4 * TABLE_BYTES)
            ${name}_block_${count}(w, table, stride, 4, sums);
        if (segment > 0) ${name}_block_${count}(w, table, stride, segment, sums);
% -- Bytes 0-7 of a register are 8 rows in order, bytes 8-15 those 16 rows further: slot_of in layout_lut3.c.
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
%         local at, row = 2 * (v * count + n), v // 2 * 32 + v % 2 * 8
        widen(${token("y", "y_step", n, row)}, sums[${at}]);
        widen(${token("y", "y_step", n, row + 16)}, sums[${at + 1}]);
%     end
% end
    }
}

% end
% part("part_lut_run")

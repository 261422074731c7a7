// lut2 for NEON of Armv8.0: tbl looks up 16 rows at once in tables of 16 bytes; two planes give the low and the high
// byte of 16 sums, for either nibble.
//
// The planes are summed apart: low bytes, 0..255, widened to uint16 as they are added; high bytes, which are only -1, 0
// or 1, in an int8. Bound: a sum is at most 2 * 128 = 256 in size and a code adds two of them, so 63 codes stay within
// 63 * 2 = 126 in the high plane and 63 * 2 * 255 = 32130 in the low one. Segments of 63 codes are then joined and added
// to the int32 outputs, which stay in the first-level cache.
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 4 })

% part("part_lut2_tables")

// The nine sums of a pair: both digits of each nibble times the two activations. Entries beyond 8 have digits zero.
static inline void build_pair(const int8_t *q, uint8_t *table)
{
% local first, second = {}, {}
% for nibble = 0, 15 do
%     first[#first + 1] = nibble < 9 and nibble % 3 - 1 or 0
%     second[#second + 1] = nibble < 9 and nibble // 3 - 1 or 0
% end
    static const int8_t digits[2][16] = {{${table.concat(first, ", ")}},
                                         {${table.concat(second, ", ")}}};
    const int8x16_t d0 = vld1q_s8(digits[0]), d1 = vld1q_s8(digits[1]);
    const int8x16_t q0 = vdupq_n_s8(q[0]), q1 = vdupq_n_s8(q[1]);
    const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(d0), vget_low_s8(q0)), vget_low_s8(d1),
                                   vget_low_s8(q1));
    const int16x8_t high = vmlal_high_s8(vmull_high_s8(d0, q0), d1, q1);
    vst1q_s8((int8_t *)table, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    vst1q_s8((int8_t *)table + 16, vcombine_s8(vshrn_n_s16(low, 8), vshrn_n_s16(high, 8)));
}

static inline void build_table(const int8_t *q, uint8_t *table)
{
    build_pair(q, table);
    build_pair(q + 2, table + 32);
}

% part("part_lut_prepare", { code_length = 4 })

enum { SEGMENT = 63 }; // codes whose high bytes fit int8

// Sets the outputs of a scale group to zero, for each of `tokens` tokens.
static inline void start(int32_t *y, size_t y_step, uint32_t rows, uint32_t tokens)
{
    for (uint32_t n = 0; n < tokens; n++)
        memset(y + n * y_step, 0, rows * sizeof *y);
}

// Adds low + 256 * high to eight outputs. It fits int16 before it is widened: see the bound.
static inline void widen(int32_t *y, uint16x8_t low, int8x8_t high)
{
    const int16x8_t sums = vaddq_s16(vreinterpretq_s16_u16(low), vshll_n_s8(high, 8));
    vst1q_s32(y, vaddw_s16(vld1q_s32(y), vget_low_s16(sums)));
    vst1q_s32(y + 4, vaddw_high_s16(vld1q_s32(y + 4), sums));
}

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 16
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}: adds to y.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int32_t *y,
    size_t y_step)
{
    const uint8x16_t nibble = vdupq_n_u8(15);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

    while (codes > 0) {
        const uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
        uint16x8_t s${v}_${n} = vdupq_n_u16(0), t${v}_${n} = vdupq_n_u16(0);
        int8x16_t h${v}_${n} = vdupq_n_s8(0);
%     end
% end
        for (uint32_t c = 0; c < segment; c++, w += ${rows}, table += TABLE_BYTES) {
% for n = 0, count - 1 do
            const uint8x16_t low${n}a = vld1q_u8(${token("table", "stride", n, 0)}), high${n}a = vld1q_u8(${token("table", "stride", n, 16)});
            const uint8x16_t low${n}b = vld1q_u8(${token("table", "stride", n, 32)}), high${n}b = vld1q_u8(${token("table", "stride", n, 48)});
% end
% for v = 0, vectors - 1 do

            const uint8x16_t x${v} = vld1q_u8(${token("w", "", 0, 16 * v)});
%     if v % 4 == 0 then part("part_prefetch_arm", { offset = 16 * v, indent = "            " }) end
            const uint8x16_t a${v} = vandq_u8(x${v}, nibble), b${v} = vshrq_n_u8(x${v}, 4);
%     for n = 0, count - 1 do
%         local id = v .. "_" .. n
%         for _, half in ipairs({ "a", "b" }) do
            const uint8x16_t low${half}${id} = vqtbl1q_u8(low${n}${half}, ${half}${v});
            s${id} = vaddw_u8(s${id}, vget_low_u8(low${half}${id}));
            t${id} = vaddw_high_u8(t${id}, low${half}${id});
            h${id} = vaddq_s8(h${id}, vreinterpretq_s8_u8(vqtbl1q_u8(high${n}${half}, ${half}${v})));
%         end
%     end
% end
        }
% -- Bytes 0-7 of a register are 8 rows in order, bytes 8-15 those 16 rows further: slot_of in layout_lut2.c.
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
%         local row = v // 2 * 32 + v % 2 * 8
        widen(${token("y", "y_step", n, row)}, s${v}_${n}, vget_low_s8(h${v}_${n}));
        widen(${token("y", "y_step", n, row + 16)}, t${v}_${n}, vget_high_s8(h${v}_${n}));
%     end
% end
    }
}

% end
% part("part_lut_run")

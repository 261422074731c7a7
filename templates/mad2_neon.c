// mad2 for NEON of Armv8.0: smlal multiplies the fields 0, 1, 2 of four rows by four neighbouring activations each and
// adds the products to int16 sums. Fields are shifted down to bits 0 and 1 first, so all four share their sums. The
// fields hold w + 1, so the group's sum of activations is subtracted once.
//
// A sum belongs to one row and one of its four bytes; only when a segment ends, sadalp and addp join the four of a row.
//
// Bound: a product is at most 2 * 128 = 256 in size and a block adds four of them to an int16, so 31 blocks stay within
// 31 * 4 * 256 = 31744. What is widened cannot overflow: w + 1 times q may pass 2^31 on the way and wrap, but additions
// wrap exactly, and with the offset taken off the result is below 128 * K < 2^31 again.
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes", { block = 16 })

enum { SEGMENT = 31 }; // blocks whose sums fit int16

% part("part_broadcast_four", { vector = "int8x16_t", set = "vreinterpretq_s8_s32(vdupq_n_s32(%s))" })

% part("part_sum_of")

// Adds the eight int16 sums of rows 0 and 1 and the eight of rows 2 and 3 to four outputs.
static inline void widen(int32_t *y, int16x8_t low, int16x8_t high)
{
    const int32x4_t four = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
    vst1q_s32(y, vaddq_s32(vld1q_s32(y), four));
}

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 4
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const uint8x16_t three = vdupq_n_u8(3);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    const int32x4_t offset${n} = vdupq_n_s32(-sum_of(${token("sums", "stride", n, 0)}));
%     for v = 0, vectors - 1 do
    vst1q_s32(${token("y", "y_step", n, 4 * v)}, offset${n});
%     end
% end
    while (blocks > 0) {
        const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
        blocks -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
        int16x8_t s${v}_${n} = vdupq_n_s16(0), t${v}_${n} = vdupq_n_s16(0);
%     end
% end
        for (uint32_t b = 0; b < segment; b++, w += ${rows * 4}, q += 16) {
% for n = 0, count - 1 do
%     for f = 0, 3 do
            const int8x16_t q${n}_${f} = broadcast_four(${token("q", "stride", n, 4 * f)});
%     end
% end
% for v = 0, vectors - 1 do

            const uint8x16_t x${v} = vld1q_u8(${token("w", "", 0, 16 * v)});
%     if v % 4 == 0 then part("part_prefetch_arm", { offset = 16 * v, indent = "            " }) end
%     for f = 0, 3 do
%         local shifted = f == 0 and "x" .. v or ("vshrq_n_u8(x%d, %d)"):format(v, 2 * f)
%         local field = f == 3 and shifted or ("vandq_u8(%s, three)"):format(shifted)
            const int8x16_t w${v}_${f} = vreinterpretq_s8_u8(${field});
%         for n = 0, count - 1 do
            s${v}_${n} = vmlal_s8(s${v}_${n}, vget_low_s8(w${v}_${f}), vget_low_s8(q${n}_${f}));
            t${v}_${n} = vmlal_high_s8(t${v}_${n}, w${v}_${f}, q${n}_${f});
%         end
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
        widen(${token("y", "y_step", n, 4 * v)}, s${v}_${n}, t${v}_${n});
%     end
% end
    }
}

% end
% part("part_multiply_run")

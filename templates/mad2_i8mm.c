// mad2 for the matrix products of Arm's i8mm: usmmla multiplies two rows by two tokens, eight weights along K each, and
// adds the four results up in int32. The fields hold w + 1, so the group's sum of activations is subtracted once.
//
// A register of the layout holds four bytes of each of four rows, one field of four neighbours in them. Interleaving
// the fields f and f + 1 by 32 bits gives eight neighbours of two rows: what usmmla wants. Likewise the first or the
// last eight activations of a block of two tokens are one half each of their registers. So the weights of a block are
// decoded once for all tokens of the kernel, and a token that is left over is multiplied by sdot. With 16 tokens and
// more, they are decoded once for all tokens of the call.
//
// The sums hold w + 1 times q, up to 2 * 128 * K: they may pass 2^31 and wrap, but additions wrap exactly, and with the
// offset taken off the result is below 2^31 again.
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes", { block = 16 })

% part("part_sdot_helpers")

// Two fields of rows 0 and 1 (2 and 3) of a register: eight neighbours along K of each.
static inline uint8x16_t first_rows(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}
static inline uint8x16_t last_rows(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}

// The first (last) eight activations of a block of two tokens.
static inline int8x16_t first_eight(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_s8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}
static inline int8x16_t last_eight(uint8x16_t a, uint8x16_t b)
{
    return vreinterpretq_s8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

// Writes four rows of two tokens. first and last hold, for two rows each, both tokens side by side.
static inline void store_rows(int32_t *even, int32_t *odd, int32x4_t first, int32x4_t last)
{
    vst1q_s32(even, vuzp1q_s32(first, last));
    vst1q_s32(odd, vuzp2q_s32(first, last));
}

% part("part_outputs_in_memory")

// Blocks of 16 rows that are decoded at a time for many tokens: 16 KiB, which stay in the first-level cache.
enum { PANEL_BLOCKS = 64, PANEL_BLOCK_BYTES = 256 };

%% kernel
% local vectors = rows // 4
% local pairs = tokens // 2
% part("part_mad2_sdot")

% if tokens >= 16 then
% part("part_mad2_i8mm_panel")
% else
// One scale group of a tile for ${tokens} tokens: s<v>_<p> and t<v>_<p> are rows 4v, 4v + 1 and rows 4v + 2, 4v + 3 of tokens 2p
// and 2p + 1.
static inline void ${name}_${tokens}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const uint8x16_t three = vdupq_n_u8(3);

% for p = 0, pairs - 1 do
    const int32x2_t offset${p} = {-sum_of(${token("sums", "stride", 2 * p, 0)}), -sum_of(${token("sums", "stride", 2 * p + 1, 0)})};
    int32x4_t s0_${p} = vcombine_s32(offset${p}, offset${p}), t0_${p} = s0_${p};
% end
% for v = 1, vectors - 1 do
%     local names = {}
%     for p = 0, pairs - 1 do names[#names + 1] = ("s%d_%d = s0_%d, t%d_%d = s0_%d"):format(v, p, p, v, p, p) end
    int32x4_t ${table.concat(names, ", ")};
% end
    for (uint32_t b = 0; b < blocks; b++, w += ${rows * 4}, q += 16) {
% for p = 0, pairs - 1 do
        const uint8x16_t q${2 * p} = vld1q_u8(${token("q", "stride", 2 * p, 0)}), q${2 * p + 1} = vld1q_u8(${token("q", "stride", 2 * p + 1, 0)});
        const int8x16_t a${p} = first_eight(q${2 * p}, q${2 * p + 1}), b${p} = last_eight(q${2 * p}, q${2 * p + 1});
% end
% for v = 0, vectors - 1 do

        const uint8x16_t x${v} = vld1q_u8(${token("w", "", 0, 16 * v)});
%     if v % 4 == 0 then part("part_prefetch_arm", { offset = 16 * v, indent = "        " }) end
%     for f = 0, 3 do
%         local shifted = f == 0 and "x" .. v or ("vshrq_n_u8(x%d, %d)"):format(v, 2 * f)
        const uint8x16_t w${v}_${f} = ${f == 3 and shifted or ("vandq_u8(%s, three)"):format(shifted)};
%     end
%     for half, side in ipairs { "a", "b" } do
%         local f = 2 * half - 2
        const uint8x16_t first${v}${side} = first_rows(w${v}_${f}, w${v}_${f + 1});
        const uint8x16_t last${v}${side} = last_rows(w${v}_${f}, w${v}_${f + 1});
%         for p = 0, pairs - 1 do
        s${v}_${p} = vusmmlaq_s32(s${v}_${p}, first${v}${side}, ${side}${p});
        t${v}_${p} = vusmmlaq_s32(t${v}_${p}, last${v}${side}, ${side}${p});
%         end
%     end
% end
    }
% for p = 0, pairs - 1 do
%     for v = 0, vectors - 1 do
    store_rows(${token("y", "y_step", 2 * p, 4 * v)}, ${token("y", "y_step", 2 * p + 1, 4 * v)}, s${v}_${p}, t${v}_${p});
%     end
% end
}

% part("part_multiply_run")
% end

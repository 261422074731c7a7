// mad2 for the dot products of Armv8.2: sdot multiplies the fields 0, 1, 2 of four neighbours along K by four
// activations and adds them up in int32, four rows at once. Its by-element form takes the activations from one of the
// four parts of a register: the 16 of a block are loaded once and never broadcast. The fields hold w + 1, so the
// group's sum of activations is subtracted once.
//
// For one token fields are masked in place, for several they are shifted down and share their sums: see below.
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes", { block = 16 })

% part("part_sdot_helpers")

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 4
% part("part_mad2_sdot")
% if tokens > 1 then

// One scale group of a tile for ${tokens} tokens. All fields share their sums. These hold w + 1 times q, up to
// 2 * 128 * K: they may pass 2^31 and wrap, but additions wrap exactly, and with the offset taken off the result is
// below 2^31 again.
static inline void ${name}_${tokens}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const uint8x16_t three = vdupq_n_u8(3);

% for n = 0, tokens - 1 do
    int32x4_t s0_${n} = vdupq_n_s32(-sum_of(${token("sums", "stride", n, 0)}));
% end
% for v = 1, vectors - 1 do
%     local names = {}
%     for n = 0, tokens - 1 do names[#names + 1] = ("s%d_%d = s0_%d"):format(v, n, n) end
    int32x4_t ${table.concat(names, ", ")};
% end
    for (uint32_t b = 0; b < blocks; b++, w += ${rows * 4}, q += 16) {
% for n = 0, tokens - 1 do
        const int8x16_t q${n} = vreinterpretq_s8_u8(vld1q_u8(${token("q", "stride", n, 0)}));
% end
% for v = 0, vectors - 1 do

        const uint8x16_t x${v} = vld1q_u8(${token("w", "", 0, 16 * v)});
%     if v % 4 == 0 then part("part_prefetch_arm", { offset = 16 * v, indent = "        " }) end
%     for f = 0, 3 do
%         local shifted = f == 0 and "x" .. v or ("vshrq_n_u8(x%d, %d)"):format(v, 2 * f)
%         local field = f == 3 and shifted or ("vandq_u8(%s, three)"):format(shifted)
        const int8x16_t w${v}_${f} = vreinterpretq_s8_u8(${field});
%         for n = 0, tokens - 1 do
        s${v}_${n} = vdotq_laneq_s32(s${v}_${n}, w${v}_${f}, q${n}, ${f});
%         end
%     end
% end
    }
% for n = 0, tokens - 1 do
%     for v = 0, vectors - 1 do
    vst1q_s32(${token("y", "y_step", n, 4 * v)}, s${v}_${n});
%     end
% end
}
% end

% part("part_multiply_run")

% local dotprod = isa.name == "dotprod"
% local segment, largest = ({ 15, 10, 4, 2 })[bits], ({ 2, 3, 7, 15 })[bits]
% if dotprod then
// madq${bits} for the dot products of Armv8.2: sdot multiplies codes of four neighbours along K by four activations and adds them
// up in int32, four rows at once. Its by-element form takes the activations from one of the four parts of a register.
% else
// madq${bits} for NEON of Armv8.0: smlal multiplies codes of four rows by four neighbouring activations each and adds the
// products to int16 sums. Only when a segment ends, sadalp and addp join the four of a row.
% end
// ${bits == 1 and "The code is moved to bit 1, so that it counts 0 or 2; v is that" or "v is the code"} less ${1 << bits - 1}, so that much of the group's sum of activations is
// taken off: the outputs start with it.
//
% if not dotprod then
// Bound: a product is at most ${largest} * 128 in size and a block adds eight of them to an int16, so ${segment} blocks stay within
// ${segment} * 8 * ${largest * 128} = ${segment * 8 * largest * 128}.
% end
// Sums of codes times activations may pass 2^31 and wrap, but additions wrap exactly, and with the offset taken off the
// result is an int32 again.
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 32 })

% part("part_bytes", { block = 32 })

% part("part_madq_offset", { vector = "int32x4_t", set = "vdupq_n_s32" })
% if not dotprod then

enum { SEGMENT = ${segment} }; // blocks whose sums fit int16

% part("part_broadcast_four", { vector = "int8x16_t", set = "vreinterpretq_s8_s32(vdupq_n_s32(%s))" })

// Adds the eight int16 sums of rows 0 and 1 and the eight of rows 2 and 3 to four outputs.
static inline void widen(int32_t *y, int16x8_t low, int16x8_t high)
{
    const int32x4_t four = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
    vst1q_s32(y, vaddq_s32(vld1q_s32(y), four));
}

% part("part_outputs_in_memory")
% end

%% kernel
% local dotprod = isa.name == "dotprod"
% local vectors = rows // 4
% local pad = dotprod and "" or "    " -- inside the loop over segments
% -- 16 bytes of vector p of the block that four rows, the v-th, belong to.
% local function offset_of(v, p) return (v // 4 * bits + p) * 64 + v % 4 * 16 end
% -- Bits n and up of x, moved down to bit 0, or, for negative n, up by -n, and masked, but for a field of `width` bits at
% -- the top, which stands alone.
% local function field(x, n, width, mask)
%     if width and n + width == 8 then return ("vshrq_n_u8(%s, %d)"):format(x, n) end
%     local moved = n == 0 and x or n > 0 and ("vshrq_n_u8(%s, %d)"):format(x, n) or ("vshlq_n_u8(%s, %d)"):format(x, -n)
%     return ("vandq_u8(%s, %s)"):format(moved, mask)
% end
% local mask_byte = ({ 2, 3, 3, 15 })[bits]
% -- The codes of weights 4j .. 4j + 3, from the block's vectors x0, x1, ...
% local function codes(x, j)
%     if bits == 4 then return field(x .. j // 2, j % 2 * 4, 4, "mask") end
%     if bits == 2 then return field(x .. j // 4, j % 4 * 2, 2, "mask") end
%     if bits == 1 then return field(x .. 0, j - 1, nil, "mask") end
%     return ("vorrq_u8(%s, %s)"):format(field(x .. j // 4, j % 4 * 2, 2, "mask"), field(x .. 2, j - 2, nil, "third"))
% end
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const uint8x16_t mask = vdupq_n_u8(${mask_byte});
% if bits == 3 then
    const uint8x16_t third = vdupq_n_u8(4);
% end
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% if dotprod then
%     for n = 0, count - 1 do
    int32x4_t s0_${n} = offset_of(${token("sums", "stride", n, 0)});
%     end
%     for v = 1, vectors - 1 do
%         local names = {}
%         for n = 0, count - 1 do names[#names + 1] = ("s%d_%d = s0_%d"):format(v, n, n) end
    int32x4_t ${table.concat(names, ", ")};
%     end
% else
%     for n = 0, count - 1 do
    const int32x4_t offset${n} = offset_of(${token("sums", "stride", n, 0)});
%         for v = 0, vectors - 1 do
    vst1q_s32(${token("y", "y_step", n, 4 * v)}, offset${n});
%         end
%     end
    while (blocks > 0) {
${pad}    const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
${pad}    blocks -= segment;
${pad}    leave_outputs_in_memory();
%     for v = 0, vectors - 1 do
%         for n = 0, count - 1 do
${pad}    int16x8_t s${v}_${n} = vdupq_n_s16(0), t${v}_${n} = vdupq_n_s16(0);
%         end
%     end
% end
${pad}    for (uint32_t b = 0; b < ${dotprod and "blocks" or "segment"}; b++, w += ${rows * 4 * bits}, q += 32) {
% for n = 0, count - 1 do
%     if dotprod then
${pad}        const int8x16_t q${n}_0 = vld1q_s8((const int8_t *)(${token("q", "stride", n, 0)}));
${pad}        const int8x16_t q${n}_1 = vld1q_s8((const int8_t *)(${token("q", "stride", n, 16)}));
%     else
%         for j = 0, 7 do
${pad}        const int8x16_t q${n}_${j} = broadcast_four(${token("q", "stride", n, 4 * j)});
%         end
%     end
% end
% for v = 0, vectors - 1 do

%     for p = 0, bits - 1 do
${pad}        const uint8x16_t x${v}_${p} = vld1q_u8(${token("w", "", 0, offset_of(v, p))});
%         if v % 4 == 0 then part("part_prefetch_arm", { offset = offset_of(v, p), indent = pad .. "        " }) end
%     end
%     for j = 0, 7 do
${pad}        const int8x16_t c${v}_${j} = vreinterpretq_s8_u8(${codes("x" .. v .. "_", j)});
%         for n = 0, count - 1 do
%             if dotprod then
${pad}        s${v}_${n} = vdotq_laneq_s32(s${v}_${n}, c${v}_${j}, q${n}_${j // 4}, ${j % 4});
%             else
${pad}        s${v}_${n} = vmlal_s8(s${v}_${n}, vget_low_s8(c${v}_${j}), vget_low_s8(q${n}_${j}));
${pad}        t${v}_${n} = vmlal_high_s8(t${v}_${n}, c${v}_${j}, q${n}_${j});
%             end
%         end
%     end
% end
${pad}    }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
%         if dotprod then
${pad}    vst1q_s32(${token("y", "y_step", n, 4 * v)}, s${v}_${n});
%         else
${pad}    widen(${token("y", "y_step", n, 4 * v)}, s${v}_${n}, t${v}_${n});
%         end
%     end
% end
% if not dotprod then
    }
% end
}

% end
% part("part_multiply_run")

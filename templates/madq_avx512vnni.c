// madq${bits} for AVX512-VNNI: vpdpbusd multiplies unsigned codes of four neighbours along K by four broadcast activations and
// adds them up in int32, 16 rows at once. ${bits == 1 and "The code is moved to bit 1, so that it counts 0 or 2; " or ""}${bits == 1 and "v" or "v"} is the ${bits == 1 and "double" or "code"} less ${1 << bits - 1}, so that much of the group's sum of
// activations is taken off: the outputs start with it.
//
// Sums of codes times activations may pass 2^31 and wrap, but additions wrap exactly, and with the offset taken off the
// result is an int32 again.
#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 32 })

% part("part_bytes", { block = 32 })

% part("part_broadcast_four", { vector = "__m512i", set = "_mm512_set1_epi32(%s)" })

% part("part_madq_offset", { vector = "__m512i", set = "_mm512_set1_epi32" })

%% kernel
% local vectors = rows // 16
% local mask_byte = ({ 2, 3, 3, 15 })[bits]
% -- x shifted right by n bits inside its 16-bit lanes; left for negative n.
% local function shifted(x, n)
%     if n == 0 then return x end
%     return n > 0 and ("_mm512_srli_epi16(%s, %d)"):format(x, n) or ("_mm512_slli_epi16(%s, %d)"):format(x, -n)
% end
% local function masked(x, n, mask) return ("_mm512_and_si512(%s, %s)"):format(shifted(x, n), mask) end
% -- The codes of weights 4j .. 4j + 3, from the block's vectors x0, x1, ...
% local function codes(x, j)
%     if bits == 4 then return masked(x .. j // 2, j % 2 * 4, "mask") end
%     if bits == 2 then return masked(x .. j // 4, j % 4 * 2, "mask") end
%     if bits == 1 then return masked(x .. 0, j - 1, "mask") end
%     return ("_mm512_or_si512(%s, %s)"):format(masked(x .. j // 4, j % 4 * 2, "mask"), masked(x .. 2, j - 2, "third"))
% end
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const __m512i mask = _mm512_set1_epi8(${mask_byte});
% if bits == 3 then
    const __m512i third = _mm512_set1_epi8(4);
% end
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    __m512i s0_${n} = offset_of(${token("sums", "stride", n, 0)});
% end
% for v = 1, vectors - 1 do
%     local names = {}
%     for n = 0, count - 1 do names[#names + 1] = ("s%d_%d = s0_%d"):format(v, n, n) end
    __m512i ${table.concat(names, ", ")};
% end
    for (uint32_t b = 0; b < blocks; b++, w += ${rows * 4 * bits}, q += 32) {
% for v = 0, vectors - 1 do
%     for p = 0, bits - 1 do
%         local offset = 64 * (v * bits + p)
        const __m512i x${v}_${p} = _mm512_load_si512(${token("w", "", 0, offset)});
%         part("part_prefetch", { offset = offset, indent = "        " })
%     end
% end
% for j = 0, 7 do

%     for n = 0, count - 1 do
        const __m512i q${j}_${n} = broadcast_four(${token("q", "stride", n, 4 * j)});
%     end
%     for v = 0, vectors - 1 do
        const __m512i c${v}_${j} = ${codes("x" .. v .. "_", j)};
%         for n = 0, count - 1 do
        s${v}_${n} = _mm512_dpbusd_epi32(s${v}_${n}, c${v}_${j}, q${j}_${n});
%         end
%     end
% end
    }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
    _mm512_store_si512(${token("y", "y_step", n, 16 * v)}, s${v}_${n});
%     end
% end
}

% end
% part("part_multiply_run")

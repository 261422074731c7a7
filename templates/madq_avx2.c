% local segment = ({ 7, 5, 2, 1 })[bits]
% local largest = ({ 2, 3, 7, 15 })[bits]
// madq${bits} for AVX2: vpmaddubsw multiplies unsigned codes by activations and adds pairs into int16, 8 rows at once. ${bits == 1 and "The code is" or ""}
% if bits == 1 then
// moved to bit 1, so that it counts 0 or 2.
% end
// v is ${bits == 1 and "that" or "the code"} less ${1 << bits - 1}, so that much of the group's sum of activations is taken off: the outputs start with it.
//
// Bound: a pair is at most 2 * ${largest} * 128 = ${256 * largest} in size and a block adds eight of them to an int16, so ${segment == 1 and "one block stays" or segment .. " blocks stay"} within
// ${segment} * 8 * ${256 * largest} = ${segment * 8 * 256 * largest}. Then vpmaddwd by one widens them to int32. Those sums may pass 2^31 and wrap, but additions wrap
// exactly, and with the offset taken off the result is an int32 again.
% part("part_keep_order")

#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 32 })

% part("part_bytes", { block = 32 })

enum { SEGMENT = ${segment} }; // blocks whose sums fit int16

% part("part_broadcast_four", { vector = "__m256i", set = "_mm256_set1_epi32(%s)" })

% part("part_madq_offset", { vector = "__m256i", set = "_mm256_set1_epi32" })

// Adds the two int16 sums of each of 8 rows to y.
static inline void widen(int32_t *y, __m256i sums)
{
    const __m256i wide = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
    _mm256_store_si256((__m256i *)y, _mm256_add_epi32(_mm256_load_si256((const __m256i *)y), wide));
}

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 8
% local mask_byte = ({ 2, 3, 3, 15 })[bits]
% -- 32 bytes of vector p of the block that 8 rows, the v-th, belong to.
% local function offset_of(v, p) return (v // 2 * bits + p) * 64 + v % 2 * 32 end
% local function load(v, p)
%     local offset = offset_of(v, p)
%     return ("_mm256_load_si256((const __m256i *)%s)"):format(offset == 0 and "w" or "(w + " .. offset .. ")")
% end
% -- x shifted right by n bits inside its 16-bit lanes; left for negative n.
% local function shifted(x, n)
%     if n == 0 then return x end
%     return n > 0 and ("_mm256_srli_epi16(%s, %d)"):format(x, n) or ("_mm256_slli_epi16(%s, %d)"):format(x, -n)
% end
% local function masked(x, n, mask) return ("_mm256_and_si256(%s, %s)"):format(shifted(x, n), mask) end
% -- Codes j of a block, 0..7, that share a vector are taken one after the other.
% local per_vector = ({ 8, 4, 4, 2 })[bits]
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const __m256i mask = _mm256_set1_epi8(${mask_byte});
% if bits == 3 then
    const __m256i third = _mm256_set1_epi8(4);
% end
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    const __m256i offset${n} = offset_of(${token("sums", "stride", n, 0)});
%     for v = 0, vectors - 1 do
    _mm256_store_si256((__m256i *)(${token("y", "y_step", n, 8 * v)}), offset${n});
%     end
% end
    while (blocks > 0) {
        const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
        blocks -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     local names = {}
%     for n = 1, count - 1 do names[#names + 1] = (", s%d_%d = s%d_0"):format(v, n, v) end
        __m256i s${v}_0 = _mm256_setzero_si256()${table.concat(names)};
% end
        for (uint32_t b = 0; b < segment; b++, w += ${rows * 4 * bits}, q += 32) {
% if bits == 3 then
%     for v = 0, vectors - 1 do
            const __m256i z${v} = ${load(v, 2)};
%     end
% end
% for j = 0, 7 do
%     local p, first = j // per_vector, j % per_vector == 0

%     for v = 0, vectors - 1 do
%         if first then
            const __m256i x${v}_${p} = ${load(v, p)};
%             if v % 2 == 0 then part("part_prefetch", { offset = offset_of(v, p), indent = "            " }) end
%         end
%         local shift = bits == 1 and j - 1 or j % per_vector * bits
%         if bits == 3 then
            const __m256i c${v}_${j} = _mm256_or_si256(
                ${masked(("x%d_%d"):format(v, p), j % 4 * 2, "mask")},
                ${masked("z" .. v, j - 2, "third")});
%         else
            const __m256i c${v}_${j} = ${masked(("x%d_%d"):format(v, p), shift, "mask")};
%         end
%     end
%     for n = 0, count - 1 do
            const __m256i q${n}_${j} = broadcast_four(${token("q", "stride", n, 4 * j)});
%         for v = 0, vectors - 1 do
            s${v}_${n} = _mm256_add_epi16(s${v}_${n}, _mm256_maddubs_epi16(c${v}_${j}, q${n}_${j}));
%         end
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
        widen(${token("y", "y_step", n, 8 * v)}, s${v}_${n});
%     end
% end
    }
}

% end
% part("part_multiply_run")

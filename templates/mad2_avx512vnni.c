// mad2 for AVX512-VNNI: vpdpbusd multiplies the fields 0, 1, 2 of four neighbours along K by four broadcast activations
// and adds them up in int32, 16 rows at once. The fields hold w + 1, so the group's sum of activations is subtracted
// once.
//
// Two ways to a field:
//   mask   x & (3 << 2f), nothing shifted: field f's sums come out 4^f times too large. Each field has accumulators of
//          its own, shifted down when a segment ends, which is exact. The cheapest decode: four ANDs a block.
//   shift  (x >> 2f) & 3: all fields share an accumulator, which leaves registers for tall tiles or several tokens.
#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes16")

// Four activations in every 32-bit lane.
static inline __m512i broadcast_four(const uint8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

static inline int32_t sum_of(const uint8_t *sums)
{
    int32_t sum;
    memcpy(&sum, sums, sizeof sum);
    return sum;
}

// Adds a segment to 16 outputs, every field's sums shifted down to their size.
static inline void add_fields(int32_t *y, __m512i s0, __m512i s1, __m512i s2, __m512i s3)
{
    const __m512i even = _mm512_add_epi32(s0, _mm512_srai_epi32(s2, 4));
    const __m512i odd = _mm512_add_epi32(_mm512_srai_epi32(s1, 2), _mm512_srai_epi32(s3, 6));
    const __m512i segment = _mm512_add_epi32(even, odd);
    _mm512_store_si512(y, _mm512_add_epi32(_mm512_load_si512(y), segment));
}

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 16
% local masked = vectors * tokens <= 4
% -- A pointer to token n's data, `offset` elements on.
% local function token(pointer, stride, n, offset)
%     local text = pointer
%     if n == 1 then text = text .. " + " .. stride elseif n > 1 then text = text .. (" + %d * %s"):format(n, stride) end
%     return offset > 0 and text .. " + " .. offset or text
% end
% local function masked_group()
// One scale group of a tile for one token. A block adds at most 4 * (2 << 6) * 128 = 2^16 to a sum of field 3, the
// largest, so a segment of 2^14 blocks stays within 2^30. (The outputs may pass 2^31 between segments and wrap: additions
// wrap exactly, and the last one is below 2^31 again.)
static inline void ${name}_1(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    enum { SEGMENT = 1 << 14 };
    const __m512i field0 = _mm512_set1_epi8(3), field1 = _mm512_set1_epi8(3 << 2);
    const __m512i field2 = _mm512_set1_epi8(3 << 4), field3 = _mm512_set1_epi8((char)(3 << 6));
    (void)stride, (void)y_step; // of one token

    const __m512i offset = _mm512_set1_epi32(-sum_of(sums));
% for v = 0, vectors - 1 do
    _mm512_store_si512(${token("y", "", 0, 16 * v)}, offset);
% end
    while (blocks > 0) {
        const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
        blocks -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
        __m512i s${v}_0 = _mm512_setzero_si512();
        __m512i s${v}_1 = s${v}_0, s${v}_2 = s${v}_0, s${v}_3 = s${v}_0;
% end
        for (uint32_t b = 0; b < segment; b++, w += ${rows * 4}, q += 16) {
            const __m512i q0 = broadcast_four(q), q1 = broadcast_four(q + 4);
            const __m512i q2 = broadcast_four(q + 8), q3 = broadcast_four(q + 12);
% for v = 0, vectors - 1 do
            const __m512i x${v} = _mm512_load_si512(${token("w", "", 0, 64 * v)});
%     part("part_prefetch", { offset = 64 * v, indent = "            " })
%     for f = 0, 3 do
            s${v}_${f} = _mm512_dpbusd_epi32(s${v}_${f}, _mm512_and_si512(x${v}, field${f}), q${f});
%     end
% end
        }
% for v = 0, vectors - 1 do
        add_fields(${token("y", "", 0, 16 * v)}, s${v}_0, s${v}_1, s${v}_2, s${v}_3);
% end
    }
}
% end
% local function shifted_group(count)
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}. The sums hold w + 1 times q, up to 2 * 128 * K: they may pass
// 2^31 and wrap, but additions wrap exactly, and with the offset taken off the result is below 2^31 again.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const __m512i three = _mm512_set1_epi8(3);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    __m512i s0_${n} = _mm512_set1_epi32(-sum_of(${token("sums", "stride", n, 0)}));
% end
% for v = 1, vectors - 1 do
%     local names = {}
%     for n = 0, count - 1 do names[#names + 1] = ("s%d_%d = s0_%d"):format(v, n, n) end
    __m512i ${table.concat(names, ", ")};
% end
    for (uint32_t b = 0; b < blocks; b++, w += ${rows * 4}, q += 16) {
% for v = 0, vectors - 1 do
        const __m512i x${v} = _mm512_load_si512(${token("w", "", 0, 64 * v)});
%     part("part_prefetch", { offset = 64 * v, indent = "        " })
%     for f = 0, 3 do
%         local shifted = f == 0 and "x" .. v or ("_mm512_srli_epi16(x%d, %d)"):format(v, 2 * f)
        const __m512i w${v}_${f} = _mm512_and_si512(${shifted}, three);
%         for n = 0, count - 1 do
        s${v}_${n} = _mm512_dpbusd_epi32(s${v}_${n}, w${v}_${f}, broadcast_four(${token("q", "stride", n, 4 * f)}));
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
% if masked then
%     masked_group()
% else
%     shifted_group(1)
%     if tokens > 1 then

%         shifted_group(tokens)
%     end
% end

% part("part_mad2_run")

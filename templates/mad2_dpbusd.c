% local lanes = isa.bytes // 4
// mad2 by vpdpbusd, for ${isa.name}: it multiplies the fields 0, 1, 2 of four neighbours along K by four broadcast activations
// and adds them up in int32, ${lanes} rows at once. The fields hold w + 1, so the group's sum of activations is subtracted
// once.
//
// Two ways to a field:
//   mask   x & (3 << 2f), nothing shifted: field f's sums come out 4^f times too large. Each field has accumulators of
//          its own, shifted down when a segment ends, which is exact. The cheapest decode: four ANDs a block.
//   shift  (x >> 2f) & 3: all fields share an accumulator, which leaves registers for tall tiles or several tokens, and with
//          vectors of 32 bytes, of which there are 16, is the only one.
#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes", { block = 16 })

% part("part_vector")

${isa.bytes == 64 and "#define vector_dot _mm512_dpbusd_epi32" or "#define vector_dot _mm256_dpbusd_avx_epi32"}
#define vector_shift_down32(x, count) ${isa.bytes == 64 and "_mm512" or "_mm256"}_srai_epi32(x, count)

% part("part_broadcast_four", { vector = "vector", set = "vector_set32(%s)" })

% part("part_sum_of")

% if isa.bytes == 64 then
// Adds a segment to ${lanes} outputs, every field's sums shifted down to their size.
static inline void add_fields(int32_t *y, vector s0, vector s1, vector s2, vector s3)
{
    const vector even = vector_add32(s0, vector_shift_down32(s2, 4));
    const vector odd = vector_add32(vector_shift_down32(s1, 2), vector_shift_down32(s3, 6));
    const vector segment = vector_add32(even, odd);
    vector_store(y, vector_add32(vector_load(y), segment));
}

% part("part_outputs_in_memory")
% end

%% kernel
% local lanes = isa.bytes // 4
% local vectors = rows // lanes
% local masked = vectors * tokens <= 4 and isa.bytes == 64
% if masked then
// One scale group of a tile for one token. A block adds at most 4 * (2 << 6) * 128 = 2^16 to a sum of field 3, the
// largest, so a segment of 2^14 blocks stays within 2^30. (The outputs may pass 2^31 between segments and wrap: additions
// wrap exactly, and the last one is below 2^31 again.)
static inline void ${name}_1(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    enum { SEGMENT = 1 << 14 };
    const vector field0 = vector_set8(3), field1 = vector_set8(3 << 2);
    const vector field2 = vector_set8(3 << 4), field3 = vector_set8((int8_t)(3 << 6));
    (void)stride, (void)y_step; // of one token

    const vector offset = vector_set32(-sum_of(sums));
% for v = 0, vectors - 1 do
    vector_store(${token("y", "", 0, lanes * v)}, offset);
% end
    while (blocks > 0) {
        const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
        blocks -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
        vector s${v}_0 = vector_zero();
        vector s${v}_1 = s${v}_0, s${v}_2 = s${v}_0, s${v}_3 = s${v}_0;
% end
        for (uint32_t b = 0; b < segment; b++, w += ${rows * 4}, q += 16) {
            const vector q0 = broadcast_four(q), q1 = broadcast_four(q + 4);
            const vector q2 = broadcast_four(q + 8), q3 = broadcast_four(q + 12);
% for v = 0, vectors - 1 do
            const vector x${v} = vector_load(${token("w", "", 0, isa.bytes * v)});
%     if isa.bytes * v % 64 == 0 then part("part_prefetch", { offset = isa.bytes * v, indent = "            " }) end
%     for f = 0, 3 do
            s${v}_${f} = vector_dot(s${v}_${f}, vector_and(x${v}, field${f}), q${f});
%     end
% end
        }
% for v = 0, vectors - 1 do
        add_fields(${token("y", "", 0, lanes * v)}, s${v}_0, s${v}_1, s${v}_2, s${v}_3);
% end
    }
}
% else
%     for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}. The sums hold w + 1 times q, up to 2 * 128 * K: they may pass
// 2^31 and wrap, but additions wrap exactly, and with the offset taken off the result is below 2^31 again.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const vector three = vector_set8(3);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    vector s0_${n} = vector_set32(-sum_of(${token("sums", "stride", n, 0)}));
% end
% for v = 1, vectors - 1 do
%     local names = {}
%     for n = 0, count - 1 do names[#names + 1] = ("s%d_%d = s0_%d"):format(v, n, n) end
    vector ${table.concat(names, ", ")};
% end
    for (uint32_t b = 0; b < blocks; b++, w += ${rows * 4}, q += 16) {
% for v = 0, vectors - 1 do
        const vector x${v} = vector_load(${token("w", "", 0, isa.bytes * v)});
%     if isa.bytes * v % 64 == 0 then part("part_prefetch", { offset = isa.bytes * v, indent = "        " }) end
%     for f = 0, 3 do
%         local shifted = f == 0 and "x" .. v or ("vector_shift_down16(x%d, %d)"):format(v, 2 * f)
        const vector w${v}_${f} = vector_and(${shifted}, three);
%         for n = 0, count - 1 do
        s${v}_${n} = vector_dot(s${v}_${n}, w${v}_${f}, broadcast_four(${token("q", "stride", n, 4 * f)}));
%         end
%     end
% end
    }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
    vector_store(${token("y", "y_step", n, lanes * v)}, s${v}_${n});
%     end
% end
}

%     end
% end

% part("part_multiply_run")

% local lanes = isa.bytes // 4
// mad2 by vpmaddubsw, for ${isa.name}: it multiplies the fields 0, 1, 2 by activations and adds pairs into int16, ${lanes} rows at once. The
// fields hold w + 1, so the group's sum of activations is subtracted once.
//
// Every field is shifted down to bits 0 and 1 first. (Left in place, the top field would reach 2 << 6 = 128, and
// 2 * 128 * 128 does not fit int16.)
//
// Bound: a pair is at most 2 * 2 * 128 = 512 in size and a block adds four of them to an int16, so 15 blocks stay within
// 15 * 4 * 512 = 30720. Then vpmaddwd by one widens them to int32, which cannot overflow: w + 1 times q may pass 2^31 on
// the way and wrap, but additions wrap exactly, and with the offset taken off the result is below 128 * K < 2^31 again.
% part("part_keep_order")

#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 16 })

% part("part_bytes", { block = 16 })

% part("part_vector")

enum { SEGMENT = 15 }; // blocks whose sums fit int16

% part("part_broadcast_four", { vector = "vector", set = "vector_set32(%s)" })

% part("part_sum_of")

// Adds the two int16 sums of each of ${lanes} rows to y.
static inline void widen(int32_t *y, vector sums)
{
    vector_store(y, vector_add32(vector_load(y), vector_madd16(sums, vector_set16(1))));
}

% part("part_outputs_in_memory")

%% kernel
% local lanes = isa.bytes // 4
% local vectors = rows // lanes
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    const vector three = vector_set8(3);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    const vector offset${n} = vector_set32(-sum_of(${token("sums", "stride", n, 0)}));
%     for v = 0, vectors - 1 do
    vector_store(${token("y", "y_step", n, lanes * v)}, offset${n});
%     end
% end
    while (blocks > 0) {
        const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
        blocks -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     local names = {}
%     for n = 1, count - 1 do names[#names + 1] = (", s%d_%d = s%d_0"):format(v, n, v) end
        vector s${v}_0 = vector_zero()${table.concat(names)};
% end
        for (uint32_t b = 0; b < segment; b++, w += ${rows * 4}, q += 16) {
% for v = 0, vectors - 1 do
            const vector x${v} = vector_load(${v == 0 and "w" or "w + " .. isa.bytes * v});
%     if isa.bytes * v % 64 == 0 then part("part_prefetch", { offset = isa.bytes * v, indent = "            " }) end
% end
% -- Field by field, so that a broadcast is used by all rows and then forgotten: there are only 16 registers before AVX-512.
% for f = 0, 3 do

%     for v = 0, vectors - 1 do
%         local shifted = f == 0 and "x" .. v or ("vector_shift_down16(x%d, %d)"):format(v, 2 * f)
            const vector w${v}_${f} = vector_and(${shifted}, three);
%     end
%     for n = 0, count - 1 do
            const vector q${n}_${f} = broadcast_four(${token("q", "stride", n, 4 * f)});
%         for v = 0, vectors - 1 do
            s${v}_${n} = vector_add16(s${v}_${n}, vector_maddubs(w${v}_${f}, q${n}_${f}));
%         end
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
        widen(${token("y", "y_step", n, lanes * v)}, s${v}_${n});
%     end
% end
    }
}

% end
% part("part_multiply_run")

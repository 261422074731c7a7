% local wide = isa.bytes == 32
% local p = wide and "_mm256" or "_mm"
// lut3 by pshufb, for ${isa.name}: it looks up ${isa.bytes} rows at once in tables of 16 bytes; two planes give a low and a high digit
// of ${isa.bytes} sums, sum = low + 31 high, and psignb negates both where the sign is set.
//
// Bounds: a block has at most 8 triples, so bytes take |low| <= 8 * 15 = 120 and |high| <= 8 * 12 = 96. vpmaddubsw then
// joins them, low + 31 high, to int16, at most 8 * 3 * 128 = 3072 in size; ten blocks, 30720, fit an int16. Segments of
// ten blocks are widened into the int32 outputs, which stay in the first-level cache.
% part("part_keep_order")

#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 6 })

% part("part_lut3_strides")

% part("part_lut3_tables")

% part("part_pshufb")

// The sums of a triple: vpmaddubsw multiplies digits plus one by activations and adds pairs; the sum of the activations,
// taken off, makes up for the plus one. Digits beyond 13 are zero. vpmulhrsw divides by 31 and rounds: 1057 / 32768 is
// 1/31 to 3e-5, and no sum is nearer to a tie than 0.5 / 31.
static inline void build_triple(const int8_t *q, uint8_t *table)
{
% local first, second = {}, {}
% for v = 0, 15 do
%     first[#first + 1], first[#first + 2] = digit(v, 0, 13) + 1, digit(v, 1, 13) + 1
%     second[#second + 1], second[#second + 2] = digit(v, 2, 13) + 1, 0
% end
    int16_t pair;
    memcpy(&pair, q, sizeof pair);
% local columns = wide and 32 or 16
% for half = 0, wide and 0 or 1 do
%     local function digits(list) return table.concat(list, ", ", 1 + 16 * half, 16 * half + columns) end
%     local type = wide and "__m256i" or "__m128i"
    const ${type} first${half} = ${p}_setr_epi8(${digits(first)});
    const ${type} second${half} = ${p}_setr_epi8(${digits(second)});
% end
    const vector q01 = vector_set16(pair), q2 = vector_set16((int16_t)(uint8_t)q[2]);
    const vector offset = vector_set16((int16_t)(q[0] + q[1] + q[2]));
% for half = 0, wide and 0 or 1 do
    const vector all${half} = vector_add16(vector_maddubs(first${half}, q01), vector_maddubs(second${half}, q2));
    const vector sums${half} = ${p}_sub_epi16(all${half}, offset);
    const vector high${half} = ${p}_mulhrs_epi16(sums${half}, vector_set16(1057));
    const vector low${half} = ${p}_sub_epi16(sums${half}, ${p}_mullo_epi16(high${half}, vector_set16(31)));
% end
% if wide then
    // The pack gives, lane by lane, 8 low and 8 high digits; the permutation joins the lanes.
    const __m256i planes = _mm256_packs_epi16(low0, high0);
    vector_store(table, _mm256_permute4x64_epi64(planes, _MM_SHUFFLE(3, 1, 2, 0)));
% else
    vector_store(table, _mm_packs_epi16(low0, low1));
    vector_store(table + 16, _mm_packs_epi16(high0, high1));
% end
}

static inline void build_table(const int8_t *q, uint8_t *table)
{
    build_triple(q, table);
    build_triple(q + 3, table + 32);
}

% part("part_lut_prepare", { code_length = 6 })

enum { SEGMENT = 40 }; // codes, ten blocks, whose sums fit int16

// Sets the outputs of a scale group to zero, for each of `tokens` tokens.
static inline void start(int32_t *y, size_t y_step, uint32_t rows, uint32_t tokens)
{
    for (uint32_t n = 0; n < tokens; n++)
        memset(y + n * y_step, 0, rows * sizeof *y);
}

#define vector_add8(a, b)       ${p}_add_epi8(a, b)
#define vector_or(a, b)         ${p}_or_${wide and "si256" or "si128"}(a, b)
#define vector_negate(x, signs) ${p}_sign_epi8(x, signs)

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // isa.bytes
% local wide = isa.bytes == 32
% -- The layout permutes 32 rows for vectors of 32 bytes; halves of that hold every other eight.
% local function low_rows(v) return wide and 32 * v or v // 2 * 32 + v % 2 * 8 end
% for _, count in ipairs(block_sizes(tokens)) do
// A block of up to four codes for ${count == 1 and "one token" or count .. " tokens"}: adds to sums, two vectors of int16 for every vector of rows and token.
static inline __attribute__((always_inline)) void ${name}_block_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, vector *sums)
{
    const vector nibble = vector_set8(15), positive = vector_set8(1);
    const vector weights = vector_set16(1 | 31 << 8); // of low and high digits
% if count == 1 then
    (void)stride; // of one token
% end
% for offset = 0, 5 * rows - 1, 64 do part("part_prefetch", { offset = offset, indent = "    " }) end
% for v = 0, vectors - 1 do
    vector signs${v} = vector_load(${v == 0 and "w" or "w + " .. isa.bytes * v});
%     for n = 0, count - 1 do
    vector low${v}_${n} = vector_zero(), high${v}_${n} = vector_zero();
%     end
% end
    w += ${rows};
    for (uint32_t c = 0; c < codes; c++, w += ${rows}, table += TABLE_BYTES) {
% for v = 0, vectors - 1 do
        const vector x${v} = vector_load(${v == 0 and "w" or "w + " .. isa.bytes * v});
%     for half = 0, 1 do
%         local id = v .. "_" .. half
        const vector index${id} = vector_and(${half == 0 and "x" .. v or ("vector_shift_down16(x%d, 4)"):format(v)}, nibble);
        const vector sign${id} = vector_or(signs${v}, positive); // negative or positive, not zero
        signs${v} = vector_add8(signs${v}, signs${v});
%         for n = 0, count - 1 do
%             local sum = v .. "_" .. n
        low${sum} = vector_add8(low${sum}, vector_negate(vector_look_up(plane(${token("table", "stride", n, 32 * half)}), index${id}), sign${id}));
        high${sum} = vector_add8(high${sum}, vector_negate(vector_look_up(plane(${token("table", "stride", n, 32 * half + 16)}), index${id}), sign${id}));
%         end
%     end
% end
    }
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
%         local id, at = v .. "_" .. n, 2 * (v * count + n)
    sums[${at}] = vector_add16(sums[${at}], vector_maddubs(weights, vector_join_low(low${id}, high${id})));
    sums[${at + 1}] = vector_add16(sums[${at + 1}], vector_maddubs(weights, vector_join_high(low${id}, high${id})));
%     end
% end
}

// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}: adds to y.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int32_t *y,
    size_t y_step)
{
% if count == 1 then
    (void)y_step; // of one token
% end
    while (codes > 0) {
        uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
        vector sums[${2 * vectors * count}];
        for (uint32_t i = 0; i < ${2 * vectors * count}; i++)
            sums[i] = vector_zero();
        for (; segment >= 4; segment -= 4, w += ${5 * rows}, table += 4 * TABLE_BYTES)
            ${name}_block_${count}(w, table, stride, 4, sums);
        if (segment > 0) ${name}_block_${count}(w, table, stride, segment, sums);
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
%         local at = 2 * (v * count + n)
        widen(${token("y", "y_step", n, low_rows(v))}, sums[${at}]);
        widen(${token("y", "y_step", n, low_rows(v) + 16)}, sums[${at + 1}]);
%     end
% end
    }
}

% end
% part("part_lut_run")

% local wide = isa.bytes == 32
// lut2 by pshufb, for ${isa.name}: it looks up ${isa.bytes} rows at once in tables of 16 bytes; two planes give the low and the high byte of 32
// sums, for either nibble.
//
// Bound: a sum is at most 2 * 128 = 256 in size and a code adds two of them to an int16, so 63 codes stay within
// 63 * 2 * 256 = 32256. Segments of 63 codes are then widened into the int32 outputs, which stay in the first-level
// cache.
% part("part_keep_order")

#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 4 })

% part("part_lut2_tables")

// The nine sums of a pair: vpmaddubsw multiplies digits plus one by the two activations and adds; their sum, taken off,
// makes up for the plus one. Entries beyond 8 have digits zero.
static inline void build_pair(const int8_t *q, uint8_t *table)
{
% local row = {}
% for nibble = 0, 15 do
%     row[#row + 1] = nibble < 9 and nibble % 3 or 1
%     row[#row + 1] = nibble < 9 and nibble // 3 or 1
% end
    int16_t pair;
    memcpy(&pair, q, sizeof pair);
% if wide then
    const __m256i digits = _mm256_setr_epi8(${table.concat(row, ", ", 1, 16)},
                                            ${table.concat(row, ", ", 17, 32)});
    const __m256i sums = _mm256_sub_epi16(_mm256_maddubs_epi16(digits, _mm256_set1_epi16(pair)),
                                          _mm256_set1_epi16((int16_t)(q[0] + q[1])));
    // The pack gives, lane by lane, 8 low and 8 high bytes; the permutation joins the lanes.
    const __m256i planes = _mm256_packus_epi16(_mm256_and_si256(sums, _mm256_set1_epi16(255)),
                                               _mm256_srli_epi16(sums, 8));
    _mm256_store_si256((__m256i *)table, _mm256_permute4x64_epi64(planes, _MM_SHUFFLE(3, 1, 2, 0)));
% else
    const __m128i first = _mm_setr_epi8(${table.concat(row, ", ", 1, 16)});
    const __m128i second = _mm_setr_epi8(${table.concat(row, ", ", 17, 32)});
    const __m128i q01 = _mm_set1_epi16(pair), offset = _mm_set1_epi16((int16_t)(q[0] + q[1]));
    const __m128i a = _mm_sub_epi16(_mm_maddubs_epi16(first, q01), offset);
    const __m128i b = _mm_sub_epi16(_mm_maddubs_epi16(second, q01), offset);
    const __m128i low_byte = _mm_set1_epi16(255);
    _mm_store_si128((__m128i *)table,
                    _mm_packus_epi16(_mm_and_si128(a, low_byte), _mm_and_si128(b, low_byte)));
    _mm_store_si128((__m128i *)(table + 16),
                    _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8)));
% end
}

static inline void build_table(const int8_t *q, uint8_t *table)
{
    build_pair(q, table);
    build_pair(q + 2, table + 32);
}

% part("part_lut_prepare", { code_length = 4 })

enum { SEGMENT = 63 }; // codes whose sums fit int16

// Sets the outputs of a scale group to zero, for each of `tokens` tokens.
static inline void start(int32_t *y, size_t y_step, uint32_t rows, uint32_t tokens)
{
    for (uint32_t n = 0; n < tokens; n++)
        memset(y + n * y_step, 0, rows * sizeof *y);
}

% part("part_pshufb")

% part("part_outputs_in_memory")

%% kernel
% local wide = isa.bytes == 32
% local vectors = rows // isa.bytes
% -- The layout permutes 32 rows for vectors of 32 bytes; halves of that hold every other eight.
% local function low_rows(v) return wide and 32 * v or v // 2 * 32 + v % 2 * 8 end
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}: adds to y.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int32_t *y,
    size_t y_step)
{
    const vector nibble = vector_set8(15);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

    while (codes > 0) {
        const uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
        vector s${v}_${n} = vector_zero(), t${v}_${n} = vector_zero();
%     end
% end
        for (uint32_t c = 0; c < segment; c++, w += ${rows}, table += TABLE_BYTES) {
% if count == 1 then
            const vector low0a = plane(table), high0a = plane(table + 16);
            const vector low0b = plane(table + 32), high0b = plane(table + 48);
% end
% for v = 0, vectors - 1 do
            const vector x${v} = vector_load(${v == 0 and "w" or "w + " .. isa.bytes * v});
%     if isa.bytes * v % 64 == 0 then part("part_prefetch", { offset = isa.bytes * v, indent = "            " }) end
            const vector a${v} = vector_and(x${v}, nibble);
            const vector b${v} = vector_and(vector_shift_down16(x${v}, 4), nibble);
%     for n = 0, count - 1 do
%         local id = v .. "_" .. n
%         for _, half in ipairs({ "a", "b" }) do
%             local function name_of(p, o) return count == 1 and ("%s0%s"):format(p, half) or ("plane(%s)"):format(token("table", "stride", n, o + (half == "b" and 32 or 0))) end
            const vector low${half}${id} = vector_look_up(${name_of("low", 0)}, ${half}${v});
            const vector high${half}${id} = vector_look_up(${name_of("high", 16)}, ${half}${v});
            s${id} = vector_add16(s${id}, vector_join_low(low${half}${id}, high${half}${id}));
            t${id} = vector_add16(t${id}, vector_join_high(low${half}${id}, high${half}${id}));
%         end
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
        widen(${token("y", "y_step", n, low_rows(v))}, s${v}_${n});
        widen(${token("y", "y_step", n, low_rows(v) + 16)}, t${v}_${n});
%     end
% end
    }
}

% end
% part("part_lut_run")

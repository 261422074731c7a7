// lut2 for AVX2: vpshufb looks up 32 rows at once in tables of 16 bytes; two planes give the low and the high byte of 32
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
    const __m256i digits = _mm256_setr_epi8(${table.concat(row, ", ", 1, 16)},
                                            ${table.concat(row, ", ", 17, 32)});
    int16_t pair;
    memcpy(&pair, q, sizeof pair);
    const __m256i sums = _mm256_sub_epi16(_mm256_maddubs_epi16(digits, _mm256_set1_epi16(pair)),
                                          _mm256_set1_epi16((int16_t)(q[0] + q[1])));
    // The pack gives, lane by lane, 8 low and 8 high bytes; the permutation joins the lanes.
    const __m256i planes = _mm256_packus_epi16(_mm256_and_si256(sums, _mm256_set1_epi16(255)),
                                               _mm256_srli_epi16(sums, 8));
    _mm256_store_si256((__m256i *)table, _mm256_permute4x64_epi64(planes, _MM_SHUFFLE(3, 1, 2, 0)));
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

// A plane of 16 bytes in both lanes.
static inline __m256i plane(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)table));
}

// Adds 16 int16 sums to 16 outputs.
static inline void widen(int32_t *y, __m256i sums)
{
    __m256i *at = (__m256i *)y;
    const __m256i first = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums));
    const __m256i second = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1));
    _mm256_store_si256(at, _mm256_add_epi32(_mm256_load_si256(at), first));
    _mm256_store_si256(at + 1, _mm256_add_epi32(_mm256_load_si256(at + 1), second));
}

% part("part_outputs_in_memory")

%% kernel
% local vectors = rows // 32
% local function token(pointer, stride, n, offset)
%     local text = pointer
%     if n == 1 then text = text .. " + " .. stride elseif n > 1 then text = text .. (" + %d * %s"):format(n, stride) end
%     return offset > 0 and text .. " + " .. offset or text
% end
% local function group(count)
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}: adds to y.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int32_t *y,
    size_t y_step)
{
    const __m256i nibble = _mm256_set1_epi8(15);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

    while (codes > 0) {
        const uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
        __m256i s${v}_${n} = _mm256_setzero_si256(), t${v}_${n} = _mm256_setzero_si256();
%     end
% end
        for (uint32_t c = 0; c < segment; c++, w += ${rows}, table += TABLE_BYTES) {
% if count == 1 then
            const __m256i low0a = plane(table), high0a = plane(table + 16);
            const __m256i low0b = plane(table + 32), high0b = plane(table + 48);
% end
% for v = 0, vectors - 1 do
            const __m256i x${v} = _mm256_load_si256((const __m256i *)${v == 0 and "w" or "(w + " .. 32 * v .. ")"});
%     if v % 2 == 0 then part("part_prefetch", { offset = 32 * v, indent = "            " }) end
            const __m256i a${v} = _mm256_and_si256(x${v}, nibble);
            const __m256i b${v} = _mm256_and_si256(_mm256_srli_epi16(x${v}, 4), nibble);
%     for n = 0, count - 1 do
%         local id = v .. "_" .. n
%         for _, half in ipairs({ "a", "b" }) do
%             local function name_of(p, o) return count == 1 and ("%s0%s"):format(p, half) or ("plane(%s)"):format(token("table", "stride", n, o + (half == "b" and 32 or 0))) end
            const __m256i low${half}${id} = _mm256_shuffle_epi8(${name_of("low", 0)}, ${half}${v});
            const __m256i high${half}${id} = _mm256_shuffle_epi8(${name_of("high", 16)}, ${half}${v});
            s${id} = _mm256_add_epi16(s${id}, _mm256_unpacklo_epi8(low${half}${id}, high${half}${id}));
            t${id} = _mm256_add_epi16(t${id}, _mm256_unpackhi_epi8(low${half}${id}, high${half}${id}));
%         end
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
        widen(${token("y", "y_step", n, 32 * v)}, s${v}_${n});
        widen(${token("y", "y_step", n, 32 * v + 16)}, t${v}_${n});
%     end
% end
    }
}
% end
% group(1)
% if tokens > 1 then

%     group(tokens)
% end

% part("part_lut_run")

% local gfni = isa.name == "avx512gfni"
// lut5 for AVX512-VBMI: vpermi2b looks up 64 rows at once in a plane of 128 bytes, ignoring bit 7; two planes give the low
// and the high byte of 64 sums.
//
// A negative code wants the negated sum. Its sign bit is spread over the byte (${gfni and "a bit matrix product that copies bit 7" or "a mask of the sign bits that becomes bytes of ones"}
// ${gfni and "to all bits" or "and zeros"}) and XORed onto both planes: the one's complement, -sum - 1. The missing ones are a constant of the row
// and the scale group, counted when the tile was packed: sums start from that count.
//
// Bound: a sum is at most 5 * 128 in size, one more by the complement; an int16 takes 50 of them, 50 * 641 = 32050.
// Segments of 50 codes are then widened into the int32 outputs, which stay in the first-level cache.
#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 5 })

// Prepared activations "lut5": for each code, the sums of its five activations under every non-negative code v as int16
// in two planes: 128 low bytes, then 128 high bytes. Entries 122..127 are zero.
enum { TABLE_BYTES = 256 };

// The digits of v, plus one, in pairs: digits[h][i][p] holds the pairs (2p, 2p + 1) of 32 values of v in the half h of
// the table; the two vectors i = 0, 1 are those that a lane-wise pack puts in order: i = 0 has v = 0..7, 16..23, 32..39,
// 48..55 of its half, i = 1 the others.
static const uint8_t digits[2][2][3][64] __attribute__((aligned(64))) = {
% for h = 0, 1 do
    {
%     for i = 0, 1 do
        {
%         for p = 0, 2 do
            {
%             for lane = 0, 3 do
%                 local row = {}
%                 for k = 0, 7 do
%                     local v = h * 64 + lane * 16 + i * 8 + k
%                     row[#row + 1] = digit(v, 2 * p, 121) + 1
%                     row[#row + 1] = p < 2 and digit(v, 2 * p + 1, 121) + 1 or 0
%                 end
                ${table.concat(row, ", ")},
%             end
            },
%         end
        },
%     end
    },
% end
};

// The table of one code. vpmaddubsw multiplies digits plus one by activations and adds pairs (at most 512 in size); the
// sum of the activations, taken off, makes up for the plus one.
static inline void build_table(const int8_t *q, uint8_t *table)
{
    int16_t first, second;
    memcpy(&first, q, sizeof first);
    memcpy(&second, q + 2, sizeof second);
    const __m512i q01 = _mm512_set1_epi16(first), q23 = _mm512_set1_epi16(second);
    const __m512i q4 = _mm512_set1_epi16((int16_t)(uint8_t)q[4]); // times digit 4, and zero
    const __m512i offset = _mm512_set1_epi16((int16_t)(q[0] + q[1] + q[2] + q[3] + q[4]));
    const __m512i low_byte = _mm512_set1_epi16(255);
% for h = 0, 1 do
%     for i = 0, 1 do
%         local at = ("digits[%d][%d]"):format(h, i)
%         local v = 2 * h + i
    const __m512i a${v} = _mm512_maddubs_epi16(_mm512_load_si512(${at}[0]), q01);
    const __m512i b${v} = _mm512_maddubs_epi16(_mm512_load_si512(${at}[1]), q23);
    const __m512i c${v} = _mm512_maddubs_epi16(_mm512_load_si512(${at}[2]), q4);
    const __m512i s${v} =
        _mm512_add_epi16(_mm512_add_epi16(a${v}, b${v}), _mm512_sub_epi16(c${v}, offset));
%     end
%     local s, t = "s" .. 2 * h, "s" .. 2 * h + 1
    const __m512i low${h} =
        _mm512_packus_epi16(_mm512_and_si512(${s}, low_byte), _mm512_and_si512(${t}, low_byte));
    const __m512i high${h} =
        _mm512_packus_epi16(_mm512_srli_epi16(${s}, 8), _mm512_srli_epi16(${t}, 8));
    _mm512_store_si512(${h == 0 and "table" or "table + 64"}, low${h});
    _mm512_store_si512(table + ${128 + 64 * h}, high${h});
% end
}

% part("part_lut_prepare", { code_length = 5 })

enum { SEGMENT = 50 }; // codes whose sums fit int16

// Sets the outputs of a scale group to the number of negative codes, for each of `tokens` tokens.
static inline void start(const uint8_t *counts, size_t count_bytes, int32_t *y, size_t y_step,
                         uint32_t rows, uint32_t tokens)
{
    for (uint32_t r = 0; r < rows; r += 16) {
        const __m512i count = count_bytes == 1
            ? _mm512_cvtepu8_epi32(_mm_load_si128((const __m128i *)(counts + r)))
            : _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)(counts + 2 * r)));
        for (uint32_t n = 0; n < tokens; n++)
            _mm512_store_si512(y + n * y_step + r, count);
    }
}

// Adds 32 int16 sums to 32 outputs.
static inline void widen(int32_t *y, __m512i sums)
{
    const __m512i first = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(sums));
    const __m512i second = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64(sums, 1));
    _mm512_store_si512(y, _mm512_add_epi32(_mm512_load_si512(y), first));
    _mm512_store_si512(y + 16, _mm512_add_epi32(_mm512_load_si512(y + 16), second));
}

% part("part_outputs_in_memory")

%% kernel
% local gfni = isa.name == "avx512gfni"
% for _, count in ipairs(block_sizes(tokens)) do
% for _, height in ipairs(heights(rows, span)) do
% local vectors = height // 64
// One scale group of ${height == rows and "a tile" or height .. " rows of a tile"} for ${count == 1 and "one token" or count .. " tokens"}: adds to y.
static inline void ${name}_${count}_r${height}(
    const uint8_t *w, const uint8_t *table, size_t stride, uint32_t codes, int32_t *y,
    size_t y_step)
{
% if gfni then
    const __m512i bit7_to_all = _mm512_set1_epi64((long long)0x8080808080808080);
% end
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

    while (codes > 0) {
        const uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
%     for n = 0, count - 1 do
        __m512i s${v}_${n} = _mm512_setzero_si512(), t${v}_${n} = _mm512_setzero_si512();
%     end
% end
        for (uint32_t c = 0; c < segment; c++, w += ${rows}, table += TABLE_BYTES) {
% for n = 0, count - 1 do
            const __m512i low${n}a = _mm512_load_si512(${token("table", "stride", n, 0)});
            const __m512i low${n}b = _mm512_load_si512(${token("table", "stride", n, 64)});
            const __m512i high${n}a = _mm512_load_si512(${token("table", "stride", n, 128)});
            const __m512i high${n}b = _mm512_load_si512(${token("table", "stride", n, 192)});
% end
% for v = 0, vectors - 1 do

            const __m512i x${v} = _mm512_load_si512(${token("w", "", 0, 64 * v)});
%     part("part_prefetch", { offset = 64 * v, indent = "            " })
            const __m512i sign${v} = ${gfni and "_mm512_gf2p8affine_epi64_epi8(x" .. v .. ", bit7_to_all, 0)" or "_mm512_movm_epi8(_mm512_movepi8_mask(x" .. v .. "))"};
%     for n = 0, count - 1 do
%         local id = v .. "_" .. n
            const __m512i low${id} =
                _mm512_xor_si512(_mm512_permutex2var_epi8(low${n}a, x${v}, low${n}b), sign${v});
            const __m512i high${id} =
                _mm512_xor_si512(_mm512_permutex2var_epi8(high${n}a, x${v}, high${n}b), sign${v});
            s${id} = _mm512_add_epi16(s${id}, _mm512_unpacklo_epi8(low${id}, high${id}));
            t${id} = _mm512_add_epi16(t${id}, _mm512_unpackhi_epi8(low${id}, high${id}));
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
        widen(${token("y", "y_step", n, 64 * v)}, s${v}_${n});
        widen(${token("y", "y_step", n, 64 * v + 32)}, t${v}_${n});
%     end
% end
    }
}

% end
% end
% part("part_lut_run")

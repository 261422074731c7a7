% local width = isa.bytes
% local size = 8 * width
// bits${bits} for ${width == 32 and "AVX2" or "AVX-512"}: vpshufb looks up ${width} rows at once in tables of 16 bytes, one lookup a nibble and byte plane.
% part("part_bits_bounds")
% part("part_keep_order")

#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 8 })

% part("part_bits_build")

% part("part_bits_prepare")

typedef __m${size}i vector;

static inline vector load(const uint8_t *w)
{
    return _mm${size}_load_si${size}((const vector *)w);
}

static inline vector bytes_of(int8_t value)
{
    return _mm${size}_set1_epi8(value);
}

static inline vector low_nibbles(vector x)
{
    return _mm${size}_and_si${size}(x, bytes_of(15));
}

static inline vector high_nibbles(vector x)
{
    return low_nibbles(_mm${size}_srli_epi16(x, 4));
}

static inline vector look_up(vector table, vector nibbles)
{
    return _mm${size}_shuffle_epi8(table, nibbles);
}

static inline vector interleave_low(vector low, vector high)
{
    return _mm${size}_unpacklo_epi8(low, high);
}

static inline vector interleave_high(vector low, vector high)
{
    return _mm${size}_unpackhi_epi8(low, high);
}

static inline vector add(vector a, vector b)
{
    return _mm${size}_add_epi16(a, b);
}

% if width == 32 then
// A plane of 16 bytes in both lanes.
static inline vector plane(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)table));
}

// Adds 8 int16 sums, shifted up, to 8 outputs.
static inline void widen_eight(int32_t *y, __m128i sums, int shift)
{
    const __m256i wide = _mm256_slli_epi32(_mm256_cvtepi16_epi32(sums), shift);
    _mm256_store_si256((__m256i *)y, _mm256_add_epi32(_mm256_load_si256((const __m256i *)y), wide));
}

// Adds the sums of rows 0..15 and 16..31, shifted up, to 32 outputs.
static inline void widen(int32_t *y, vector s, vector t, int shift)
{
    widen_eight(y, _mm256_castsi256_si128(s), shift);
    widen_eight(y + 8, _mm256_extracti128_si256(s, 1), shift);
    widen_eight(y + 16, _mm256_castsi256_si128(t), shift);
    widen_eight(y + 24, _mm256_extracti128_si256(t, 1), shift);
}
% else
// A plane of 16 bytes in all four lanes.
static inline vector plane(const uint8_t *table)
{
    return _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)table));
}

// Adds 16 int16 sums, shifted up, to 16 outputs.
static inline void widen_sixteen(int32_t *y, __m256i sums, unsigned shift)
{
    const __m512i wide = _mm512_slli_epi32(_mm512_cvtepi16_epi32(sums), shift);
    _mm512_store_si512(y, _mm512_add_epi32(_mm512_load_si512(y), wide));
}

// Adds the sums of rows 0..15 and 32..47 (s), 16..31 and 48..63 (t), shifted up, to 64 outputs.
static inline void widen(int32_t *y, vector s, vector t, unsigned shift)
{
    widen_sixteen(y, _mm512_castsi512_si256(s), shift);
    widen_sixteen(y + 16, _mm512_castsi512_si256(t), shift);
    widen_sixteen(y + 32, _mm512_extracti64x4_epi64(s, 1), shift);
    widen_sixteen(y + 48, _mm512_extracti64x4_epi64(t, 1), shift);
}
% end

% part("part_bits_start")

% part("part_outputs_in_memory")

%% kernel
% part("part_bits_kernel", { width = isa.bytes })

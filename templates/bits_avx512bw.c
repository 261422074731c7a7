// bits${bits} for AVX-512: vpshufb looks up 64 rows at once in tables of 16 bytes, one lookup a nibble and byte plane.
% part("part_bits_bounds")
% part("part_keep_order")

#include <immintrin.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 8 })

% part("part_bits_build")

% part("part_bits_prepare")

typedef __m512i vector;

static inline vector load(const uint8_t *w)
{
    return _mm512_load_si512((const vector *)w);
}

static inline vector bytes_of(int8_t value)
{
    return _mm512_set1_epi8(value);
}

static inline vector and_of(vector a, vector b)
{
    return _mm512_and_si512(a, b);
}

// The high nibble of every byte in its low one; what is above it is to be masked.
static inline vector high_nibbles(vector x)
{
    return _mm512_srli_epi16(x, 4);
}

static inline vector look_up(vector table, vector nibbles)
{
    return _mm512_shuffle_epi8(table, nibbles);
}

static inline vector interleave_low(vector low, vector high)
{
    return _mm512_unpacklo_epi8(low, high);
}

static inline vector interleave_high(vector low, vector high)
{
    return _mm512_unpackhi_epi8(low, high);
}

static inline vector add(vector a, vector b)
{
    return _mm512_add_epi16(a, b);
}

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

% part("part_bits_start")

% part("part_outputs_in_memory")

%% kernel
% part("part_bits_kernel", { width = 64 })

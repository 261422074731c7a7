// 16 float lanes in two AVX2 registers. See lanes_scalar.h for what each operation means.
#ifndef TMAC_RUNTIME_LANES_H
#define TMAC_RUNTIME_LANES_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct lanes {
    __m256 low, high; // lanes 0-7, 8-15
} lanes;

static inline lanes lanes_pair(__m256 low, __m256 high)
{
    return (lanes){low, high};
}
static inline lanes lanes_set(float value)
{
    return lanes_pair(_mm256_set1_ps(value), _mm256_set1_ps(value));
}
static inline lanes lanes_load(const float *p)
{
    return lanes_pair(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}
static inline void lanes_store(float *p, lanes a)
{
    _mm256_storeu_ps(p, a.low);
    _mm256_storeu_ps(p + 8, a.high);
}
static inline lanes lanes_load_part(const float *p, uint32_t count)
{
    float whole[16] = {0};
    memcpy(whole, p, count * sizeof *p);
    return lanes_load(whole);
}
static inline void lanes_store_part(float *p, lanes a, uint32_t count)
{
    if (count == 16) {
        lanes_store(p, a);
        return;
    }
    float whole[16];
    lanes_store(whole, a);
    memcpy(p, whole, count * sizeof *p);
}
static inline lanes lanes_load_f16(const uint16_t *p)
{
    return lanes_pair(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
static inline lanes lanes_load_bf16(const uint16_t *p)
{
    __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p + 8)));
    return lanes_pair(_mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
                      _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)));
}
static inline lanes lanes_load_f16_part(const uint16_t *p, uint32_t count)
{
    uint16_t whole[16] = {0};
    memcpy(whole, p, count * sizeof *p);
    return lanes_load_f16(whole);
}
static inline lanes lanes_load_bf16_part(const uint16_t *p, uint32_t count)
{
    uint16_t whole[16] = {0};
    memcpy(whole, p, count * sizeof *p);
    return lanes_load_bf16(whole);
}
static inline lanes lanes_load_i8(const int8_t *p)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return lanes_pair(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                      _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8))));
}
static inline lanes lanes_load_i8_part(const int8_t *p, uint32_t count)
{
    int8_t whole[16] = {0};
    memcpy(whole, p, count);
    return lanes_load_i8(whole);
}
static inline void lanes_store_f16_part(uint16_t *p, lanes a, uint32_t count)
{
    uint16_t whole[16], *to = count == 16 ? p : whole;
    _mm_storeu_si128((__m128i *)to, _mm256_cvtps_ph(a.low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i *)(to + 8), _mm256_cvtps_ph(a.high, _MM_FROUND_TO_NEAREST_INT));
    if (count < 16) memcpy(p, whole, count * sizeof *p);
}
static inline lanes lanes_from_int(const int32_t *p)
{
    return lanes_pair(_mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)p)),
                      _mm256_cvtepi32_ps(_mm256_loadu_si256((const __m256i *)(p + 8))));
}
static inline void lanes_store_int8_part(int8_t *p, lanes magic_sum, uint32_t count)
{
    __m256i bias = _mm256_set1_epi32(0x4b400000);
    __m256i low = _mm256_sub_epi32(_mm256_castps_si256(magic_sum.low), bias);
    __m256i high = _mm256_sub_epi32(_mm256_castps_si256(magic_sum.high), bias);
    // packs works within 128-bit halves: 0-3 8-11 | 4-7 12-15, put in order by the permutation
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
    __m128i bytes =
        _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    int8_t whole[16];
    _mm_storeu_si128((__m128i *)(count == 16 ? p : whole), bytes);
    if (count < 16) memcpy(p, whole, count);
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return lanes_pair(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high));
}
static inline lanes lanes_subtract(lanes a, lanes b)
{
    return lanes_pair(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high));
}
static inline lanes lanes_multiply(lanes a, lanes b)
{
    return lanes_pair(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high));
}
static inline lanes lanes_divide(lanes a, lanes b)
{
    return lanes_pair(_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high));
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return lanes_pair(_mm256_fmadd_ps(a.low, b.low, c.low),
                      _mm256_fmadd_ps(a.high, b.high, c.high));
}
static inline lanes lanes_max(lanes a, lanes b)
{
    return lanes_pair(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high));
}
static inline lanes lanes_min(lanes a, lanes b)
{
    return lanes_pair(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high));
}
static inline lanes lanes_absolute(lanes a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return lanes_pair(_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high));
}
static inline __m256 lanes_raise_half(__m256 a, __m256 magic_sum)
{
    __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(magic_sum), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}
static inline lanes lanes_raise(lanes a, lanes magic_sum)
{
    return lanes_pair(lanes_raise_half(a.low, magic_sum.low),
                      lanes_raise_half(a.high, magic_sum.high));
}
static inline lanes lanes_zero_below(lanes a, lanes x, float limit)
{
    __m256 bound = _mm256_set1_ps(limit);
    return lanes_pair(_mm256_and_ps(a.low, _mm256_cmp_ps(x.low, bound, _CMP_GE_OQ)),
                      _mm256_and_ps(a.high, _mm256_cmp_ps(x.high, bound, _CMP_GE_OQ)));
}
static inline __m128 lanes_fold(lanes a, int maximum)
{
    __m256 eight = maximum ? _mm256_max_ps(a.low, a.high) : _mm256_add_ps(a.low, a.high);
    __m128 left = _mm256_castps256_ps128(eight), right = _mm256_extractf128_ps(eight, 1);
    __m128 four = maximum ? _mm_max_ps(left, right) : _mm_add_ps(left, right);
    __m128 swapped = _mm_movehl_ps(four, four);
    __m128 two = maximum ? _mm_max_ps(four, swapped) : _mm_add_ps(four, swapped);
    __m128 second = _mm_movehdup_ps(two);
    return maximum ? _mm_max_ss(two, second) : _mm_add_ss(two, second);
}
static inline float lanes_sum(lanes a)
{
    return _mm_cvtss_f32(lanes_fold(a, 0));
}
static inline float lanes_maximum(lanes a)
{
    return _mm_cvtss_f32(lanes_fold(a, 1));
}

#endif

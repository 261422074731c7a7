// 16 float lanes in one AVX-512 register. See lanes_scalar.h for what each operation means.
#ifndef TMAC_RUNTIME_LANES_H
#define TMAC_RUNTIME_LANES_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 lanes;

static inline lanes lanes_set(float value)
{
    return _mm512_set1_ps(value);
}
static inline lanes lanes_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes a)
{
    _mm512_storeu_ps(p, a);
}
static inline __mmask16 lanes_mask(uint32_t count)
{
    return (__mmask16)((1u << count) - 1u);
}
static inline lanes lanes_load_part(const float *p, uint32_t count)
{
    return _mm512_maskz_loadu_ps(lanes_mask(count), p);
}
static inline void lanes_store_part(float *p, lanes a, uint32_t count)
{
    _mm512_mask_storeu_ps(p, lanes_mask(count), a);
}
static inline lanes lanes_load_f16(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline lanes lanes_load_f16_part(const uint16_t *p, uint32_t count)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes_mask(count), p));
}
static inline lanes lanes_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline lanes lanes_load_bf16_part(const uint16_t *p, uint32_t count)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes_mask(count), p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline lanes lanes_load_i8(const int8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline lanes lanes_load_i8_part(const int8_t *p, uint32_t count)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes_mask(count), p)));
}
static inline void lanes_store_f16_part(uint16_t *p, lanes a, uint32_t count)
{
    __m256i half = _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_mask_storeu_epi16(p, lanes_mask(count), half);
}
static inline lanes lanes_from_int(const int32_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_loadu_si512(p));
}
static inline void lanes_store_int8_part(int8_t *p, lanes magic_sum, uint32_t count)
{
    __m512i whole = _mm512_sub_epi32(_mm512_castps_si512(magic_sum), _mm512_set1_epi32(0x4b400000));
    _mm_mask_storeu_epi8(p, lanes_mask(count), _mm512_cvtsepi32_epi8(whole));
}
static inline lanes lanes_add(lanes a, lanes b)
{
    return _mm512_add_ps(a, b);
}
static inline lanes lanes_subtract(lanes a, lanes b)
{
    return _mm512_sub_ps(a, b);
}
static inline lanes lanes_multiply(lanes a, lanes b)
{
    return _mm512_mul_ps(a, b);
}
static inline lanes lanes_divide(lanes a, lanes b)
{
    return _mm512_div_ps(a, b);
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline lanes lanes_max(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}
static inline lanes lanes_min(lanes a, lanes b)
{
    return _mm512_min_ps(a, b);
}
static inline lanes lanes_absolute(lanes a)
{
    return _mm512_abs_ps(a);
}
static inline lanes lanes_raise(lanes a, lanes magic_sum)
{
    __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(magic_sum), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), exponent));
}
static inline lanes lanes_zero_below(lanes a, lanes x, float limit)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_GE_OQ), a);
}
static inline __m128 lanes_fold(lanes a, int maximum)
{
    __m256 low = _mm512_castps512_ps256(a), high = _mm512_extractf32x8_ps(a, 1);
    __m256 eight = maximum ? _mm256_max_ps(low, high) : _mm256_add_ps(low, high);
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

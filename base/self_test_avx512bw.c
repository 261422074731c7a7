#include "base/self_test.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <immintrin.h>

static __m512i load(uint8_t raw[64], const volatile uint8_t *from)
{
    for (int i = 0; i < 64; i++)
        raw[i] = from[i];
    return _mm512_loadu_si512(raw);
}

// BW: masked byte subtraction, vpshufb on zmm; DQ: 64-bit products; F: the fused float operation.
static bool lanes(const tmac_self_test_bytes *in)
{
    uint8_t raw[2][64], less[64], looked_up[64];
    const __m512i a = load(raw[0], in->a), b = load(raw[1], in->b);
    const __mmask64 odd = _mm512_test_epi8_mask(b, _mm512_set1_epi8(1));
    _mm512_storeu_si512(less, _mm512_mask_sub_epi8(a, odd, a, b));
    _mm512_storeu_si512(looked_up, _mm512_shuffle_epi8(a, b));
    uint64_t product[8];
    _mm512_storeu_si512(product, _mm512_mullo_epi64(a, b));
    for (int i = 0; i < 64; i++) {
        uint8_t x = in->a[i], y = in->b[i];
        if (less[i] != (uint8_t)(y & 1 ? x - y : x)) return false;
        if (looked_up[i] != (y & 0x80 ? 0 : in->a[(i & 48) + (y & 15)])) return false;
    }
    for (int i = 0; i < 8; i++) {
        uint64_t x = 0, y = 0;
        for (int j = 0; j < 8; j++) {
            x |= (uint64_t)in->a[8 * i + j] << (8 * j);
            y |= (uint64_t)in->b[8 * i + j] << (8 * j);
        }
        if (product[i] != x * y) return false;
    }
    return true;
}

// (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 when fused and 0 when rounded in between.
static bool fused(const tmac_self_test_bytes *in)
{
    const float one = (float)(in->a[0] - in->a[0] + 1);
    const float x = one + 0x1p-12f, y = -(one + 0x1p-11f);
    float result[16];
    _mm512_storeu_ps(result,
                     _mm512_fmadd_ps(_mm512_set1_ps(x), _mm512_set1_ps(x), _mm512_set1_ps(y)));
    for (int i = 0; i < 16; i++)
        if (result[i] != 0x1p-24f) return false;
    return true;
}

bool tmac_self_test_avx512bw(const tmac_self_test_bytes *in)
{
    return lanes(in) && fused(in);
}

#else

bool tmac_self_test_avx512bw(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

#include "base/self_test.h"

#if defined(__GFNI__) && defined(__AVX512BW__)

#include <immintrin.h>

static __m512i load(uint8_t raw[64], const volatile uint8_t *from)
{
    for (int i = 0; i < 64; i++)
        raw[i] = from[i];
    return _mm512_loadu_si512(raw);
}

bool tmac_self_test_avx512gfni(const tmac_self_test_bytes *in)
{
    uint8_t raw[2][64], affine[64], product[64];
    const __m512i a = load(raw[0], in->a), b = load(raw[1], in->b);
    // Every row of the matrix selects bit 7: the sign, spread over the byte.
    const __m512i sign = _mm512_set1_epi8((char)0x80);
    _mm512_storeu_si512(affine, _mm512_gf2p8affine_epi64_epi8(a, sign, 0));
    _mm512_storeu_si512(product, _mm512_gf2p8mul_epi8(a, b));
    for (int i = 0; i < 64; i++) {
        if (affine[i] != (in->a[i] & 0x80 ? 0xff : 0)) return false;
        // Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
        unsigned x = in->a[i], y = in->b[i], expected = 0;
        for (; y; y >>= 1, x = x & 0x80 ? (x << 1 ^ 0x11b) : x << 1)
            if (y & 1) expected ^= x;
        if (product[i] != expected) return false;
    }
    return true;
}

#else

bool tmac_self_test_avx512gfni(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

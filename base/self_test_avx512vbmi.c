#include "base/self_test.h"

#if defined(__AVX512VBMI__) && defined(__AVX512BW__)

#include <immintrin.h>

static __m512i load(uint8_t raw[64], const volatile uint8_t *from)
{
    for (int i = 0; i < 64; i++)
        raw[i] = from[i];
    return _mm512_loadu_si512(raw);
}

bool tmac_self_test_avx512vbmi(const tmac_self_test_bytes *in)
{
    uint8_t raw[3][64], two[64], one[64];
    const __m512i a = load(raw[0], in->a), b = load(raw[1], in->b), c = load(raw[2], in->c);
    _mm512_storeu_si512(two, _mm512_permutex2var_epi8(a, c, b));
    _mm512_storeu_si512(one, _mm512_permutexvar_epi8(c, a));
    for (int i = 0; i < 64; i++) {
        uint8_t index = in->c[i];
        if (two[i] != (index & 64 ? in->b[index & 63] : in->a[index & 63])) return false;
        if (one[i] != in->a[index & 63]) return false;
    }
    return true;
}

#else

bool tmac_self_test_avx512vbmi(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

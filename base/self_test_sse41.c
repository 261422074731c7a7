#include "base/self_test.h"

#if defined(__SSE4_1__)

#include <smmintrin.h>

bool tmac_self_test_sse41(const tmac_self_test_bytes *in)
{
    uint8_t raw[2][16], highest[16];
    int32_t wide[4];
    for (int i = 0; i < 16; i++) {
        raw[0][i] = in->a[i];
        raw[1][i] = in->b[i];
    }
    const __m128i a = _mm_loadu_si128((const __m128i *)raw[0]);
    const __m128i b = _mm_loadu_si128((const __m128i *)raw[1]);
    _mm_storeu_si128((__m128i *)highest, _mm_max_epi8(a, b));
    _mm_storeu_si128((__m128i *)wide, _mm_cvtepi8_epi32(a));
    for (int i = 0; i < 16; i++) {
        const int8_t x = (int8_t)in->a[i], y = (int8_t)in->b[i];
        if ((int8_t)highest[i] != (x > y ? x : y)) return false;
    }
    for (int i = 0; i < 4; i++)
        if (wide[i] != (int8_t)in->a[i]) return false;
    return true;
}

#else

bool tmac_self_test_sse41(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

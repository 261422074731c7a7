#include "base/self_test.h"

#if defined(__SSSE3__)

#include <tmmintrin.h>

bool tmac_self_test_ssse3(const tmac_self_test_bytes *in)
{
    uint8_t raw[2][16], looked_up[16];
    int16_t products[8];
    for (int i = 0; i < 16; i++) {
        raw[0][i] = in->a[i];
        raw[1][i] = in->b[i];
    }
    const __m128i a = _mm_loadu_si128((const __m128i *)raw[0]);
    const __m128i b = _mm_loadu_si128((const __m128i *)raw[1]);
    _mm_storeu_si128((__m128i *)looked_up, _mm_shuffle_epi8(a, b));
    _mm_storeu_si128((__m128i *)products, _mm_maddubs_epi16(a, b));
    for (int i = 0; i < 16; i++) {
        const uint8_t index = in->b[i];
        if (looked_up[i] != (index & 0x80 ? 0 : in->a[index & 15])) return false;
    }
    for (int i = 0; i < 8; i++) {
        int sum = in->a[2 * i] * (int8_t)in->b[2 * i] + in->a[2 * i + 1] * (int8_t)in->b[2 * i + 1];
        sum = sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
        if (products[i] != sum) return false;
    }
    return true;
}

#else

bool tmac_self_test_ssse3(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

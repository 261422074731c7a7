#include "base/self_test.h"

#if defined(__AVX2__) && defined(__AVXVNNI__)

#include <immintrin.h>

bool tmac_self_test_avxvnni(const tmac_self_test_bytes *in)
{
    uint8_t raw[3][32];
    for (int i = 0; i < 32; i++) {
        raw[0][i] = in->a[i];
        raw[1][i] = in->b[i];
        raw[2][i] = in->c[i];
    }
    int32_t sums[8];
    _mm256_storeu_si256((__m256i *)sums,
                        _mm256_dpbusd_avx_epi32(_mm256_loadu_si256((const __m256i *)raw[2]),
                                                _mm256_loadu_si256((const __m256i *)raw[0]),
                                                _mm256_loadu_si256((const __m256i *)raw[1])));
    for (int i = 0; i < 8; i++) {
        uint32_t sum = 0;
        for (int j = 0; j < 4; j++) {
            sum += (uint32_t)in->c[4 * i + j] << (8 * j);
            sum += (uint32_t)(in->a[4 * i + j] * (int8_t)in->b[4 * i + j]);
        }
        if ((uint32_t)sums[i] != sum) return false;
    }
    return true;
}

#else

bool tmac_self_test_avxvnni(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

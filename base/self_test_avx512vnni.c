#include "base/self_test.h"

#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512VNNI__)

#include <immintrin.h>

static __m512i load(uint8_t raw[64], const volatile uint8_t *from)
{
    for (int i = 0; i < 64; i++)
        raw[i] = from[i];
    return _mm512_loadu_si512(raw);
}

// vpdpbusd on zmm and, with VL, on ymm.
static bool dots(const tmac_self_test_bytes *in)
{
    uint8_t raw[3][64];
    const __m512i a = load(raw[0], in->a), b = load(raw[1], in->b), c = load(raw[2], in->c);
    int32_t wide[16], narrow[8];
    _mm512_storeu_si512(wide, _mm512_dpbusd_epi32(c, a, b));
    _mm256_storeu_si256((__m256i *)narrow,
                        _mm256_dpbusd_epi32(_mm512_castsi512_si256(c), _mm512_castsi512_si256(a),
                                            _mm512_castsi512_si256(b)));
    for (int i = 0; i < 16; i++) {
        uint32_t sum = 0;
        for (int j = 0; j < 4; j++) {
            sum += (uint32_t)in->c[4 * i + j] << (8 * j);
            sum += (uint32_t)(in->a[4 * i + j] * (int8_t)in->b[4 * i + j]);
        }
        if ((uint32_t)wide[i] != sum || (i < 8 && (uint32_t)narrow[i] != sum)) return false;
    }
    return true;
}

bool tmac_self_test_avx512vnni(const tmac_self_test_bytes *in)
{
    return dots(in);
}

#else

bool tmac_self_test_avx512vnni(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

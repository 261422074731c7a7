#include "base/self_test.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__BMI2__)

#include <immintrin.h>

static void copy(uint8_t *to, const volatile uint8_t *from, int count)
{
    for (int i = 0; i < count; i++)
        to[i] = from[i];
}

static bool integers(const tmac_self_test_bytes *in)
{
    uint8_t raw_a[32], raw_b[32];
    copy(raw_a, in->a, 32);
    copy(raw_b, in->b, 32);
    const __m256i a = _mm256_loadu_si256((const __m256i *)raw_a);
    const __m256i b = _mm256_loadu_si256((const __m256i *)raw_b);

    int16_t products[16]; // vpmaddubsw
    _mm256_storeu_si256((__m256i *)products, _mm256_maddubs_epi16(a, b));
    uint8_t looked_up[32]; // vpshufb
    _mm256_storeu_si256((__m256i *)looked_up, _mm256_shuffle_epi8(a, b));
    int32_t order[8]; // vpermd
    const __m256i eight = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i lanes = _mm256_and_si256(b, _mm256_set1_epi32(7));
    _mm256_storeu_si256((__m256i *)order, _mm256_permutevar8x32_epi32(eight, lanes));

    for (int i = 0; i < 16; i++) {
        int sum = in->a[2 * i] * (int8_t)in->b[2 * i] + in->a[2 * i + 1] * (int8_t)in->b[2 * i + 1];
        sum = sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum;
        if (products[i] != sum) return false;
    }
    for (int i = 0; i < 32; i++) {
        uint8_t index = in->b[i];
        uint8_t expected = index & 0x80 ? 0 : in->a[(i & 16) + (index & 15)];
        if (looked_up[i] != expected) return false;
    }
    for (int i = 0; i < 8; i++)
        if (order[i] != (in->b[4 * i] & 7)) return false;
    return true;
}

// (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 when fused and 0 when rounded in between.
static bool fused(const tmac_self_test_bytes *in)
{
    const float one = (float)(in->a[0] - in->a[0] + 1);
    const float x = one + 0x1p-12f, y = -(one + 0x1p-11f);
    float result[8];
    _mm256_storeu_ps(result,
                     _mm256_fmadd_ps(_mm256_set1_ps(x), _mm256_set1_ps(x), _mm256_set1_ps(y)));
    for (int i = 0; i < 8; i++)
        if (result[i] != 0x1p-24f) return false;
    return true;
}

// Small integers pass through half precision unchanged, and 2049 is a tie that rounds to even.
static bool halves(const tmac_self_test_bytes *in)
{
    float values[8], back[8];
    for (int i = 0; i < 8; i++)
        values[i] = (float)(in->a[i] + (i == 7 ? 2049 - in->a[7] : 0));
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(values), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_ps(back, _mm256_cvtph_ps(half));
    for (int i = 0; i < 7; i++)
        if (back[i] != values[i]) return false;
    return back[7] == 2048.0f;
}

static bool bits(const tmac_self_test_bytes *in)
{
    uint64_t value = 0, mask = 0, gathered = 0, scattered = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | in->a[i];
        mask = mask << 8 | in->b[i];
    }
    for (int i = 0, used = 0; i < 64; i++) {
        if (!(mask >> i & 1)) continue;
        gathered |= (value >> i & 1) << used;
        scattered |= (value >> used & 1) << i;
        used++;
    }
    return _pext_u64(value, mask) == gathered && _pdep_u64(value, mask) == scattered;
}

bool tmac_self_test_avx2(const tmac_self_test_bytes *in)
{
    return integers(in) && fused(in) && halves(in) && bits(in);
}

#else

bool tmac_self_test_avx2(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

#include "base/self_test.h"

#if defined(__ARM_NEON)

#include <arm_neon.h>

static void copy(uint8_t *to, const volatile uint8_t *from)
{
    for (int i = 0; i < 16; i++)
        to[i] = from[i];
}

static bool integers(const tmac_self_test_bytes *in)
{
    uint8_t raw_a[16], raw_b[16];
    copy(raw_a, in->a);
    copy(raw_b, in->b);
    const uint8x16_t a = vld1q_u8(raw_a), b = vld1q_u8(raw_b);

    uint8_t looked_up[16]; // tbl
    vst1q_u8(looked_up, vqtbl1q_u8(a, b));
    int16_t products[8]; // smull, smlal2
    const int8x16_t signed_a = vreinterpretq_s8_u8(a), signed_b = vreinterpretq_s8_u8(b);
    vst1q_s16(products, vmlal_high_s8(vmull_s8(vget_low_s8(signed_a), vget_low_s8(signed_b)),
                                      vshrq_n_s8(signed_a, 1), signed_b));
    int32_t pairs[4]; // saddlp
    vst1q_s32(pairs, vpaddlq_s16(vreinterpretq_s16_s8(signed_a)));

    for (int i = 0; i < 16; i++)
        if (looked_up[i] != (in->b[i] < 16 ? in->a[in->b[i]] : 0)) return false;
    for (int i = 0; i < 8; i++) {
        const int low = (int8_t)in->a[i] * (int8_t)in->b[i];
        if (products[i] != low + ((int8_t)in->a[i + 8] >> 1) * (int8_t)in->b[i + 8]) return false;
    }
    for (int i = 0; i < 4; i++) {
        int sum = 0;
        for (int j = 4 * i; j < 4 * i + 4; j += 2)
            sum += (int16_t)(in->a[j] | in->a[j + 1] << 8);
        if (pairs[i] != sum) return false;
    }
    return true;
}

// (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24 when fused and 0 when rounded in between. 2049 is a tie that half precision
// rounds to even.
static bool floats(const tmac_self_test_bytes *in)
{
    const float one = (float)(in->a[0] - in->a[0] + 1);
    const float x = one + 0x1p-12f, y = -(one + 0x1p-11f);
    float fused[4], back[4];
    vst1q_f32(fused, vfmaq_f32(vdupq_n_f32(y), vdupq_n_f32(x), vdupq_n_f32(x)));
    vst1q_f32(back, vcvt_f32_f16(vcvt_f16_f32(vdupq_n_f32(2048.0f + one))));
    for (int i = 0; i < 4; i++)
        if (fused[i] != 0x1p-24f || back[i] != 2048.0f) return false;
    return true;
}

bool tmac_self_test_neon(const tmac_self_test_bytes *in)
{
    return integers(in) && floats(in);
}

#else

bool tmac_self_test_neon(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

#include "base/self_test.h"

#if defined(__ARM_FEATURE_DOTPROD)

#include <arm_neon.h>

// sdot, whole and by element.
bool tmac_self_test_dotprod(const tmac_self_test_bytes *in)
{
    int8_t a[16], b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = (int8_t)in->a[i];
        b[i] = (int8_t)in->b[i];
    }
    const int8x16_t va = vld1q_s8(a), vb = vld1q_s8(b);
    int32_t whole[4], element[4];
    vst1q_s32(whole, vdotq_s32(vdupq_n_s32(in->c[0]), va, vb));
    vst1q_s32(element, vdotq_laneq_s32(vdupq_n_s32(in->c[0]), va, vb, 3));
    for (int i = 0; i < 4; i++) {
        int32_t sum = in->c[0], by_element = in->c[0];
        for (int j = 0; j < 4; j++) {
            sum += (int8_t)in->a[4 * i + j] * (int8_t)in->b[4 * i + j];
            by_element += (int8_t)in->a[4 * i + j] * (int8_t)in->b[12 + j];
        }
        if (whole[i] != sum || element[i] != by_element) return false;
    }
    return true;
}

#else

bool tmac_self_test_dotprod(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

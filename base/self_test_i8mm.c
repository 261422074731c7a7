#include "base/self_test.h"

#if defined(__ARM_FEATURE_MATMUL_INT8)

#include <arm_neon.h>

// usmmla: two rows of eight unsigned bytes by two of signed ones.
bool tmac_self_test_i8mm(const tmac_self_test_bytes *in)
{
    uint8_t a[16];
    int8_t b[16];
    for (int i = 0; i < 16; i++) {
        a[i] = in->a[i];
        b[i] = (int8_t)in->b[i];
    }
    int32_t result[4];
    vst1q_s32(result, vusmmlaq_s32(vdupq_n_s32(in->c[0]), vld1q_u8(a), vld1q_s8(b)));
    for (int row = 0; row < 2; row++)
        for (int column = 0; column < 2; column++) {
            int32_t sum = in->c[0];
            for (int k = 0; k < 8; k++)
                sum += in->a[8 * row + k] * (int8_t)in->b[8 * column + k];
            if (result[2 * row + column] != sum) return false;
        }
    return true;
}

#else

bool tmac_self_test_i8mm(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

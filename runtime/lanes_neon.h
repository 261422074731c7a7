// 16 float lanes in four NEON registers of Armv8.0. See lanes_scalar.h for what each operation means.
//
// Half precision is converted by the hardware, which has no other rounding than the one that FPCR names: nearest, ties
// to even, subnormals kept. Maxima are a comparison and a selection, not fmax: of two zeros, and beside a NaN, they give
// what the plain C gives.
#ifndef TMAC_RUNTIME_LANES_H
#define TMAC_RUNTIME_LANES_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

typedef struct lanes {
    float32x4_t quarter[4]; // lanes 0-3, 4-7, 8-11, 12-15
} lanes;

#define EACH_QUARTER for (uint32_t i = 0; i < 4; i++)

static inline lanes lanes_set(float value)
{
    const float32x4_t all = vdupq_n_f32(value);
    return (lanes){{all, all, all, all}};
}
static inline lanes lanes_load(const float *p)
{
    lanes r;
    EACH_QUARTER r.quarter[i] = vld1q_f32(p + 4 * i);
    return r;
}
static inline void lanes_store(float *p, lanes a)
{
    EACH_QUARTER vst1q_f32(p + 4 * i, a.quarter[i]);
}
static inline lanes lanes_load_part(const float *p, uint32_t count)
{
    float whole[16] = {0};
    memcpy(whole, p, count * sizeof *p);
    return lanes_load(whole);
}
static inline void lanes_store_part(float *p, lanes a, uint32_t count)
{
    if (count == 16) {
        lanes_store(p, a);
        return;
    }
    float whole[16];
    lanes_store(whole, a);
    memcpy(p, whole, count * sizeof *p);
}
static inline lanes lanes_load_f16(const uint16_t *p)
{
    lanes r;
    EACH_QUARTER r.quarter[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
    return r;
}
static inline lanes lanes_load_bf16(const uint16_t *p)
{
    lanes r;
    EACH_QUARTER r.quarter[i] = vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16));
    return r;
}
static inline lanes lanes_load_f16_part(const uint16_t *p, uint32_t count)
{
    uint16_t whole[16] = {0};
    memcpy(whole, p, count * sizeof *p);
    return lanes_load_f16(whole);
}
static inline lanes lanes_load_bf16_part(const uint16_t *p, uint32_t count)
{
    uint16_t whole[16] = {0};
    memcpy(whole, p, count * sizeof *p);
    return lanes_load_bf16(whole);
}
static inline lanes lanes_load_i8(const int8_t *p)
{
    const int8x16_t bytes = vld1q_s8(p);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return (lanes){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                    vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                    vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                    vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
static inline lanes lanes_load_i8_part(const int8_t *p, uint32_t count)
{
    int8_t whole[16] = {0};
    memcpy(whole, p, count);
    return lanes_load_i8(whole);
}
static inline void lanes_store_f16_part(uint16_t *p, lanes a, uint32_t count)
{
    uint16_t whole[16], *to = count == 16 ? p : whole;
    EACH_QUARTER vst1_u16(to + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.quarter[i])));
    if (count < 16) memcpy(p, whole, count * sizeof *p);
}
static inline lanes lanes_from_int(const int32_t *p)
{
    lanes r;
    EACH_QUARTER r.quarter[i] = vcvtq_f32_s32(vld1q_s32(p + 4 * i));
    return r;
}
static inline void lanes_store_int8_part(int8_t *p, lanes magic_sum, uint32_t count)
{
    const int32x4_t bias = vdupq_n_s32(0x4b400000);
    int16x4_t words[4];
    EACH_QUARTER words[i] =
        vqmovn_s32(vsubq_s32(vreinterpretq_s32_f32(magic_sum.quarter[i]), bias));
    const int8x16_t bytes = vcombine_s8(vqmovn_s16(vcombine_s16(words[0], words[1])),
                                        vqmovn_s16(vcombine_s16(words[2], words[3])));
    int8_t whole[16];
    vst1q_s8(count == 16 ? p : whole, bytes);
    if (count < 16) memcpy(p, whole, count);
}
static inline lanes lanes_add(lanes a, lanes b)
{
    EACH_QUARTER a.quarter[i] = vaddq_f32(a.quarter[i], b.quarter[i]);
    return a;
}
static inline lanes lanes_subtract(lanes a, lanes b)
{
    EACH_QUARTER a.quarter[i] = vsubq_f32(a.quarter[i], b.quarter[i]);
    return a;
}
static inline lanes lanes_multiply(lanes a, lanes b)
{
    EACH_QUARTER a.quarter[i] = vmulq_f32(a.quarter[i], b.quarter[i]);
    return a;
}
static inline lanes lanes_divide(lanes a, lanes b)
{
    EACH_QUARTER a.quarter[i] = vdivq_f32(a.quarter[i], b.quarter[i]);
    return a;
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    EACH_QUARTER c.quarter[i] = vfmaq_f32(c.quarter[i], a.quarter[i], b.quarter[i]);
    return c;
}
static inline float32x4_t lanes_larger(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
static inline lanes lanes_max(lanes a, lanes b)
{
    EACH_QUARTER a.quarter[i] = lanes_larger(a.quarter[i], b.quarter[i]);
    return a;
}
static inline lanes lanes_min(lanes a, lanes b)
{
    EACH_QUARTER a.quarter[i] =
        vbslq_f32(vcltq_f32(a.quarter[i], b.quarter[i]), a.quarter[i], b.quarter[i]);
    return a;
}
static inline lanes lanes_absolute(lanes a)
{
    EACH_QUARTER a.quarter[i] = vabsq_f32(a.quarter[i]);
    return a;
}
static inline lanes lanes_raise(lanes a, lanes magic_sum)
{
    EACH_QUARTER
    {
        const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(magic_sum.quarter[i]), 23);
        a.quarter[i] =
            vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a.quarter[i]), exponent));
    }
    return a;
}
static inline lanes lanes_zero_below(lanes a, lanes x, float limit)
{
    EACH_QUARTER
    {
        const uint32x4_t kept = vcgeq_f32(x.quarter[i], vdupq_n_f32(limit));
        a.quarter[i] = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.quarter[i]), kept));
    }
    return a;
}
static inline float lanes_sum(lanes a)
{
    const float32x4_t low = vaddq_f32(a.quarter[0], a.quarter[2]);
    const float32x4_t high = vaddq_f32(a.quarter[1], a.quarter[3]);
    const float32x4_t four = vaddq_f32(low, high);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
static inline float lanes_maximum(lanes a)
{
    const float32x4_t low = lanes_larger(a.quarter[0], a.quarter[2]);
    const float32x4_t high = lanes_larger(a.quarter[1], a.quarter[3]);
    const float32x4_t four = lanes_larger(low, high);
    const float32x2_t left = vget_low_f32(four), right = vget_high_f32(four);
    const float32x2_t two = vbsl_f32(vcgt_f32(left, right), left, right);
    const float a0 = vget_lane_f32(two, 0), a1 = vget_lane_f32(two, 1);
    return a0 > a1 ? a0 : a1;
}

#undef EACH_QUARTER

#endif

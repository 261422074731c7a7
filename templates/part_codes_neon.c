% local dotprod = isa.name == "dotprod"
// 64 codes of one byte, 16 rows x 4 columns, and 16 exact sums: four rows in each of four registers.
typedef struct codes {
    uint8x16_t quarter[4];
} codes;
typedef struct counts {
    int32x4_t quarter[4];
} counts;

#define EACH_QUARTER for (uint32_t i = 0; i < 4; i++)

static inline codes codes_load(const uint8_t *p)
{
    codes r;
    EACH_QUARTER r.quarter[i] = vld1q_u8(p + 16 * i);
    return r;
}
static inline codes codes_low(codes a)
{
    EACH_QUARTER a.quarter[i] = vandq_u8(a.quarter[i], vdupq_n_u8(15));
    return a;
}
static inline codes codes_high(codes a)
{
    EACH_QUARTER a.quarter[i] = vshrq_n_u8(a.quarter[i], 4);
    return a;
}
// Bits of upper, beginning with bit `from`, become those of the mask, which begins with bit 4.
static inline codes codes_join(codes low, codes upper, int from, int mask)
{
    const int8x16_t up = vdupq_n_s8((int8_t)(4 - from)); // down where it is negative
    EACH_QUARTER low.quarter[i] = vorrq_u8(
        low.quarter[i], vandq_u8(vshlq_u8(upper.quarter[i], up), vdupq_n_u8((uint8_t)mask)));
    return low;
}
static inline counts counts_zero(void)
{
    const int32x4_t zero = vdupq_n_s32(0);
    return (counts){{zero, zero, zero, zero}};
}
static inline counts counts_add(counts a, counts b)
{
    EACH_QUARTER a.quarter[i] = vaddq_s32(a.quarter[i], b.quarter[i]);
    return a;
}
static inline int8x16_t four_activations(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
// sum[r] += codes of row r times four activations, codes below 128.
static inline counts counts_dot(counts sum, codes a, const int8_t *q)
{
    const int8x16_t four = four_activations(q);
% if dotprod then
    EACH_QUARTER sum.quarter[i] = vdotq_s32(sum.quarter[i], vreinterpretq_s8_u8(a.quarter[i]), four);
% else
    EACH_QUARTER
    {
        // A product is at most 127 * 128, two of them fit int16: 2 * 127 * 128 = 32512.
        const int8x16_t bytes = vreinterpretq_s8_u8(a.quarter[i]);
        const int16x8_t first = vmull_s8(vget_low_s8(bytes), vget_low_s8(four));
        const int16x8_t second = vmull_high_s8(bytes, four);
        sum.quarter[i] = vpadalq_s16(sum.quarter[i], vpaddq_s16(first, second));
    }
% end
    return sum;
}
// Codes to 255 are taken as code - 128, which is the code with its upper bit turned over, and the 128 times the
// activations are added again. The largest weight of a group becomes +-127, so that no code is 0: the bound above holds.
static inline counts counts_dot_8(counts sum, codes a, const int8_t *q)
{
    const int32_t restored = 128 * (q[0] + q[1] + q[2] + q[3]);
    EACH_QUARTER a.quarter[i] = veorq_u8(a.quarter[i], vdupq_n_u8(128));
    EACH_QUARTER sum.quarter[i] = vaddq_s32(sum.quarter[i], vdupq_n_s32(restored));
    return counts_dot(sum, a, q);
}
// (float)(sum - correction)
static inline lanes counts_floats(counts sum, int32_t correction)
{
    lanes r;
    EACH_QUARTER r.quarter[i] = vcvtq_f32_s32(vsubq_s32(sum.quarter[i], vdupq_n_s32(correction)));
    return r;
}

#undef EACH_QUARTER

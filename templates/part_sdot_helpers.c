% part("part_sum_of")

// Adds a segment to four outputs, every field's sums shifted down to their size.
static inline void add_fields(int32_t *y, int32x4_t s0, int32x4_t s1, int32x4_t s2)
{
    const int32x4_t segment = vaddq_s32(s0, vaddq_s32(vshrq_n_s32(s1, 2), vshrq_n_s32(s2, 4)));
    vst1q_s32(y, vaddq_s32(vld1q_s32(y), segment));
}

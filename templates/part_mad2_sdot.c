// One scale group of a tile for one token. The fields 0, 1 and 2 stay where they are, masked, so that their sums come
// out 1, 4 and 16 times too large; field 3, which would not fit an int8, is shifted down and joins field 0. One
// instruction a field. A block adds at most 4 * (2 << 4) * 128 = 2^14 to a sum of field 2, the largest, so a segment of
// 2^16 blocks stays within 2^30; shifted down when the segment ends, which is exact. (The outputs may pass 2^31 between
// segments and wrap: additions wrap exactly, and the last one is below 2^31 again.)
static inline void ${name}_1(
    const uint8_t *w, const uint8_t *q, const uint8_t *sums, size_t stride, uint32_t blocks,
    int32_t *y, size_t y_step)
{
    enum { SEGMENT = 1 << 16 };
    const uint8x16_t field0 = vdupq_n_u8(3), field1 = vdupq_n_u8(3 << 2), field2 = vdupq_n_u8(3 << 4);
    (void)stride, (void)y_step; // of one token

% local vectors = rows // 4
    const int32x4_t offset = vdupq_n_s32(-sum_of(sums));
% for v = 0, vectors - 1 do
    vst1q_s32(${v == 0 and "y" or "y + " .. 4 * v}, offset);
% end
    while (blocks > 0) {
        const uint32_t segment = blocks < SEGMENT ? blocks : SEGMENT;
        blocks -= segment;
        leave_outputs_in_memory();
% for v = 0, vectors - 1 do
        int32x4_t s${v}_0 = vdupq_n_s32(0), s${v}_1 = s${v}_0, s${v}_2 = s${v}_0;
% end
        for (uint32_t b = 0; b < segment; b++, w += ${rows * 4}, q += 16) {
            const int8x16_t q0 = vreinterpretq_s8_u8(vld1q_u8(q));
% for v = 0, vectors - 1 do

            const uint8x16_t x${v} = vld1q_u8(${v == 0 and "w" or "w + " .. 16 * v});
%     if v % 4 == 0 then part("part_prefetch_arm", { offset = 16 * v, indent = "            " }) end
%     for f = 0, 2 do
            s${v}_${f} = vdotq_laneq_s32(s${v}_${f}, vreinterpretq_s8_u8(vandq_u8(x${v}, field${f})), q0, ${f});
%     end
            s${v}_0 = vdotq_laneq_s32(s${v}_0, vreinterpretq_s8_u8(vshrq_n_u8(x${v}, 6)), q0, 3);
% end
        }
% for v = 0, vectors - 1 do
        add_fields(${v == 0 and "y" or "y + " .. 4 * v}, s${v}_0, s${v}_1, s${v}_2);
% end
    }
}

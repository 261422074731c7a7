// bits${bits} for NEON of Armv8.0: tbl looks up 16 rows at once in tables of 16 bytes, one lookup a nibble and byte plane.
% part("part_bits_bounds")
% part("part_order_arm")

#include <arm_neon.h>
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 8 })

% local subsets = { {}, {}, {}, {} }
% for s = 0, 15 do
%     for i = 1, 4 do subsets[i][s + 1] = s >> i - 1 & 1 end
% end
// The 16 sums of subsets of four activations: q[i] counts in the entries that have bit i.
static inline void build_table(const int8_t *q, uint8_t *table)
{
    static const int8_t has[4][16] = {{${table.concat(subsets[1], ", ")}},
                                      {${table.concat(subsets[2], ", ")}},
                                      {${table.concat(subsets[3], ", ")}},
                                      {${table.concat(subsets[4], ", ")}}};
    for (uint32_t half = 0; half < 16; half += 8) {
        int16x8_t sums = vdupq_n_s16(0);
        for (uint32_t i = 0; i < 4; i++)
            sums = vmlal_s8(sums, vld1_s8(has[i] + half), vdup_n_s8(q[i]));
        vst1_s8((int8_t *)table + half, vmovn_s16(sums));
        vst1_s8((int8_t *)table + 16 + half, vshrn_n_s16(sums, 8));
    }
}

% part("part_bits_prepare")

typedef uint8x16_t vector; // of bytes, or of eight int16 sums

static inline vector load(const uint8_t *w)
{
    return vld1q_u8(w);
}

static inline vector bytes_of(uint8_t value)
{
    return vdupq_n_u8(value);
}

static inline vector low_nibbles(vector x)
{
    return vandq_u8(x, bytes_of(15));
}

static inline vector high_nibbles(vector x)
{
    return vshrq_n_u8(x, 4);
}

static inline vector look_up(vector table, vector nibbles)
{
    return vqtbl1q_u8(table, nibbles);
}

static inline vector interleave_low(vector low, vector high)
{
    return vzip1q_u8(low, high);
}

static inline vector interleave_high(vector low, vector high)
{
    return vzip2q_u8(low, high);
}

static inline vector add(vector a, vector b)
{
    return vreinterpretq_u8_s16(vaddq_s16(vreinterpretq_s16_u8(a), vreinterpretq_s16_u8(b)));
}

static inline vector plane(const uint8_t *table)
{
    return vld1q_u8(table);
}

// Adds 8 int16 sums, shifted up, to 8 outputs.
static inline void widen_eight(int32_t *y, vector sums, int shift)
{
    const int16x8_t s = vreinterpretq_s16_u8(sums);
    const int32x4_t up = vdupq_n_s32(shift);
    vst1q_s32(y, vaddq_s32(vld1q_s32(y), vshlq_s32(vmovl_s16(vget_low_s16(s)), up)));
    vst1q_s32(y + 4, vaddq_s32(vld1q_s32(y + 4), vshlq_s32(vmovl_high_s16(s), up)));
}

// Adds the sums of rows 0..7 and 16..23, shifted up, to those of 32 outputs.
static inline void widen(int32_t *y, vector s, vector t, int shift)
{
    widen_eight(y, s, shift);
    widen_eight(y + 16, t, shift);
}

% part("part_bits_start")

% part("part_outputs_in_memory")

%% kernel
% part("part_bits_kernel", { width = isa.bytes })

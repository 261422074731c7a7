// 16 float lanes in plain C: the meaning of every lane operation, and the path of machines without vectors.
//
// lanes_avx2.h, lanes_avx512.h and lanes_neon.h have the same functions with the same results, bit for bit, for all finite inputs.
#ifndef TMAC_RUNTIME_LANES_H
#define TMAC_RUNTIME_LANES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "runtime/half.h"

typedef struct lanes {
    float lane[16];
} lanes;

#define EACH_LANE for (uint32_t i = 0; i < 16; i++)

static inline lanes lanes_set(float value)
{
    lanes r;
    EACH_LANE r.lane[i] = value;
    return r;
}

// Reads 16 floats; _part reads `count` of them (1 to 15) and fills up with zeros.
static inline lanes lanes_load_part(const float *p, uint32_t count)
{
    lanes r = {{0}};
    memcpy(r.lane, p, count * sizeof *p);
    return r;
}
static inline lanes lanes_load(const float *p)
{
    return lanes_load_part(p, 16);
}
static inline void lanes_store_part(float *p, lanes a, uint32_t count)
{
    memcpy(p, a.lane, count * sizeof *p);
}
static inline void lanes_store(float *p, lanes a)
{
    lanes_store_part(p, a, 16);
}

// The same from and to half precision; stores round to nearest, ties to even.
static inline lanes lanes_load_f16_part(const uint16_t *p, uint32_t count)
{
    lanes r = {{0}};
    for (uint32_t i = 0; i < count; i++)
        r.lane[i] = tmac_f16_to_f32(p[i]);
    return r;
}
static inline lanes lanes_load_f16(const uint16_t *p)
{
    return lanes_load_f16_part(p, 16);
}
static inline lanes lanes_load_bf16_part(const uint16_t *p, uint32_t count)
{
    lanes r = {{0}};
    for (uint32_t i = 0; i < count; i++)
        r.lane[i] = tmac_bf16_to_f32(p[i]);
    return r;
}
static inline lanes lanes_load_bf16(const uint16_t *p)
{
    return lanes_load_bf16_part(p, 16);
}

// 16 (or `count`) int8 as floats: exact.
static inline lanes lanes_load_i8_part(const int8_t *p, uint32_t count)
{
    lanes r = {{0}};
    for (uint32_t i = 0; i < count; i++)
        r.lane[i] = (float)p[i];
    return r;
}
static inline lanes lanes_load_i8(const int8_t *p)
{
    return lanes_load_i8_part(p, 16);
}
static inline void lanes_store_f16_part(uint16_t *p, lanes a, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        p[i] = tmac_f32_to_f16(a.lane[i]);
}

// 16 int32 to float, rounded to nearest even.
static inline lanes lanes_from_int(const int32_t *p)
{
    lanes r;
    EACH_LANE r.lane[i] = (float)p[i];
    return r;
}

// magic_sum = v + 12582912 (1.5 * 2^23), whose low mantissa bits are v rounded to nearest even, for |v| < 2^22: stores
// these integers, saturated to int8.
static inline void lanes_store_int8_part(int8_t *p, lanes magic_sum, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int32_t bits;
        memcpy(&bits, &magic_sum.lane[i], sizeof bits);
        int32_t whole = (int32_t)((uint32_t)bits - 0x4b400000u);
        p[i] = (int8_t)(whole < -128 ? -128 : whole > 127 ? 127 : whole);
    }
}

static inline lanes lanes_add(lanes a, lanes b)
{
    EACH_LANE a.lane[i] += b.lane[i];
    return a;
}
static inline lanes lanes_subtract(lanes a, lanes b)
{
    EACH_LANE a.lane[i] -= b.lane[i];
    return a;
}
static inline lanes lanes_multiply(lanes a, lanes b)
{
    EACH_LANE a.lane[i] *= b.lane[i];
    return a;
}
static inline lanes lanes_divide(lanes a, lanes b)
{
    EACH_LANE a.lane[i] /= b.lane[i];
    return a;
}

// a * b + c, rounded once.
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    EACH_LANE c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}
static inline lanes lanes_max(lanes a, lanes b)
{
    EACH_LANE a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
static inline lanes lanes_min(lanes a, lanes b)
{
    EACH_LANE a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
static inline lanes lanes_absolute(lanes a)
{
    EACH_LANE a.lane[i] = fabsf(a.lane[i]);
    return a;
}

// a * 2^n, where magic_sum = n + 12582912: adds n to the exponent bits, without a check for overflow.
static inline lanes lanes_raise(lanes a, lanes magic_sum)
{
    EACH_LANE
    {
        uint32_t bits, shift;
        memcpy(&bits, &a.lane[i], sizeof bits);
        memcpy(&shift, &magic_sum.lane[i], sizeof shift);
        bits += shift << 23;
        memcpy(&a.lane[i], &bits, sizeof bits);
    }
    return a;
}

// a where x >= limit, else 0.
static inline lanes lanes_zero_below(lanes a, lanes x, float limit)
{
    EACH_LANE a.lane[i] = x.lane[i] >= limit ? a.lane[i] : 0.0f;
    return a;
}

// The fixed tree: lane i with i + 8, then i + 4, i + 2, i + 1.
static inline float lanes_sum(lanes a)
{
    for (uint32_t half = 8; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            a.lane[i] += a.lane[i + half];
    return a.lane[0];
}
static inline float lanes_maximum(lanes a)
{
    for (uint32_t half = 8; half > 0; half /= 2)
        for (uint32_t i = 0; i < half; i++)
            a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
    return a.lane[0];
}

#undef EACH_LANE

#endif

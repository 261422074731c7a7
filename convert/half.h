// The two 16-bit float formats. F16 is IEEE binary16; BF16 is the upper half of an f32.
#ifndef TMAC_CONVERT_HALF_H
#define TMAC_CONVERT_HALF_H

#include <stdint.h>
#include <string.h>

static inline float tmac_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t tmac_bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float tmac_f16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = (half >> 10) & 31u,
             fraction = half & 1023u;
    if (exponent == 31) return tmac_float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0) { // zero and subnormals: fraction * 2^-24, exact
        float value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    return tmac_float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

// To nearest, ties to even; overflows to infinity; NaN stays NaN.
static inline uint16_t tmac_f32_to_f16(float value)
{
    uint32_t bits = tmac_bits_of_float(value), magnitude = bits & 0x7fffffffu;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); // 65520 and above
    if (magnitude <
        0x38800000u) { // below 2^-14: adding 0.5 leaves the fraction, rounded, in the low bits
        float shifted = tmac_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (tmac_bits_of_float(shifted) - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

static inline float tmac_bf16_to_f32(uint16_t half)
{
    return tmac_float_of_bits((uint32_t)half << 16);
}

#endif

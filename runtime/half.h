// Half-precision numbers, one at a time and exactly: what the hardware conversions do, in integer arithmetic.
#ifndef TMAC_RUNTIME_HALF_H
#define TMAC_RUNTIME_HALF_H

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

static inline float tmac_bf16_to_f32(uint16_t bf16)
{
    return tmac_float_of_bits((uint32_t)bf16 << 16);
}

// Every f16 is a f32 exactly. Subnormals are multiples of 2^-24; NaNs keep their payload and become quiet.
static inline float tmac_f16_to_f32(uint16_t f16)
{
    uint32_t sign = (uint32_t)(f16 & 0x8000u) << 16;
    uint32_t exponent = (f16 >> 10) & 31u, fraction = f16 & 1023u;
    if (exponent == 0) {
        float magnitude = (float)fraction * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    if (exponent == 31)
        return tmac_float_of_bits(sign | 0x7f800000u | (fraction ? 0x400000u | fraction << 13 : 0));
    return tmac_float_of_bits(sign | (exponent + 112u) << 23 | fraction << 13);
}

// Nearest, ties to even; beyond 65504 rounds to infinity as IEEE 754 says.
static inline uint16_t tmac_f32_to_f16(float value)
{
    uint32_t bits = tmac_bits_of_float(value);
    uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) // NaN
        return (uint16_t)(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) // rounds to 65536 or more
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        // Below 2^-14: a subnormal counts units of 2^-24. Adding 0.5 puts that unit at the last mantissa bit, so the
        // addition itself rounds to nearest even; the count is then the low bits.
        float shifted = tmac_float_of_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (tmac_bits_of_float(shifted) - 0x3f000000u));
    }
    // Re-bias the exponent by -112 and round the 13 bits that fall off.
    uint32_t odd = (magnitude >> 13) & 1u;
    return (uint16_t)(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

#endif

// Elementary functions (runtime/math.h). Each does three things: reduce the argument to a small interval so exactly that
// the error of the reduction does not show, sum a Taylor series there (its coefficients are the ones in every textbook,
// and its cut-off tail is far below the last place), and undo the reduction by a power of two or a quadrant.
//
// Notation: (a, b) with |b| <= ulp(a) / 2 is the unevaluated sum a + b: twice the precision where one rounding would
// show in the result.
#include "runtime/math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

static uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double from_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// c[0] + c[1] x + c[2] x^2 + ...
static double polynomial(const double *c, int count, double x)
{
    double sum = c[count - 1];
    for (int i = count - 2; i >= 0; i--)
        sum = fma(sum, x, c[i]);
    return sum;
}

// The nearest integer, ties to even, for |x| < 2^51: adding 1.5 * 2^52 leaves no room for a fraction.
static double nearest(double x)
{
    const double shift = 0x1.8p52;
    return (x + shift) - shift;
}

// 2^k for -1022 <= k <= 1023.
static double power_of_two(int64_t k)
{
    return from_bits((uint64_t)(k + 1023) << 52);
}

static const double LN2_HIGH = 0x1.62e42fefa39efp-1, LN2_LOW = 0x1.abc9e3b39803fp-56;
// The same with 21 zero bits at the end, so that k * LN2_SHORT is exact for every exponent k.
static const double LN2_SHORT = 0x1.62e42feep-1, LN2_REST = 0x1.a39ef35793c76p-33;

// ------------------------------------------------------------------------------------------------------------- exp

// 1/2!, 1/3!, ...: the tail after x^14 is below 2^-60 for |x| <= ln 2 / 2.
static const double INVERSE_FACTORIALS[] = {
    1.0 / 2,         1.0 / 6,          1.0 / 24,          1.0 / 120,     1.0 / 720,
    1.0 / 5040,      1.0 / 40320,      1.0 / 362880,      1.0 / 3628800, 1.0 / 39916800,
    1.0 / 479001600, 1.0 / 6227020800, 1.0 / 87178291200,
};

// e^(x + low) for |low| far below |x|.
static double exp_of_sum(double x, double low)
{
    if (!(x < 710.0)) return x + (double)INFINITY; // NaN stays NaN
    if (x < -746.0) return 0.0;
    const double k = nearest(x * 0x1.71547652b82fep+0);
    // Exact: a multiple of the last place of LN2_HIGH or x, and below 1/2, has at most 53 bits.
    const double exact = fma(-k, LN2_HIGH, x);
    const double r = exact + fma(-k, LN2_LOW, low);
    const double series = polynomial(INVERSE_FACTORIALS, COUNT(INVERSE_FACTORIALS), r);
    const double result = 1.0 + fma(r * r, series, r);
    // In two steps, because 2^k itself may overflow or be denormal; only the second can round.
    const int64_t whole = (int64_t)k, half = whole / 2;
    return result * power_of_two(half) * power_of_two(whole - half);
}

double tmac_exp(double x)
{
    return exp_of_sum(x, 0.0);
}

// ------------------------------------------------------------------------------------------------------------- log

// x = 2^k m with sqrt(1/2) <= m < sqrt(2), roughly; x > 0 and finite.
static double split_exponent(double x, double *m)
{
    int64_t k = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    // Adding what lies between sqrt(1/2) and 1 carries into the exponent exactly when the mantissa is above sqrt(2).
    const uint64_t offset = bits_of(1.0) - bits_of(0x1.6a09e667f3bcdp-1);
    const uint64_t shifted = bits_of(x) + offset;
    k += (int64_t)(shifted >> 52) - 1023;
    *m = from_bits((shifted & 0xfffffffffffffu) - offset + bits_of(1.0));
    return (double)k;
}

// With s = f / (2 + f), ln(1 + f) = 2s + 2s^3/3 + 2s^5/5 + ...; |s| <= 0.172, so that the tail after s^27 is below
// 2^-70. Here 2/3, 2/5, ... for a polynomial in s^2.
static const double ATANH_SERIES[] = {
    2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
    2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23, 2.0 / 25,
};

double tmac_log(double x)
{
    if (!(x > 0.0)) return x == 0.0 ? -(double)INFINITY : (double)NAN;
    if (x > 0x1.fffffffffffffp1023) return x;
    double m;
    const double k = split_exponent(x, &m);
    const double f = m - 1.0; // exact
    const double s = f / (2.0 + f), z = s * s;
    const double rest = z * polynomial(ATANH_SERIES, COUNT(ATANH_SERIES), z);
    // ln(1 + f) = f - s (f - rest), written as f - (f^2/2 - s (f^2/2 + rest)): the rounding of s is then scaled by f^2.
    const double half_square = 0.5 * f * f;
    const double correction = fma(k, LN2_REST, s * (half_square + rest));
    return k * LN2_SHORT - ((half_square - correction) - f);
}

// ln x as (high, low), to about 2^-58 of its value.
static double log_in_two(double x, double *low)
{
    double m;
    const double k = split_exponent(x, &m);
    const double f = m - 1.0;
    // 2 + f = (g, g_low): one bit may not fit.
    const double g = 2.0 + f, g_low = f - (g - 2.0);
    const double s = f / g;
    const double s_low = (fma(-s, g, f) - s * g_low) / g;
    const double z = s * s;
    const double series = 2.0 * s_low + s * z * polynomial(ATANH_SERIES, COUNT(ATANH_SERIES), z);
    // k LN2_SHORT + 2s + (k LN2_REST + series), keeping what the first sum loses. |k LN2_SHORT| > |2s| unless k = 0.
    const double large = k * LN2_SHORT, small = 2.0 * s;
    const double sum = large + small;
    const double lost = k == 0.0 ? 0.0 : small - (sum - large);
    const double tail = lost + fma(k, LN2_REST, series);
    const double high = sum + tail;
    *low = tail - (high - sum);
    return high;
}

double tmac_pow(double x, double y)
{
    if (!(x > 0.0) || !isfinite(x) || !isfinite(y)) return (double)NAN;
    if (y == 0.0 || x == 1.0) return 1.0;
    double low;
    const double high = log_in_two(x, &low);
    const double product = y * high;
    if (!isfinite(product) || fabs(product) > 1000.0) return tmac_exp(product);
    return exp_of_sum(product, fma(y, high, -product) + y * low);
}

// ------------------------------------------------------------------------------------------------------ sin and cos

// For |r| <= pi/4 the tails, r^21 / 21! and r^20 / 20!, are below 2^-70 and 2^-65.
static const double SIN_SERIES[] = {
    // -1/3!, 1/5!, -1/7!, ...
    -1.0 / 6,
    1.0 / 120,
    -1.0 / 5040,
    1.0 / 362880,
    -1.0 / 39916800,
    1.0 / 6227020800,
    -1.0 / 1307674368000,
    1.0 / 355687428096000,
    -1.0 / 121645100408832000,
};
static const double COS_SERIES[] = {
    // 1/4!, -1/6!, 1/8!, ...
    1.0 / 24,        -1.0 / 720,         1.0 / 40320,          -1.0 / 3628800,
    1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000, -1.0 / 6402373705728000,
};

// sin(r + low) = sin r + low cos r, where cos r = 1 - r^2/2 is precise enough for what is below the last place.
static double sin_reduced(double r, double low)
{
    const double z = r * r;
    const double series = polynomial(SIN_SERIES, COUNT(SIN_SERIES), z);
    return r + fma(r * z, series, fma(-0.5 * z, low, low));
}

// cos(r + low) = cos r - low r; 1 - r^2/2 is kept with its rounding error.
static double cos_reduced(double r, double low)
{
    const double z = r * r, half = 0.5 * z;
    const double series = polynomial(COS_SERIES, COUNT(COS_SERIES), z);
    const double first = 1.0 - half;
    const double lost = (1.0 - first) - half;
    const double z_low = fma(r, r, -z); // what squaring lost
    return first + (lost + fma(z * z, series, -fma(r, low, 0.5 * z_low)));
}

// x = quadrant pi/2 + (r, low), |r| <= pi/4 and a little.
static unsigned reduce(double x, double *r, double *low)
{
    const double k = nearest(x * 0x1.45f306dc9c883p-1);
    // pi/2 in three doubles. The first step is exact as in exp; the second keeps the error of its product and of its
    // difference; the third is below what matters. For |k| < 2^30 the sum is good to 2^-130 absolute, and no double in
    // the range comes closer to a multiple of pi/2 than 2^-70.
    const double first = fma(-k, 0x1.921fb54442d18p+0, x);
    const double product = k * 0x1.1a62633145c07p-54;
    const double product_low = fma(k, 0x1.1a62633145c07p-54, -product);
    const double high = first - product;
    const double back = high - first;
    const double lost = (first - (high - back)) - (product + back);
    const double rest = (lost - product_low) - k * -0x1.f1976b7ed8fbcp-110;
    *r = high + rest;
    *low = rest - (*r - high);
    return (unsigned)((uint64_t)(int64_t)k & 3);
}

static double sin_from(double x, unsigned turn)
{
    if (!(fabs(x) <= 0x1p30)) return (double)NAN;
    double r, low;
    switch ((reduce(x, &r, &low) + turn) & 3) {
    case 0:
        return sin_reduced(r, low);
    case 1:
        return cos_reduced(r, low);
    case 2:
        return -sin_reduced(r, low);
    default:
        return -cos_reduced(r, low);
    }
}

double tmac_sin(double x)
{
    return x == 0.0 ? x : sin_from(x, 0);
}

double tmac_cos(double x)
{
    return sin_from(x, 1);
}

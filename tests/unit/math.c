// The library's own elementary functions against long double's, which are good to a small fraction of a double's ulp.
#include "runtime/math.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/random.h"

enum { SAMPLES = 200000 };

// The distance in ulp of the exact value.
static double error_in_ulp(double got, long double exact)
{
    if (isnan(got) || isinf(got)) return INFINITY;
    int exponent;
    frexpl(exact, &exponent);
    if (exponent < -1021) exponent = -1021;
    return (double)fabsl(ldexpl((long double)got - exact, 53 - exponent));
}

static double uniform(tmac_random *random, double low, double high)
{
    return low + (high - low) * ((double)(tmac_random_next(random) >> 11) * 0x1p-53);
}

// Random finite positive doubles of all magnitudes.
static double any_magnitude(tmac_random *random)
{
    return ldexp(uniform(random, 0.5, 1.0), (int)tmac_random_below(random, 2090) - 1070);
}

#define CHECK(limit, draw, ours, exact)                                                            \
    do {                                                                                           \
        tmac_random random = {__LINE__};                                                           \
        double worst = 0, worst_x = 0;                                                             \
        for (int i = 0; i < SAMPLES; i++) {                                                        \
            const double x = draw;                                                                 \
            const double error = error_in_ulp(ours, exact);                                        \
            if (error > worst) worst = error, worst_x = x;                                         \
        }                                                                                          \
        cr_expect(worst <= (limit), "%s: %.3f ulp at %a", #ours, worst, worst_x);                  \
    } while (0)

Test(math, exp)
{
    CHECK(1.0, uniform(&random, -745.0, 709.7), tmac_exp(x), expl(x));
    CHECK(1.0, uniform(&random, -1.0, 1.0), tmac_exp(x), expl(x));
    CHECK(1.0, uniform(&random, -40.0, 0.0), tmac_exp(x), expl(x));
    cr_expect_eq(tmac_exp(0.0), 1.0);
    cr_expect_eq(tmac_exp(-INFINITY), 0.0);
    cr_expect_eq(tmac_exp(-1e300), 0.0);
    cr_expect_eq(tmac_exp(INFINITY), INFINITY);
    cr_expect_eq(tmac_exp(709.79), INFINITY);
    cr_expect(isfinite(tmac_exp(709.78)));
    cr_expect(isnan(tmac_exp(NAN)));
}

Test(math, log)
{
    CHECK(1.0, any_magnitude(&random), tmac_log(x), logl(x));
    CHECK(1.0, uniform(&random, 0.5, 2.0), tmac_log(x), logl(x));
    CHECK(1.0, 1.0 + uniform(&random, -0x1p-20, 0x1p-20), tmac_log(x), logl(x));
    CHECK(1.0, uniform(&random, 1.0, 200000.0), tmac_log(x), logl(x));
    cr_expect_eq(tmac_log(1.0), 0.0);
    cr_expect_eq(tmac_log(0.0), -INFINITY);
    cr_expect_eq(tmac_log(INFINITY), INFINITY);
    cr_expect(isnan(tmac_log(-1.0)));
    cr_expect(isnan(tmac_log(NAN)));
    cr_expect(error_in_ulp(tmac_log(0x1p-1074), logl(0x1p-1074L)) <= 1.0);
    cr_expect(error_in_ulp(tmac_log(DBL_MAX), logl(DBL_MAX)) <= 1.0);
}

Test(math, sin_and_cos)
{
    CHECK(1.0, uniform(&random, -4.0, 4.0), tmac_sin(x), sinl(x));
    CHECK(1.0, uniform(&random, -4.0, 4.0), tmac_cos(x), cosl(x));
    CHECK(1.0, uniform(&random, 0.0, 1e6), tmac_sin(x), sinl(x));
    CHECK(1.0, uniform(&random, 0.0, 1e6), tmac_cos(x), cosl(x));
    CHECK(1.0, uniform(&random, -0x1p30, 0x1p30), tmac_sin(x), sinl(x));
    CHECK(1.0, (double)tmac_random_below(&random, 1u << 30), tmac_cos(x), cosl(x));
    // The doubles nearest to multiples of pi/2: all that is left is what the reduction keeps.
    CHECK(1.0, (double)tmac_random_below(&random, 1u << 20) * 0x1.921fb54442d18p+0, tmac_sin(x),
          sinl(x));
    CHECK(1.0, (double)tmac_random_below(&random, 1u << 20) * 0x1.921fb54442d18p+0, tmac_cos(x),
          cosl(x));
    cr_expect_eq(tmac_sin(0.0), 0.0);
    cr_expect(signbit(tmac_sin(-0.0)));
    cr_expect_eq(tmac_cos(0.0), 1.0);
    cr_expect_eq(tmac_sin(0x1p-1070), 0x1p-1070);
    cr_expect(isnan(tmac_sin(INFINITY)) && isnan(tmac_cos(NAN)) && isnan(tmac_cos(0x1p31)));
}

Test(math, pow)
{
    static const double thetas[] = {10000.0, 500000.0, 1e6, 100.0};
    for (int t = 0; t < 4; t++)
        CHECK(1.0, uniform(&random, -1.0, 0.0), tmac_pow(thetas[t], x), powl(thetas[t], x));
    CHECK(1.0, uniform(&random, 0.01, 100.0), tmac_pow(x, 3.7), powl(x, (long double)3.7));
    CHECK(1.5, uniform(&random, 0.6, 1.6), tmac_pow(x, -20.25), powl(x, -20.25L));
    CHECK(2.0, uniform(&random, 1.0, 1e6), tmac_pow(x, 4.5), powl(x, 4.5L));
    cr_expect_eq(tmac_pow(2.0, 10.0), 1024.0);
    cr_expect_eq(tmac_pow(10000.0, -0.5), 0.01);
    cr_expect_eq(tmac_pow(7.0, 0.0), 1.0);
    cr_expect_eq(tmac_pow(10.0, 400.0), INFINITY);
    cr_expect_eq(tmac_pow(10.0, -400.0), 0.0);
    cr_expect(isnan(tmac_pow(-1.0, 2.0)) && isnan(tmac_pow(0.0, 1.0)));
}

// The bits themselves: a compiler, C library or processor that changes one of them breaks the promise of equal results.
Test(math, same_bits_everywhere)
{
    tmac_random random = {2024};
    tmac_hash_state state;
    tmac_hash_begin(&state);
    for (int i = 0; i < 20000; i++) {
        const double x = uniform(&random, 0.0, 1e6);
        const double results[5] = {tmac_exp(x * -1e-4), tmac_log(x), tmac_sin(x), tmac_cos(x),
                                   tmac_pow(10000.0, x * -1e-6)};
        tmac_hash_add(&state, results, sizeof results);
    }
    uint8_t digest[TMAC_HASH_BYTES];
    char hex[TMAC_HASH_HEX];
    tmac_hash_end(&state, digest);
    tmac_hash_hex(digest, hex);
    cr_expect_str_eq(hex, "7733b1f0b74c91a77f0d2465ea16b8ecb07cdca815913fe433f71f5f557afcef");
}

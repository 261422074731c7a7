// Elementary functions in double, the same bits on every machine, C library and instruction set.
//
// Only + - * /, fma and integer operations, in one written order; no call into libm but fma(), which is exact. So RoPE
// tables, sampled tokens and likelihoods do not depend on whose libm is installed. For set-up and for the sampler: the
// token loop has its own vector code. Errors are bounds against the exact value, in units of the last place (ulp);
// tests/unit/math.c checks them. Round-to-nearest is assumed.
#ifndef TMAC_RUNTIME_MATH_H
#define TMAC_RUNTIME_MATH_H

// e^x, 1 ulp. 0 below -745.2, infinity above 709.8; results below 2^-1022 are denormal, 1 ulp too.
double tmac_exp(double x);

// ln x, 1 ulp, for every x > 0, denormals included. -infinity for 0, NaN for less.
double tmac_log(double x);

// sin x and cos x, x in radians, 1 ulp for |x| <= 2^30; NaN beyond.
double tmac_sin(double x);
double tmac_cos(double x);

// x^y for finite x > 0, 1 ulp while |y ln x| <= 16 (as in RoPE's theta^(-2i/d)), 2 ulp while <= 64; the error
// grows in proportion beyond. 1 when y is 0; NaN for x <= 0 or what is not finite.
double tmac_pow(double x, double y);

#endif

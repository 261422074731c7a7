// OpenBLAS is opened at run time, for two reasons. It is optional: without it everything works, slowly. And it takes its
// kernels by the processor's model number, so that the library of Debian 12 runs SSE3 code on processors younger than
// itself, and 3DNow!, which processors have no more, where a hypervisor claims to be an Opteron; unless the user chose, it
// is told what the verified instruction sets allow before it starts. Where not even SSE3 is there, it is left alone.
#include "train/multiply.h"

#ifndef TMAC_TRAIN_DOUBLE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

// The C interface of BLAS: row-major is 101, plain 111, transposed 112.
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };
typedef void sgemm(int order, int turn_a, int turn_b, int m, int n, int k, float alpha,
                   const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);

static sgemm *blas;

// The kernels it shall use; NULL: those it takes by itself.
static const char *core_for(tmac_isa_set isa)
{
    if (tmac_isa_has(isa, TMAC_ISA_AVX512BW)) return "SkylakeX";
    if (tmac_isa_has(isa, TMAC_ISA_AVX2)) return "Haswell";
#if defined(__x86_64__)
    if (!tmac_isa_has(isa, TMAC_ISA_SSSE3)) return "Prescott"; // SSE3, the least it has
#endif
    return NULL;
}

// SSE3 is no set of ours: the least of them has SSSE3 too.
static bool has_sse3(tmac_isa_set isa)
{
#if defined(__x86_64__)
    return tmac_isa_has(isa, TMAC_ISA_SSSE3) || __builtin_cpu_supports("sse3");
#else
    (void)isa;
    return true;
#endif
}

// A symbol of the library as a function: ISO C has no cast for it, POSIX promises that the bytes are the same.
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol) *(void **)function = symbol;
    return symbol != NULL;
}

const char *tmac_multiply_open(tmac_isa_set isa)
{
    static char text[96];
    if (text[0]) return text;
    if (!has_sse3(isa)) {
        snprintf(text, sizeof text, "a plain loop: OpenBLAS needs a processor with SSE3");
        return text;
    }
    const char *core = core_for(isa);
    if (core) setenv("OPENBLAS_CORETYPE", core, 0);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    void (*set_threads)(int) = NULL;
    char *(*core_name)(void) = NULL;
    sgemm *found = NULL;
    if (library && find(library, "cblas_sgemm", &found) &&
        find(library, "openblas_set_num_threads", &set_threads) &&
        find(library, "openblas_get_corename", &core_name)) {
        set_threads(1);
        blas = found;
        snprintf(text, sizeof text, "OpenBLAS for %s", core_name());
    } else {
        snprintf(
            text, sizeof text,
            "a plain loop: with libopenblas0-pthread installed, training is many times faster");
    }
    return text;
}

#endif

// Rows of the output one after the other: the inner loop runs along them and vectorizes where b is not turned.
static void multiply_plainly(uint32_t rows, uint32_t columns, uint32_t depth, real alpha,
                             tmac_operand a, tmac_operand b, real beta, real *out, size_t stride)
{
    for (uint32_t r = 0; r < rows; r++) {
        real *to = out + r * stride;
        for (uint32_t c = 0; c < columns; c++)
            to[c] = beta == 0 ? 0 : beta * to[c];
        for (uint32_t k = 0; k < depth; k++) {
            real factor = alpha * (a.turned ? a.data[k * a.stride + r] : a.data[r * a.stride + k]);
            const real *from = b.data + (b.turned ? k : k * b.stride);
            size_t step = b.turned ? b.stride : 1;
            for (uint32_t c = 0; c < columns; c++)
                to[c] += factor * from[c * step];
        }
    }
}

void tmac_multiply(uint32_t rows, uint32_t columns, uint32_t depth, real alpha, tmac_operand a,
                   tmac_operand b, real beta, real *out, size_t stride)
{
#ifndef TMAC_TRAIN_DOUBLE
    if (blas) {
        blas(ROW_MAJOR, a.turned ? TRANSPOSED : PLAIN, b.turned ? TRANSPOSED : PLAIN, (int)rows,
             (int)columns, (int)depth, alpha, a.data, (int)a.stride, b.data, (int)b.stride, beta,
             out, (int)stride);
        return;
    }
#endif
    multiply_plainly(rows, columns, depth, alpha, a, b, beta, out, stride);
}

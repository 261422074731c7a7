#include "train/multiply.h"

#if defined TMAC_OPENBLAS && !defined TMAC_TRAIN_DOUBLE
#include <cblas.h>
#include <stdio.h>

void tmac_multiply(uint32_t rows, uint32_t columns, uint32_t depth, real alpha, tmac_operand a,
                   tmac_operand b, real beta, real *out, size_t stride)
{
    cblas_sgemm(CblasRowMajor, a.turned ? CblasTrans : CblasNoTrans,
                b.turned ? CblasTrans : CblasNoTrans, (blasint)rows, (blasint)columns,
                (blasint)depth, alpha, a.data, (blasint)a.stride, b.data, (blasint)b.stride, beta,
                out, (blasint)stride);
}

const char *tmac_multiply_describe(void)
{
    static char text[96];
    if (text[0]) return text;
    openblas_set_num_threads(1);
    snprintf(text, sizeof text, "OpenBLAS for %s", openblas_get_corename());
    return text;
}

#else

// Rows of the output side by side: the inner loop runs along them and vectorizes where b is not turned.
void tmac_multiply(uint32_t rows, uint32_t columns, uint32_t depth, real alpha, tmac_operand a,
                   tmac_operand b, real beta, real *out, size_t stride)
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

const char *tmac_multiply_describe(void)
{
    return "a plain loop: install libopenblas-dev and rebuild to train many times faster";
}
#endif

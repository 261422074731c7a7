// Corrections of low rank (LRC) as files hold them. Private to convert/.
#ifndef TMAC_CONVERT_LOW_RANK_H
#define TMAC_CONVERT_LOW_RANK_H

#include "runtime/source.h"

typedef struct tmac_factor {
    const float *values; // row-major, slow x fast
    uint64_t slow, fast;
} tmac_factor;

// y += U (V' x) beside a projection of rows x columns. U is [rows, rank] or [rank, rows], V is [columns, rank] or
// [rank, columns]: whoever wrote the file decided, and the dimensions tell. Where both would fit, the first is meant
// (PyTorch's order). Copies what it needs. name: the projection's, for messages.
tmac_status tmac_low_rank_take(tmac_source *source, const char *name, uint32_t rows,
                               uint32_t columns, uint32_t half_split_head, const tmac_factor *u,
                               const tmac_factor *v, tmac_low_rank *low);

#endif

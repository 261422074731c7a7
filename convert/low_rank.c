#include "convert/low_rank.h"

#include "base/memory.h"
#include "convert/neutral.h"

static bool orient(const tmac_factor *factor, uint64_t size, uint64_t *rank, bool *transposed)
{
    *transposed = factor->slow != size;
    *rank = *transposed ? factor->slow : factor->fast;
    return factor->slow == size || factor->fast == size;
}

tmac_status tmac_low_rank_take(tmac_source *source, const char *name, uint32_t rows,
                               uint32_t columns, uint32_t half_split_head, const tmac_factor *u,
                               const tmac_factor *v, tmac_low_rank *low)
{
    uint64_t rank, other;
    bool u_transposed, v_transposed;
    if (!orient(u, rows, &rank, &u_transposed) || !orient(v, columns, &other, &v_transposed) ||
        rank != other || rank == 0 || rank > rows || rank > columns)
        return tmac_fail(TMAC_BAD_FILE,
                         "the low-rank correction of %s (%llu x %llu and %llu x %llu) does not fit "
                         "%u x %u",
                         name, (unsigned long long)u->slow, (unsigned long long)u->fast,
                         (unsigned long long)v->slow, (unsigned long long)v->fast, rows, columns);
    float *up = tmac_source_take(source, (size_t)rows * rank * sizeof *up);
    float *down = tmac_source_take(source, (size_t)columns * rank * sizeof *down);
    if (!up || !down) return tmac_no_memory();
    for (uint32_t r = 0; r < rows; r++) {
        size_t row = tmac_file_row(r, half_split_head);
        for (size_t k = 0; k < rank; k++)
            up[r * rank + k] = u->values[u_transposed ? k * rows + row : row * rank + k];
    }
    for (size_t k = 0; k < rank; k++)
        for (size_t c = 0; c < columns; c++)
            down[k * columns + c] = v->values[v_transposed ? k * columns + c : c * rank + k];
    *low = (tmac_low_rank){.rank = (uint32_t)rank, .down = down, .up = up};
    return tmac_ok();
}

#include "base/self_test.h"

#if defined(__AMX_TILE__) && defined(__AMX_INT8__)

#include <immintrin.h>

// Signed times unsigned, as the kernels use it: 3 rows of 8 values by 2 rows of 16 times 4.
bool tmac_self_test_amx(const tmac_self_test_bytes *in)
{
    enum { ROWS = 3, QUADS = 2 };
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1, .bytes = {64, 4 * QUADS, 64}, .rows = {ROWS, ROWS, QUADS}};
    int8_t left[ROWS][4 * QUADS];
    uint8_t right[QUADS][64];
    int32_t sums[ROWS][16];
    for (int r = 0; r < ROWS; r++)
        for (int k = 0; k < 4 * QUADS; k++)
            left[r][k] = (int8_t)in->a[r * 4 * QUADS + k];
    for (int k = 0; k < QUADS; k++)
        for (int i = 0; i < 64; i++)
            right[k][i] = k == 0 ? in->b[i] : in->c[i];
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_loadd(1, left, 4 * QUADS);
    _tile_loadd(2, right, 64);
    _tile_dpbsud(0, 1, 2);
    _tile_stored(0, sums, 64);
    _tile_release();
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < 16; c++) {
            int32_t sum = 0;
            for (int k = 0; k < 4 * QUADS; k++) {
                const volatile uint8_t *row = k < 4 ? in->b : in->c;
                sum += (int8_t)in->a[r * 4 * QUADS + k] * row[4 * c + k % 4];
            }
            if (sums[r][c] != sum) return false;
        }
    }
    return true;
}

#else

bool tmac_self_test_amx(const tmac_self_test_bytes *in)
{
    (void)in;
    return false;
}

#endif

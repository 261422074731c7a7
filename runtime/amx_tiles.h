// The tile operations that the amx kernels use, by instruction or, with TMAC_AMX_EMULATED, in plain C with the same
// meaning: so that the kernels' own text can be checked on hosts without AMX. Only generated kernels include this.
//
// The emulation keeps the eight tiles per thread and follows the published definition of each instruction: rows and
// bytes per row come from the configuration, a load zeroes what lies beyond them, a product adds over quads of bytes
// in 32-bit arithmetic that wraps.
#ifndef TMAC_RUNTIME_AMX_TILES_H
#define TMAC_RUNTIME_AMX_TILES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct tmac_tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16]; // per row
    uint8_t rows[16];
} tmac_tile_config;

#ifndef TMAC_AMX_EMULATED

#include <immintrin.h>

#define tmac_tile_configure(config)        _tile_loadconfig(config)
#define tmac_tile_release()                _tile_release()
#define tmac_tile_load(tile, from, stride) _tile_loadd(tile, from, stride)
#define tmac_tile_store(tile, to, stride)  _tile_stored(tile, to, stride)
#define tmac_tile_zero(tile)               _tile_zero(tile)
// tile c += a times b, both signed bytes
#define tmac_tile_multiply(c, a, b) _tile_dpbssd(c, a, b)

#else

static _Thread_local struct {
    tmac_tile_config config;
    uint8_t tile[8][16][64];
} tmac_tiles;

static inline void tmac_tile_configure(const tmac_tile_config *config)
{
    memset(&tmac_tiles, 0, sizeof tmac_tiles);
    tmac_tiles.config = *config;
}

static inline void tmac_tile_release(void)
{
    memset(&tmac_tiles, 0, sizeof tmac_tiles);
}

static inline void tmac_tile_zero(int tile)
{
    memset(tmac_tiles.tile[tile], 0, sizeof tmac_tiles.tile[tile]);
}

static inline void tmac_tile_load(int tile, const void *from, size_t stride)
{
    memset(tmac_tiles.tile[tile], 0, sizeof tmac_tiles.tile[tile]);
    for (size_t r = 0; r < tmac_tiles.config.rows[tile]; r++)
        memcpy(tmac_tiles.tile[tile][r], (const uint8_t *)from + r * stride,
               tmac_tiles.config.bytes[tile]);
}

static inline void tmac_tile_store(int tile, void *to, size_t stride)
{
    for (size_t r = 0; r < tmac_tiles.config.rows[tile]; r++)
        memcpy((uint8_t *)to + r * stride, tmac_tiles.tile[tile][r], tmac_tiles.config.bytes[tile]);
}

static inline void tmac_tile_multiply(int c, int a, int b)
{
    const tmac_tile_config *config = &tmac_tiles.config;
    for (size_t m = 0; m < config->rows[c]; m++) {
        for (size_t n = 0; n < config->bytes[c] / 4u; n++) {
            uint32_t sum;
            memcpy(&sum, &tmac_tiles.tile[c][m][4 * n], sizeof sum);
            for (size_t k = 0; k < config->bytes[a]; k++)
                sum += (uint32_t)((int8_t)tmac_tiles.tile[a][m][k] *
                                  (int8_t)tmac_tiles.tile[b][k / 4][4 * n + k % 4]);
            memcpy(&tmac_tiles.tile[c][m][4 * n], &sum, sizeof sum);
        }
    }
}

#endif

#endif

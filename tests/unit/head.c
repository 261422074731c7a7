// Integer heads: every instruction set gives the bits of plain C, the codes stand for the weights within their bound, and
// screening chooses what the stored head would choose.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/head.h"
#include "runtime/tmac.h"

enum { ROWS = 37, COLUMNS = 203, TOKENS = 7, TILES = 3 };

static float unit_value(tmac_random *random)
{
    return tmac_random_unit(random) * 2.0f - 1.0f;
}

static void pack(const tmac_head_kernels *kernels, const tmac_head_shape *shape,
                 const float *weights, uint8_t *tiles, tmac_head_loss *losses)
{
    for (uint32_t tile = 0; tile < tmac_head_tiles(shape); tile++) {
        uint32_t first = tile * TMAC_HEAD_ROWS;
        uint32_t count = shape->rows - first < 16 ? shape->rows - first : 16;
        cr_assert(kernels->pack_tile(shape, weights + (size_t)first * shape->columns, count,
                                     tiles + tile * shape->tile_bytes, losses + first));
    }
}

Test(head, every_instruction_set_gives_the_same_bits)
{
    static float weights[ROWS * COLUMNS], want[TOKENS * 48], got[TOKENS * 48];
    static uint8_t want_tiles[1 << 16], got_tiles[1 << 16];
    static int8_t codes[TOKENS * 256];
    static int32_t corrections[TOKENS * 4];
    tmac_random random = {17};
    for (size_t i = 0; i < ROWS * COLUMNS; i++)
        weights[i] = unit_value(&random) * (i % 5 ? 0.1f : 1.0f);
    memset(weights + (size_t)3 * COLUMNS, 0, COLUMNS * sizeof *weights);
    float scales[TOKENS];
    static const uint32_t widths[] = {4, 5, 6, 8};
    for (size_t b = 0; b < 4; b++)
        for (uint32_t columns = 1; columns <= COLUMNS; columns += columns < 20 ? 1 : 61) {
            const uint32_t bits = widths[b];
            const tmac_head_shape shape = tmac_head_shape_of(ROWS, columns, bits);
            cr_assert_leq(TILES * shape.tile_bytes, sizeof want_tiles);
            const uint32_t padded = tmac_head_padded(&shape);
            memset(codes, 0, sizeof codes);
            for (uint32_t t = 0; t < TOKENS; t++) {
                scales[t] = tmac_random_unit(&random);
                for (uint32_t k = 0; k < columns; k++)
                    codes[t * padded + k] =
                        t == 0 ? -128 : (int8_t)((int)tmac_random_below(&random, 256) - 128);
                for (uint32_t g = 0; g < shape.groups; g++) {
                    int32_t sum = 0;
                    for (uint32_t k = 0; k < shape.group; k++)
                        sum += codes[t * padded + g * shape.group + k];
                    corrections[t * shape.groups + g] = sum * (1 << (bits - 1));
                }
            }
            tmac_head_loss want_losses[48] = {0}, got_losses[48] = {0};
            for (int isa = 0; isa < TMAC_ISA_COUNT; isa++) {
                if (!tmac_isa_has(tmac_isa_verified(), (tmac_isa)isa)) continue;
                const tmac_head_kernels *kernels =
                    tmac_head_kernels_for(tmac_isa_contained((tmac_isa)isa));
                const bool first = isa == TMAC_ISA_SCALAR;
                uint8_t *tiles = first ? want_tiles : got_tiles;
                pack(kernels, &shape, weights, tiles, first ? want_losses : got_losses);
                float *y = first ? want : got;
                memset(y, 0, sizeof want);
                kernels->run(&(tmac_head_task){&shape, tiles, 0, TILES, TOKENS, codes, corrections,
                                               scales, y, 48});
                if (first) {
                    // Against the definition: codes within half a step, so the dot within the norms.
                    for (uint32_t t = 0; t < TOKENS; t++)
                        for (uint32_t r = 0; r < ROWS; r++) {
                            double dot = 0, size = 0;
                            for (uint32_t k = 0; k < columns; k++) {
                                const double q = (double)scales[t] * codes[t * padded + k];
                                dot += (double)weights[r * columns + k] * q;
                                size += q * q;
                            }
                            const double bound = (double)want_losses[r].error * sqrt(size) +
                                                 1e-5 * (double)want_losses[r].norm * sqrt(size) +
                                                 1e-12;
                            cr_assert(fabs((double)y[t * 48 + r] - dot) <= bound,
                                      "%u bits, %u columns, row %u: %g instead of %g", bits,
                                      columns, r, (double)y[t * 48 + r], dot);
                            const double worst = bits == 8 ? 0.015 : ldexp(0.04, 6 - (int)bits);
                            cr_assert_leq((double)want_losses[r].error,
                                          worst * sqrt(columns) + 1e-15);
                        }
                    continue;
                }
                const char *name = tmac_isa_name((tmac_isa)isa);
                cr_assert(memcmp(want_tiles, got_tiles, TILES * shape.tile_bytes) == 0,
                          "tiles of %s", name);
                cr_assert(memcmp(want_losses, got_losses, sizeof want_losses) == 0, "losses of %s",
                          name);
                cr_assert(memcmp(want, got, sizeof want) == 0, "%u bits, %u columns, %s", bits,
                          columns, name);
            }
        }
    weights[5] = INFINITY;
    const tmac_head_shape shape = tmac_head_shape_of(ROWS, COLUMNS, 4);
    for (int isa = 0; isa < TMAC_ISA_COUNT; isa++)
        if (tmac_isa_has(tmac_isa_verified(), (tmac_isa)isa))
            cr_assert_not(tmac_head_kernels_for(tmac_isa_contained((tmac_isa)isa))
                              ->pack_tile(&shape, weights, 16, got_tiles, NULL));
}

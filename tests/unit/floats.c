// The promise of runtime/floats.h: every instruction set computes the same bits as plain C.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/floats.h"
#include "runtime/half.h"

enum { LONGEST = 700, TABLES = 3 };

static const tmac_floats *tables[TABLES];
static int table_count;
static tmac_random generator;

static void setup(void)
{
    generator.state = 7;
    table_count = 0;
    for (int isa = 0; isa < TMAC_ISA_COUNT; isa++) {
        if (!tmac_isa_has(tmac_isa_verified(), (tmac_isa)isa)) continue;
        const tmac_floats *table = tmac_floats_for(tmac_isa_contained((tmac_isa)isa));
        if (table_count == 0 || tables[table_count - 1] != table) tables[table_count++] = table;
    }
}

TestSuite(floats, .init = setup);

// Values of very different magnitudes and both signs, zeros and ties among them.
static float awkward(void)
{
    switch (tmac_random_below(&generator, 8)) {
    case 0:
        return 0.0f;
    case 1:
        return (float)((int)tmac_random_below(&generator, 255) - 127) / 2.0f;
    case 2:
        return (tmac_random_unit(&generator) - 0.5f) * 1e-4f;
    case 3:
        return (tmac_random_unit(&generator) - 0.5f) * 200.0f;
    default:
        return tmac_random_unit(&generator) * 2.0f - 1.0f;
    }
}

static void fill(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = awkward();
}

static void same_bits(const void *a, const void *b, size_t bytes, const char *what,
                      const tmac_floats *table)
{
    cr_assert(memcmp(a, b, bytes) == 0, "%s differs between scalar and %s", what,
              tmac_isa_name(table->isa));
}

Test(floats, vectors_agree_at_every_length)
{
    static float x[LONGEST], y[LONGEST], want[LONGEST], got[LONGEST];
    static int8_t want_codes[LONGEST], got_codes[LONGEST];
    static uint16_t want_half[LONGEST], got_half[LONGEST];
    for (uint32_t n = 1; n < LONGEST; n += n < 70 ? 1 : 31) {
        fill(x, n);
        fill(y, n);
        for (int t = 1; t < table_count; t++) {
            const tmac_floats *a = tables[0], *b = tables[t];
            a->rms_norm(x, y, n, 1e-5f, want);
            b->rms_norm(x, y, n, 1e-5f, got);
            same_bits(want, got, n * sizeof *want, "rms_norm", b);
            a->silu_multiply(x, y, n, want);
            b->silu_multiply(x, y, n, got);
            same_bits(want, got, n * sizeof *want, "silu_multiply", b);
            a->relu2_multiply(x, y, n, want);
            b->relu2_multiply(x, y, n, got);
            same_bits(want, got, n * sizeof *want, "relu2_multiply", b);
            float m = a->quantize(x, n, want_codes), m2 = b->quantize(x, n, got_codes);
            same_bits(&m, &m2, sizeof m, "quantize", b);
            same_bits(want_codes, got_codes, n, "quantize", b);
            a->to_f16(x, n, want_half);
            b->to_f16(x, n, got_half);
            same_bits(want_half, got_half, n * sizeof *want_half, "to_f16", b);
            memcpy(want, x, n * sizeof *x);
            memcpy(got, x, n * sizeof *x);
            a->rotate(want, y, n / 2);
            b->rotate(got, y, n / 2);
            same_bits(want, got, n * sizeof *want, "rotate", b);
        }
    }
}

Test(floats, quantize_follows_the_rule)
{
    float x[] = {0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 127.0f, -127.0f, 126.49f};
    int8_t want[] = {0, 0, 2, 2, -2, 127, -127, 126}, got[8];
    for (int t = 0; t < table_count; t++) {
        cr_assert_float_eq(tables[t]->quantize(x, 8, got), 1.0f, 0.0f);
        cr_assert(memcmp(want, got, 8) == 0);
        float zeros[3] = {0};
        cr_assert_float_eq(tables[t]->quantize(zeros, 3, got), 1e-5f / 127.0f, 0.0f);
        cr_assert(got[0] == 0 && got[1] == 0 && got[2] == 0);
    }
}

static void check_dots(void (*a)(const tmac_dot_rows *), void (*b)(const tmac_dot_rows *),
                       const void *weights, const char *what, const tmac_floats *table)
{
    static float x[6 * 300], want[6 * 40], got[6 * 40];
    fill(x, 6 * 300);
    for (uint32_t columns = 1; columns < 300; columns += columns < 20 ? 1 : 37)
        for (uint32_t tokens = 1; tokens <= 6; tokens++) {
            memset(want, 0, sizeof want);
            memset(got, 0, sizeof got);
            tmac_dot_rows task = {.weights = weights,
                                  .columns = columns,
                                  .row_begin = 3,
                                  .row_end = 24,
                                  .x = x,
                                  .x_stride = 300,
                                  .tokens = tokens,
                                  .y = want,
                                  .y_stride = 40};
            a(&task);
            task.y = got;
            b(&task);
            same_bits(want, got, sizeof want, what, table);
        }
}

Test(floats, dot_products_agree)
{
    static float weights[24 * 300];
    static uint16_t half[24 * 300], brain[24 * 300];
    fill(weights, 24 * 300);
    tables[0]->to_f16(weights, 24 * 300, half);
    for (int i = 0; i < 24 * 300; i++)
        brain[i] = (uint16_t)(tmac_bits_of_float(weights[i]) >> 16);
    for (int t = 1; t < table_count; t++) {
        const tmac_floats *a = tables[0], *b = tables[t];
        check_dots(a->dot_rows_f32, b->dot_rows_f32, weights, "dot_rows_f32", b);
        check_dots(a->dot_rows_f16, b->dot_rows_f16, half, "dot_rows_f16", b);
        check_dots(a->dot_rows_bf16, b->dot_rows_bf16, brain, "dot_rows_bf16", b);
    }
}

enum { DIM = 70, HEADS = 6, TOKENS = 3, POSITIONS = 272 };

// What the cache holds, as floats (multiplied by the scales of int8) and as each kind of number.
typedef struct toy_cache {
    double keys[POSITIONS][DIM], values[POSITIONS][DIM];
    float f32_keys[POSITIONS * DIM], f32_values[POSITIONS * DIM];
    uint16_t f16_keys[POSITIONS * DIM], f16_values[POSITIONS * DIM];
    int8_t i8_keys[POSITIONS * DIM], i8_values[POSITIONS * DIM];
    float key_scales[POSITIONS], value_scales[POSITIONS];
} toy_cache;

typedef enum number_kind { KIND_F32, KIND_F16, KIND_I8, KINDS } number_kind;

static void fill_cache(toy_cache *cache, number_kind kind)
{
    for (size_t p = 0; p < POSITIONS; p++) {
        cache->key_scales[p] = tmac_random_unit(&generator) / 100;
        cache->value_scales[p] = tmac_random_unit(&generator) / 100;
        for (size_t d = 0; d < DIM; d++) {
            const size_t at = (p / 16 * DIM + d) * 16 + p % 16, v = p * DIM + d;
            cache->f32_keys[at] = tmac_random_unit(&generator) - 0.5f;
            cache->f32_values[v] = tmac_random_unit(&generator) - 0.5f;
            cache->f16_keys[at] = tmac_f32_to_f16(cache->f32_keys[at]);
            cache->f16_values[v] = tmac_f32_to_f16(cache->f32_values[v]);
            cache->i8_keys[at] = (int8_t)tmac_random_below(&generator, 256);
            cache->i8_values[v] = (int8_t)tmac_random_below(&generator, 256);
            cache->keys[p][d] = kind == KIND_F32 ? (double)cache->f32_keys[at]
                                : kind == KIND_F16
                                    ? (double)tmac_f16_to_f32(cache->f16_keys[at])
                                    : (double)cache->i8_keys[at] * (double)cache->key_scales[p];
            cache->values[p][d] =
                kind == KIND_F32   ? (double)cache->f32_values[v]
                : kind == KIND_F16 ? (double)tmac_f16_to_f32(cache->f16_values[v])
                                   : (double)cache->i8_values[v] * (double)cache->value_scales[p];
        }
    }
}

// Attention in double, straight from its definition.
static void attend_reference(const toy_cache *cache, const float *query, uint32_t positions,
                             double *out)
{
    double weight[POSITIONS], largest = -INFINITY, total = 0;
    for (uint32_t p = 0; p < positions; p++) {
        weight[p] = 0;
        for (uint32_t d = 0; d < DIM; d++)
            weight[p] += (double)query[d] * cache->keys[p][d];
        weight[p] /= sqrt(DIM);
        if (weight[p] > largest) largest = weight[p];
    }
    for (uint32_t p = 0; p < positions; p++)
        total += weight[p] = exp(weight[p] - largest);
    for (uint32_t d = 0; d < DIM; d++) {
        double sum = 0;
        for (uint32_t p = 0; p < positions; p++)
            sum += weight[p] * cache->values[p][d];
        out[d] = sum / total;
    }
}

// All rows of a task, from scores to output; the work is cut before block `cut`, as if two workers had it.
static void attend(const tmac_floats *floats, number_kind kind, tmac_attention task, uint32_t cut,
                   float *out)
{
    static float scores[TOKENS * HEADS * POSITIONS];
    static float sums[POSITIONS / TMAC_OUTPUT_BLOCK + 2][TOKENS * HEADS * DIM];
    void (*const score[])(const tmac_attention *, uint32_t,
                          uint32_t) = {floats->score_f32, floats->score_f16, floats->score_i8};
    void (*const value[])(const tmac_attention *, uint32_t, uint32_t, float *,
                          size_t) = {floats->value_f32, floats->value_f16, floats->value_i8};
    const uint32_t blocks =
        (task.positions + task.tokens - 1 + TMAC_OUTPUT_BLOCK - 1) / TMAC_OUTPUT_BLOCK;
    const uint32_t rows = task.tokens * task.heads;
    if (cut > blocks) cut = blocks;
    task.scores = scores;
    task.score_stride = POSITIONS;
    score[kind](&task, cut, blocks);
    score[kind](&task, 0, cut);
    float inverse[TOKENS * HEADS];
    for (uint32_t row = 0; row < rows; row++) {
        float *of = scores + (size_t)row * POSITIONS;
        const uint32_t visible = task.positions + row / task.heads,
                       count = (visible + 15) / 16 * 16;
        for (uint32_t p = visible; p < count; p++)
            of[p] = -INFINITY;
        const float whole = floats->weigh(of, count, floats->maximum(of, count));
        inverse[row] = floats->inverse_sum(of, count);
        cr_assert_eq(whole, inverse[row]);
    }
    const size_t stride = sizeof sums[0] / sizeof **sums;
    memset(sums, 0, sizeof sums);
    if (cut) value[kind](&task, 0, cut, sums[0], 0);
    value[kind](&task, cut, blocks, sums[1], stride);
    for (uint32_t b = cut; b < blocks; b++)
        floats->add(sums[0], sums[1] + (b - cut) * stride, rows * DIM);
    for (uint32_t row = 0; row < rows; row++)
        floats->scale(sums[0] + (size_t)row * DIM, inverse[row], DIM, out + (size_t)row * DIM);
}

Test(floats, attention_agrees_and_is_right)
{
    static toy_cache cache;
    static float query[TOKENS * HEADS * DIM], want[TOKENS * HEADS * DIM], got[TOKENS * HEADS * DIM];
    for (int i = 0; i < TOKENS * HEADS * DIM; i++)
        query[i] = tmac_random_unit(&generator) * 4 - 2;
    static const uint32_t lengths[] = {1, 2, 15, 16, 17, 62, 63, 64, 65, 128, 200, 270};
    for (number_kind k = 0; k < KINDS; k++) {
        fill_cache(&cache, k);
        const void *const keys[] = {cache.f32_keys, cache.f16_keys, cache.i8_keys};
        const void *const values[] = {cache.f32_values, cache.f16_values, cache.i8_values};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (uint32_t heads = 1; heads <= HEADS; heads++)
                for (uint32_t tokens = 1; tokens <= TOKENS; tokens++) {
                    const tmac_attention task = {.query = query,
                                                 .keys = keys[k],
                                                 .values = values[k],
                                                 .key_scales = cache.key_scales,
                                                 .value_scales = cache.value_scales,
                                                 .heads = heads,
                                                 .head_dim = DIM,
                                                 .tokens = tokens,
                                                 .positions = lengths[l]};
                    const uint32_t rows = tokens * heads;
                    attend(tables[0], k, task, UINT32_MAX, want);
                    for (uint32_t row = 0; row < rows; row++) {
                        double reference[DIM];
                        attend_reference(&cache, query + (size_t)row * DIM,
                                         lengths[l] + row / heads, reference);
                        for (uint32_t d = 0; d < DIM; d++)
                            cr_assert_float_eq(want[row * DIM + d], reference[d], 3e-6);
                    }
                    for (int t = 0; t < table_count; t++)
                        for (uint32_t cut = 0; cut < 4; cut++) {
                            attend(tables[t], k, task, cut, got);
                            same_bits(want, got, (size_t)rows * DIM * sizeof *want, "attention",
                                      tables[t]);
                        }
                    // A token alone and among others: the same bits.
                    tmac_attention last = task;
                    last.query = query + (size_t)(tokens - 1) * heads * DIM;
                    last.tokens = 1;
                    last.positions = lengths[l] + tokens - 1;
                    attend(tables[table_count - 1], k, last, 2, got);
                    same_bits(want + (size_t)(tokens - 1) * heads * DIM, got,
                              heads * DIM * sizeof *want, "one token", tables[table_count - 1]);
                }
    }
}

Test(floats, silu_is_accurate)
{
    for (int step = -25000; step < 25000; step++) {
        float v = (float)step * 0.0038f, one = 1.0f, out;
        tables[0]->silu_multiply(&v, &one, 1, &out);
        double exact = (double)v / (1.0 + exp(-(double)v));
        cr_assert(fabs(out - exact) <= 4e-7 * fabs(exact) + 1e-36, "silu(%g) = %g, not %g", v, out,
                  exact);
    }
}

Test(floats, half_precision_is_exact)
{
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        float value = tmac_f16_to_f32((uint16_t)bits);
        if (value != value) continue;
        cr_assert_eq(tmac_f32_to_f16(value), bits, "f16 %04x does not survive a round trip", bits);
    }
    cr_assert_eq(tmac_f32_to_f16(65519.0f), 0x7bff);
    cr_assert_eq(tmac_f32_to_f16(65520.0f), 0x7c00);
    cr_assert_eq(tmac_f32_to_f16(0x1p-25f), 0); // a tie goes to even
    cr_assert_eq(tmac_f32_to_f16(0x1.000002p-25f), 1);
    for (int i = 0; i < 200000; i++) { // against whatever hardware the other tables use
        float value = tmac_float_of_bits((uint32_t)tmac_random_next(&generator));
        if (value != value) continue;
        uint16_t want, got;
        tables[0]->to_f16(&value, 1, &want);
        for (int t = 1; t < table_count; t++) {
            tables[t]->to_f16(&value, 1, &got);
            cr_assert_eq(got, want, "f16 of %a is %04x, not %04x", (double)value, got, want);
        }
    }
}

Test(floats, scales_apply_in_order)
{
    int32_t sums[3 * 32];
    float scales[32 * 3], want[32], got[32];
    for (int i = 0; i < 3 * 32; i++)
        sums[i] = (int32_t)tmac_random_below(&generator, 2000000) - 1000000;
    fill(scales, 96);
    for (uint32_t per_row = 0; per_row < 4; per_row += per_row == 1 ? 2 : 1)
        for (uint32_t rows = 1; rows <= 29; rows++) {
            uint32_t groups = per_row > 1 ? per_row : 1;
            tmac_scale_rows task = {sums, 32, groups, rows, scales, per_row, 0.37f};
            tables[0]->scale_rows(&task, want);
            for (int t = 1; t < table_count; t++) {
                tables[t]->scale_rows(&task, got);
                same_bits(want, got, rows * sizeof *want, "scale_rows", tables[t]);
            }
            for (uint32_t r = 0; r < rows; r++) {
                float sum = 0;
                for (uint32_t g = 0; g < groups; g++)
                    sum = fmaf((float)sums[g * 32 + r], scales[r * groups + g], sum);
                float plain = (float)sums[r] * (scales[per_row ? r : 0] * 0.37f);
                cr_assert_float_eq(want[r], groups > 1 ? sum * 0.37f : plain, 0.0f);
            }
        }
}

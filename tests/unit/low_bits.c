// Weights of one to four bits: the bytes of their layouts and of TM2, models of them through TM2, and who may hold them.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/convert.h"
#include "convert/tm2.h"
#include "runtime/kernel.h"
#include "runtime/plan.h"
#include "tests/unit/tiny.h"

enum { COLUMNS = 64, TILE = 8192 };

// A tile of the padding weight, except for row `row`, column `column`.
static void pack_one(const char *name, uint32_t row, uint32_t column, int8_t value, uint8_t *tile)
{
    static int8_t weights[128 * COLUMNS];
    const tmac_layout *layout = tmac_layout_find(name);
    cr_assert_not_null(layout, "%s", name);
    tmac_shape shape = {layout->row_tile, COLUMNS, COLUMNS};
    cr_assert_leq(layout->tile_bytes(&shape), TILE);
    memset(weights, tmac_layout_padding(layout), sizeof weights);
    weights[row * COLUMNS + column] = value;
    layout->pack_tile(&shape, weights, layout->row_tile, tile);
}

Test(low_bits, formats)
{
    static const struct {
        const char *name;
        char format;
        int low, high, step;
    } cases[] = {
        {"mad2_r32", 't', -1, 1, 1},  {"bits1_r32", '1', -1, 1, 2}, {"madq2_r32", '2', -2, 1, 1},
        {"bits3_r64", '3', -4, 3, 1}, {"madq4_r16", '4', -8, 7, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const tmac_layout *layout = tmac_layout_find(cases[i].name);
        cr_assert_not_null(layout, "%s", cases[i].name);
        cr_expect_eq(layout->format, cases[i].format);
        cr_expect(layout->low == cases[i].low && layout->high == cases[i].high);
        cr_expect_eq(layout->step, cases[i].step);
    }
    const tmac_layout *one = tmac_layout_find("bits1_r32");
    cr_expect_eq(tmac_layout_padding(one), -1);
    cr_expect_eq(tmac_layout_weight(one, 2), -1);
    cr_expect_eq(tmac_layout_weight(one, 3), 1);
}

Test(low_bits, bit_planes)
{
    uint8_t tile[TILE];
    pack_one("bits4_r32", 16, 9, 7, tile); // code 15; row 16 is byte 8; weight 1 of code 1
    for (uint32_t plane = 0; plane < 4; plane++)
        cr_expect_eq(tile[(4 + plane) * 32 + 8], plane == 3 ? 0xff : 2, "plane %u", plane);
    pack_one("bits4_r32", 16, 9, -8, tile); // code 0 among zeros, whose code is 8
    cr_expect_eq(tile[(4 + 3) * 32 + 8], 0xfd);
    pack_one("bits1_r32", 0, 7, 1, tile);
    cr_expect_eq(tile[0], 128);
}

Test(low_bits, multiply_add_fields)
{
    uint8_t tile[TILE];
    pack_one("madq4_r32", 17, 6, -7, tile); // row 1 of the second block; j = 1, i = 2
    cr_expect_eq(tile[256 + 4 + 2], 0x18);
    pack_one("madq3_r16", 0, 30, 3, tile); // j = 7, i = 2: code 7
    cr_expect_eq(tile[64 + 2], 3 << 6);
    cr_expect_eq(tile[128 + 2], 0xff);
    cr_expect_eq(tile[128 + 3], 0xff, "zeros are the code 4");
    pack_one("madq2_r16", 3, 32, 1, tile); // the first weight of the second block
    cr_expect_eq(tile[128 + 12], 0xab);
}

Test(low_bits, sizes_and_the_longest_groups)
{
    static const struct {
        const char *layout;
        tmac_shape shape;
        size_t bytes;
    } cases[] = {
        {"bits4_r32", {32, 2560, 32}, 32 * 2560 / 2},
        {"bits1_r128", {128, 2560, 2560}, 128 * 2560 / 8},
        {"bits3_r32", {1, 9, 9}, 32 * 3 * 2},
        {"madq3_r16", {16, 2560, 64}, 16 * 2560 * 3 / 8},
        {"madq4_r16", {1, 1, 1}, 256},
        {"madq4_r16", {1, (1 << 21) - 1, (1 << 21) - 1}, (size_t)256 << 16},
        {"madq4_r16", {1, 1 << 21, 1 << 21}, 0}, // -8 * -128 * 2^21 = 2^31
        {"bits1_r32", {1, TMAC_COLUMNS_MAX, TMAC_COLUMNS_MAX}, (size_t)32 << 21},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(tmac_layout_find(cases[i].layout)->tile_bytes(&cases[i].shape), cases[i].bytes,
                     "%s", cases[i].layout);
}

Test(low_bits, codes_in_a_file)
{
    static const struct {
        tmac_tm2_kind kind;
        int8_t values[9];
        uint8_t bytes[5];
        size_t count;
    } cases[] = {
        {TMAC_TM2_Q1, {1, -1, -1, -1, -1, -1, -1, 1, 1}, {0x81, 0x01}, 2},
        {TMAC_TM2_Q2, {-2, -1, 0, 1, 1, 0, -1, -2, -1}, {0xe4, 0x1b, 0x01}, 3},
        {TMAC_TM2_Q3, {3, -4, 3, -4, -4, -4, -4, -4, -3}, {0xc7, 0x01, 0, 1}, 4},
        {TMAC_TM2_Q4, {-8, 7, 0, -1, 1, 2, 3, 4, -7}, {0xf0, 0x78, 0xa9, 0xcb, 0x01}, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t packed[6] = {0, 0, 0, 0, 0, 0x5a};
        int8_t back[9];
        tmac_matrix matrix = {.rows = 1, .columns = 9};
        tmac_tm2_pack_codes(cases[i].kind, cases[i].values, 9, packed);
        cr_expect_eq(tmac_tm2_tensor_bytes(cases[i].kind, 1, 9), cases[i].count);
        cr_expect_arr_eq(packed, cases[i].bytes, cases[i].count, "case %zu", i);
        tmac_tm2_codes(&matrix, cases[i].kind, packed);
        matrix.read_codes(&matrix, 0, 1, back);
        cr_expect_arr_eq(back, cases[i].values, 9, "case %zu", i);
    }
}

static void write_shape(const char *text, char path[64])
{
    tmac_synth_shape shape;
    tmac_status status = tmac_synth_parse(text, &shape);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    snprintf(path, 64, "/tmp/tmac-low-bits-%d.tm2", (int)getpid());
    status = tmac_synth_write(&shape, 5, path);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
}

Test(low_bits, models_travel_through_tm2)
{
    static const char *const shapes[] = {"tiny-llama,weights=q1,group=32", "tiny-bitnet,weights=q2",
                                         "dim=44,hidden=101,layers=2,heads=2,weights=q3,group=32",
                                         "tiny-llama,weights=q4,group=64", "tiny-llama,group=32"};
    static const tmac_number numbers[] = {TMAC_Q1, TMAC_Q2, TMAC_Q3, TMAC_Q4, TMAC_TERNARY};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char path[64], copy[72];
        tmac_source source, again;
        write_shape(shapes[i], path);
        cr_assert_eq(tmac_source_open(path, NULL, &source).code, TMAC_OK);
        cr_assert_eq(source.layers[0].down.number, numbers[i]);
        snprintf(copy, sizeof copy, "%s.copy", path);
        cr_assert_eq(tmac_tm2_write(&source, copy, false).code, TMAC_OK);
        cr_assert_eq(tmac_tm2_verify(copy).code, TMAC_OK);
        cr_assert_eq(tmac_source_open(copy, NULL, &again).code, TMAC_OK);
        tiny_assert_same(&source, &again, true);
        if (numbers[i] != TMAC_TERNARY)
            cr_expect_eq(tmac_tm2_write(&source, copy, true).code, TMAC_UNSUPPORTED);
        tmac_source_close(&again);
        tmac_source_close(&source);
        remove(path);
        remove(copy);
    }
}

// Every value of a format occurs, about equally often; group scales differ.
Test(low_bits, synthetic_weights_are_balanced)
{
    char path[64];
    tmac_source source;
    write_shape("dim=128,hidden=256,layers=1,heads=2,weights=q4,group=32", path);
    cr_assert_eq(tmac_source_open(path, NULL, &source).code, TMAC_OK);
    const tmac_matrix *gate = &source.layers[0].gate;
    static int8_t codes[256 * 128];
    uint32_t seen[16] = {0};
    gate->read_codes(gate, 0, 256, codes);
    for (size_t i = 0; i < sizeof codes; i++)
        seen[codes[i] + 8]++;
    for (int v = 0; v < 16; v++)
        cr_expect(seen[v] > 1700 && seen[v] < 2400, "%d occurs %u times", v - 8, seen[v]);
    cr_expect_eq(gate->scale_count, 256 * 4);
    cr_expect_neq(gate->scales[0], gate->scales[1]);
    tmac_source_close(&source);
    remove(path);
}

Test(low_bits, shapes_that_make_no_sense)
{
    tmac_synth_shape shape;
    static const char *const texts[] = {"tiny-llama,weights=q5", "tiny-llama,weights=4",
                                        "tiny-llama,group=", "tiny-llama,", "tiny-llamas,group=32"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        cr_expect_eq(tmac_synth_parse(texts[i], &shape).code, TMAC_USAGE, "%s", texts[i]);
}

Test(low_bits, the_rule_keeps_to_the_format)
{
    for (int isa = 0; isa < TMAC_ISA_COUNT; isa++)
        for (const char *format = "t1234"; *format; format++) {
            tmac_input_set set = {
                .format = *format, .group = 32, .columns = 100, .matrices = 1, .rows = {70}};
            tmac_plan_entry entry = tmac_plan_rule(&set, 1, tmac_isa_contained((tmac_isa)isa));
            const tmac_layout *layout = tmac_layout_find(entry.layout);
            cr_assert_not_null(layout, "%c", *format);
            cr_expect_eq(layout->format, *format);
            set.format = 'x';
            cr_expect_not(tmac_layout_holds(layout, &set));
        }
}

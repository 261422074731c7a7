// Layouts: the bytes that the templates' descriptions promise, sizes, and the registry's names. (That packing and
// unpacking are inverse, for any shape, is the kernel checker's business.)
#include <criterion/criterion.h>
#include <string.h>

#include "runtime/kernel.h"

enum { ROWS_MAX = 512, COLUMNS = 20 };

static const tmac_layout *layout_named(const char *name)
{
    const tmac_layout *layout = tmac_layout_find(name);
    cr_assert_not_null(layout, "%s", name);
    return layout;
}

// A tile of zeros, except for weights[row][column] = value.
static void pack_one(const tmac_layout *layout, uint32_t row, uint32_t column, int8_t value,
                     uint8_t *tile)
{
    static int8_t weights[ROWS_MAX * COLUMNS];
    const tmac_shape shape = {layout->row_tile, COLUMNS, COLUMNS};
    memset(weights, 0, sizeof weights);
    weights[row * COLUMNS + column] = value;
    layout->pack_tile(&shape, weights, layout->row_tile, tile);
}

Test(layouts, mad2_bytes)
{
    uint8_t tile[4096];
    const tmac_layout *layout = layout_named("mad2_r32");
    // Row 19 is row 3 of the second block of 16; column 6 is weight 2 of field 1.
    pack_one(layout, 19, 6, 1, tile);
    cr_expect_eq(tile[64 + 3 * 4 + 2], 0x55 + (1 << 2));
    pack_one(layout, 19, 6, -1, tile);
    cr_expect_eq(tile[64 + 3 * 4 + 2], 0x55 - (1 << 2));
    // Column 17 is weight 1 of the next block of K, after both blocks of this one.
    pack_one(layout, 0, 17, 1, tile);
    cr_expect_eq(tile[128 + 1], 0x56);
    cr_expect_eq(tile[0], 0x55);
}

Test(layouts, lut5_bytes)
{
    uint8_t tile[4096];
    const tmac_layout *layout = layout_named("lut5_r64");
    // Row 0 is byte 0 of every code; the fourth weight of a code counts 27.
    pack_one(layout, 0, 8, 1, tile);
    cr_expect_eq(tile[64], 27);
    cr_expect_eq(tile[4 * 64], 0, "no negative code");
    pack_one(layout, 0, 8, -1, tile);
    cr_expect_eq(tile[64], 27 | 128);
    cr_expect_eq(tile[4 * 64], 1, "one negative code");
    // Rows 32.. come from the upper halves of the lanes, row 8 from the second lane.
    pack_one(layout, 32, 0, 1, tile);
    cr_expect_eq(tile[8], 1);
    pack_one(layout, 8, 0, 1, tile);
    cr_expect_eq(tile[16], 1);
}

Test(layouts, lut2_bytes)
{
    uint8_t tile[4096];
    const tmac_layout *layout = layout_named("lut2_r32");
    static const uint8_t step[4] = {1, 3, 1 << 4, 3 << 4};
    for (uint32_t k = 0; k < 4; k++) {
        pack_one(layout, 16, 4 + k, 1, tile);
        cr_expect_eq(tile[32 + 8], 0x44 + step[k]);
        pack_one(layout, 16, 4 + k, -1, tile);
        cr_expect_eq(tile[32 + 8], 0x44 - step[k]);
    }
}

// Row 16 is byte 8 of 32. A block: a byte of signs, four codes of two triples.
Test(layouts, lut3_bytes)
{
    uint8_t tile[4096];
    const tmac_layout *layout = layout_named("lut3_r32");
    static const uint8_t step[6] = {1, 3, 9, 1 << 4, 3 << 4, 9 << 4};
    for (uint32_t k = 0; k < 6; k++) {
        pack_one(layout, 16, 6 + k, 1, tile);
        cr_expect_eq(tile[8], 0);
        cr_expect_eq(tile[2 * 32 + 8], step[k]);
        pack_one(layout, 16, 6 + k, -1, tile);
        cr_expect_eq(tile[8], k < 3 ? 32 : 16, "the sign of triple 2 or 3");
        cr_expect_eq(tile[2 * 32 + 8], step[k]);
    }
}

Test(layouts, sizes)
{
    static const struct {
        const char *layout;
        tmac_shape shape;
        size_t bytes;
    } cases[] = {
        {"mad2_r64", {64, 2560, 2560}, 64 * 2560 / 4}, // 2 bits a weight
        {"mad2_r16", {1, 1, 1}, 64},
        {"mad2_r16", {16, 100, 50}, 16 * (64 + 64) / 4},   // each group padded to 64
        {"lut5_r256", {256, 2560, 2560}, 256 * (512 + 2)}, // codes, and a count of two bytes
        {"lut5_r64", {64, 2560, 32}, 64 * (80 * 7 + 80)},  // 32 weights in 7 codes, a count of one
        {"lut5_r64", {64, 1275, 1275}, 64 * (255 + 1)},    // the longest group with short counts
        {"lut5_r64", {64, 1276, 1276}, 64 * (256 + 2)},    // and the next
        {"lut5_r64", {64, 327675, 327675}, 64 * (65535 + 2)}, // the longest group of all
        {"lut5_r64", {64, 327676, 327676}, 0},
        {"lut3_r32", {32, 24, 24}, 32 * 5 + 32},          // a block: five bytes; a multiple of 64
        {"lut3_r64", {64, 2560, 2560}, 64 * (427 + 107)}, // 1.67 bits a weight
        {"lut3_r64", {64, 64, 32}, 64 * 2 * (6 + 2)},     // each group starts a block
        {"lut2_r32", {32, 2560, 2560}, 32 * 640},
        {"lut2_r32", {32, 4, 4}, 64}, // a multiple of 64
        {"lut2_r32", {32, 172, 172}, 32 * 43 + 32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cr_expect_eq(layout_named(cases[i].layout)->tile_bytes(&cases[i].shape), cases[i].bytes,
                     "%s, K=%u, G=%u", cases[i].layout, cases[i].shape.columns,
                     cases[i].shape.group);
    }
}

Test(registry, names)
{
    size_t kernels, layouts;
    const tmac_kernel *const *kernel = tmac_kernels(&kernels);
    const tmac_layout *const *layout = tmac_layouts(&layouts);
    for (size_t i = 0; i < kernels; i++) {
        cr_expect_eq(tmac_kernel_find(kernel[i]->name), kernel[i], "%s is there twice",
                     kernel[i]->name);
        cr_expect_eq(tmac_layout_find(kernel[i]->layout->name), kernel[i]->layout);
        cr_expect_str_eq(kernel[i]->family, kernel[i]->layout->family);
        cr_expect_lt(strlen(kernel[i]->name), 64);
        cr_expect_eq(strlen(kernel[i]->source_id), 64);
    }
    for (size_t i = 0; i < layouts; i++)
        cr_expect_eq(tmac_layout_find(layout[i]->name), layout[i], "%s is there twice",
                     layout[i]->name);
    cr_expect_null(tmac_kernel_find("mad2"));
    cr_expect_null(tmac_kernel_find(""));
    cr_expect_null(tmac_layout_find("mad2_r17"));
}

// Every layout can be served without any instruction set, so that no packed model is ever stranded.
Test(registry, scalar_serves_every_layout)
{
    size_t kernels, layouts;
    const tmac_kernel *const *kernel = tmac_kernels(&kernels);
    const tmac_layout *const *layout = tmac_layouts(&layouts);
    for (size_t l = 0; l < layouts; l++) {
        size_t serving = 0;
        for (size_t i = 0; i < kernels; i++)
            serving += kernel[i]->layout == layout[l] && kernel[i]->isa == TMAC_ISA_SCALAR;
        cr_expect_eq(serving, 1, "%s", layout[l]->name);
    }
}

Test(registry, binary_ids)
{
    size_t kernels;
    const tmac_kernel *const *kernel = tmac_kernels(&kernels);
    char first[65], second[65];
    for (size_t i = 0; i < kernels; i++) {
        for (size_t j = 0; j < i; j++) {
            tmac_kernel_binary_id(kernel[i], first);
            tmac_kernel_binary_id(kernel[j], second);
            cr_expect_str_neq(first, second, "%s and %s", kernel[i]->name, kernel[j]->name);
        }
    }
    tmac_kernel other = *kernel[0];
    other.compiler = "another compiler";
    tmac_kernel_binary_id(kernel[0], first);
    tmac_kernel_binary_id(&other, second);
    cr_expect_eq(strlen(first), 64);
    cr_expect_str_neq(first, second);
}

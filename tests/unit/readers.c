// The readers of model files, on files made byte by byte: all of them must find the model that was put in.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/ternary.h"
#include "tests/unit/tiny.h"

static const tiny_shape small = {16, 24, 2, 4,
                                 2,  10, 8}; // 24 * 16 and 8 * 16 weights fill I2_S blocks
static const tiny_shape wide = {256, 512, 2, 4, 2, 6, 8}; // what TQ2_0 needs

static tmac_source opened(tiny_file file, tmac_bit_order order)
{
    tmac_open_options options = {.bit_order = order};
    tmac_source source;
    tmac_status status = tiny_open(&file, &options, &source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    tiny_free(&file);
    return source;
}

// Codes and scales are those of tiny_code and tiny_scale.
static void assert_content(const tmac_source *source, const tiny_shape *shape)
{
    for (uint32_t l = 0; l < shape->layers; l++) {
        const tmac_source_layer *layer = &source->layers[l];
        const tmac_matrix *parts[] = {&layer->query, &layer->key, &layer->value, &layer->output,
                                      &layer->gate,  &layer->up,  &layer->down};
        for (uint32_t part = 0; part < 7; part++) {
            const tmac_matrix *matrix = parts[part];
            cr_assert_eq(matrix->number, TMAC_TERNARY, "%s", matrix->name);
            cr_assert_eq(matrix->scale_count, 1, "%s", matrix->name);
            cr_assert_eq(matrix->group, matrix->columns);
            cr_assert_eq(*matrix->scales, tiny_scale(l, part), "%s", matrix->name);
            int8_t *codes = malloc(3 * (size_t)matrix->columns);
            for (uint32_t r = 0; r < matrix->rows; r += 3) { // in threes: `first` matters
                uint32_t count = matrix->rows - r < 3 ? matrix->rows - r : 3;
                matrix->read_codes(matrix, r, count, codes);
                for (uint32_t i = 0; i < count * matrix->columns; i++)
                    cr_assert_eq(
                        codes[i],
                        tiny_code(shape, l, part, r + i / matrix->columns, i % matrix->columns),
                        "%s row %u", matrix->name, r);
            }
            free(codes);
        }
    }
}

Test(readers, llama2c_float)
{
    tmac_source source = opened(tiny_llama2c(&small, false, true), TMAC_BIT_ORDER_UNKNOWN);
    cr_assert_str_eq(source.format, "llama2.c v0");
    cr_assert_str_eq(source.architecture, "llama");
    cr_assert(!source.tied_head && source.vocab == 10 && source.head_dim == 4);
    cr_assert_eq(source.layers[1].up.number, TMAC_F32);
    cr_assert_not_null(source.layers[1].up.in_place);
    cr_assert_null(source.layers[0].attention_sub_norm);
    const float *embedding = source.embedding.in_place, *head = source.head.in_place;
    for (uint32_t i = 0; i < 160; i++)
        cr_assert_eq(head[i], 2.0f * embedding[i]);
    cr_assert(source.norm_epsilon == 1e-5f && source.rope_theta == 10000.0f);
    tmac_source_close(&source);
    tmac_source_close(&source); // harmless
}

Test(readers, llama2c_that_is_ternary)
{
    tmac_source source = opened(tiny_llama2c(&small, true, false), TMAC_BIT_ORDER_UNKNOWN);
    assert_content(&source, &small);
    cr_assert_eq(source.embedding.number, TMAC_F32);
    tmac_source_close(&source);
}

Test(readers, bitllama_in_both_bit_orders)
{
    tmac_source msb = opened(tiny_bitllama(&small, true), TMAC_BIT_ORDER_MSB);
    tmac_source lsb = opened(tiny_bitllama(&small, false), TMAC_BIT_ORDER_LSB);
    assert_content(&msb, &small);
    tiny_assert_same(&msb, &lsb, true);
    cr_assert_str_eq(msb.architecture, "bitnet");
    cr_assert_eq(msb.layers[0].attention_sub_norm[3], 1.0f / 16.0f);
    cr_assert_eq(msb.layers[1].ffn_sub_norm[23], 1.0f / 24.0f);
    cr_assert(msb.norm_epsilon == 1e-12f && msb.final_norm_epsilon == 1e-5f);
    tmac_source_close(&msb);
    tmac_source_close(&lsb);
}

Test(readers, gguf_types_agree)
{
    static const uint32_t types[] = {0, 1, 30, 36};
    tmac_source first = opened(tiny_gguf(&small, "bitnet", 0), TMAC_BIT_ORDER_UNKNOWN);
    assert_content(&first, &small);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        tmac_source other = opened(tiny_gguf(&small, "bitnet", types[i]), TMAC_BIT_ORDER_UNKNOWN);
        tiny_assert_same(&first, &other, true);
        tmac_source_close(&other);
    }
    tmac_source_close(&first);
}

// Two files of one model with the squared ReLU of BitNet b1.58; frees them.
static void assert_same_bitnet(tiny_file a, tiny_file b, const tiny_shape *shape)
{
    tmac_source first = opened(a, TMAC_BIT_ORDER_UNKNOWN);
    tmac_source second = opened(b, TMAC_BIT_ORDER_UNKNOWN);
    assert_content(&first, shape);
    tiny_assert_same(&first, &second, true);
    cr_assert_eq(first.activation, TMAC_RELU2);
    tmac_source_close(&first);
    tmac_source_close(&second);
}

Test(readers, gguf_tq2_0)
{
    assert_same_bitnet(tiny_gguf(&wide, "bitnet-b1.58", 35), tiny_gguf(&wide, "bitnet-b1.58", 0),
                       &wide);
}

Test(readers, gguf_bitnet_25_is_bitnet_b1_58)
{
    assert_same_bitnet(tiny_gguf(&small, "bitnet-25", 36), tiny_gguf(&small, "bitnet-b1.58", 36),
                       &small);
}

Test(readers, gguf_llama_is_not_permuted)
{
    tmac_source source = opened(tiny_gguf(&small, "llama", 36), TMAC_BIT_ORDER_UNKNOWN);
    assert_content(&source, &small);
    cr_assert_null(source.layers[0].attention_sub_norm);
    cr_assert_eq(source.activation, TMAC_SILU);
    tmac_source_close(&source);
}

Test(readers, i2_s_rows_that_cross_blocks)
{
    enum { ROWS = 4, COLUMNS = 96 };
    uint8_t data[ROWS * COLUMNS / 4] = {0};
    int8_t codes[ROWS * COLUMNS], expected[ROWS * COLUMNS];
    for (uint32_t e = 0; e < ROWS * COLUMNS; e++) {
        expected[e] = (int8_t)((int)(e * 7 % 11 % 3) - 1);
        data[e / 128 * 32 + e % 32] |= (uint8_t)((expected[e] + 1) << (6 - 2 * (e % 128 / 32)));
    }
    tmac_matrix matrix = {.rows = ROWS, .columns = COLUMNS};
    tmac_ternary_i2_s(&matrix, data, 0);
    matrix.read_codes(&matrix, 0, ROWS, codes);
    cr_assert_arr_eq(codes, expected, sizeof codes);
}

Test(readers, flat_rows_that_share_bytes)
{
    const uint8_t data[] = {0x1d, 0xf4, 0x07}; // fields lsb first: 1 3 1 0, 0 1 3 3, 3 1 0 0
    static const int8_t expected[] = {1, -1, 1, 0, 0, 1, -1, -1, -1};
    int8_t codes[9];
    tmac_matrix matrix = {.rows = 3, .columns = 3};
    tmac_ternary_flat(&matrix, data, false);
    for (uint32_t r = 0; r < 3; r++)
        matrix.read_codes(&matrix, r, 1, codes + 3 * r);
    cr_assert_arr_eq(codes, expected, sizeof codes);
}

Test(readers, codes_that_mean_nothing_are_seen_everywhere)
{
    for (size_t at = 0; at < 19; at++)
        for (int field = 0; field < 4; field++) {
            uint8_t codes[19];
            memset(codes, 0x55, sizeof codes);
            cr_assert(!tmac_codes_have_2(codes, 19) && !tmac_codes_have_3(codes, 19));
            codes[at] = (uint8_t)((codes[at] & ~(3 << 2 * field)) | 2 << 2 * field);
            cr_assert(tmac_codes_have_2(codes, 19) && !tmac_codes_have_3(codes, 19));
            codes[at] |= (uint8_t)(1 << 2 * field);
            cr_assert(!tmac_codes_have_2(codes, 19) && tmac_codes_have_3(codes, 19));
        }
}

// ------------------------------------------------------------------------------------------------------ vocabulary

static tmac_status open_vocabulary(const tiny_file *file, uint32_t expected,
                                   tmac_vocabulary *vocabulary)
{
    char path[64];
    tiny_path(path);
    tiny_write(file, path);
    tmac_status status = tmac_vocabulary_open(path, expected, vocabulary);
    unlink(path);
    return status;
}

Test(readers, tokenizer_bin)
{
    tiny_file file = tiny_tokenizer(300);
    tmac_vocabulary vocabulary;
    tmac_status status = open_vocabulary(&file, 300, &vocabulary);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_assert(vocabulary.bos == 1 && vocabulary.eos == 2 && vocabulary.unknown == 0);
    cr_assert_eq(vocabulary.pieces[3 + 0x41].kind, TMAC_PIECE_BYTE);
    cr_assert_arr_eq(vocabulary.pieces[3 + 0x41].text, "<0x41>", 6);
    cr_assert(vocabulary.pieces[259].kind == TMAC_PIECE_NORMAL &&
              vocabulary.pieces[259].bytes == 4);
    tmac_vocabulary_free(&vocabulary);

    status = open_vocabulary(&file, 512, &vocabulary);
    cr_assert_eq(status.code, TMAC_BAD_FILE);
    cr_assert(strstr(status.message, "300") && strstr(status.message, "512"), "%s", status.message);
    file.bytes -= 3;
    status = open_vocabulary(&file, 0, &vocabulary);
    cr_assert(strstr(status.message, "truncated"), "%s", status.message);
    tiny_free(&file);
}

Test(readers, tokenizer_bin_with_bytes_as_characters)
{
    tiny_file file = {0};
    float score = 0.0f;
    tiny_put_u32(&file, 9);
    for (uint32_t i = 0; i < 260; i++) {
        uint32_t value = i - 3;
        uint8_t text[2] = {(uint8_t)value, 0};
        bool two = i >= 3 + 0x80 && i < 259;
        if (two) {
            text[0] = (uint8_t)(0xc0 | value >> 6);
            text[1] = (uint8_t)(0x80 | (value & 0x3f));
        }
        tiny_put(&file, &score, 4);
        tiny_put_u32(&file, two ? 2 : 1);
        tiny_put(&file, text, two ? 2 : 1);
    }
    tmac_vocabulary vocabulary;
    tmac_status status = open_vocabulary(&file, 0, &vocabulary);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    for (uint32_t value = 0; value < 256; value++) {
        char expected[8];
        snprintf(expected, sizeof expected, "<0x%02X>", value);
        cr_assert(vocabulary.pieces[3 + value].kind == TMAC_PIECE_BYTE &&
                  vocabulary.pieces[3 + value].bytes == 6);
        cr_assert_arr_eq(vocabulary.pieces[3 + value].text, expected, 6);
    }
    tmac_vocabulary_free(&vocabulary);
    tiny_free(&file);
}

// TM2: what is written is read back to the last bit; strict files say what they can; scales of every granularity.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/neutral.h"
#include "runtime/half.h"
#include "tests/unit/data.h"
#include "tests/unit/tiny.h"

static const tiny_shape small = {16, 24, 2, 4, 2, 300, 8};
static const tiny_shape odd = {12, 23, 2, 3, 1, 7, 5};
static const tiny_shape wide = {512, 512, 1, 4, 2, 6, 8};

static void open_file(const tiny_file *file, tmac_bit_order order, const char *tokenizer,
                      tmac_source *source)
{
    tmac_open_options options = {.bit_order = order, .tokenizer = tokenizer};
    tmac_status status = tiny_open(file, &options, source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
}

// Writes and reads back.
static void round_trip(const tmac_source *source, bool strict, tmac_source *again)
{
    char path[64];
    tiny_path(path);
    tmac_status status = tmac_tm2_write(source, path, strict);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = tmac_source_open(path, NULL, again);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = tmac_tm2_verify(path);
    cr_assert_eq(status.code, strict ? TMAC_UNSUPPORTED : TMAC_OK, "%s", status.message);
    unlink(path);
    cr_assert_str_eq(again->format, "TM2");
}

static void assert_round_trip(tiny_file file, tmac_bit_order order, bool strict)
{
    tmac_source source, again;
    open_file(&file, order, NULL, &source);
    round_trip(&source, strict, &again);
    tiny_assert_same(&source, &again, true);
    tmac_source_close(&again);
    tmac_source_close(&source);
    tiny_free(&file);
}

Test(tm2, round_trip)
{
    assert_round_trip(tiny_llama2c(&small, false, true), TMAC_BIT_ORDER_UNKNOWN, false);
    assert_round_trip(tiny_llama2c(&odd, false, false), TMAC_BIT_ORDER_UNKNOWN, false);
    assert_round_trip(tiny_llama2c(&odd, true, true), TMAC_BIT_ORDER_UNKNOWN, false);
    assert_round_trip(tiny_bitllama(&small, true), TMAC_BIT_ORDER_MSB, false);
    assert_round_trip(tiny_gguf(&small, "bitnet-b1.58", 36), TMAC_BIT_ORDER_UNKNOWN, false);
    assert_round_trip(tiny_gguf(&small, "llama", 1), TMAC_BIT_ORDER_UNKNOWN, false);
}

Test(tm2, strict_round_trip) // the scales of tiny models are exact in f16
{
    assert_round_trip(tiny_llama2c(&odd, false, true), TMAC_BIT_ORDER_UNKNOWN, true);
    assert_round_trip(tiny_llama2c(&odd, true, false), TMAC_BIT_ORDER_UNKNOWN, true);
    assert_round_trip(tiny_bitllama(&small, false), TMAC_BIT_ORDER_LSB, true);
}

Test(tm2, vocabulary_travels)
{
    char tokenizer[64];
    tiny_file pieces = tiny_tokenizer(300), file = tiny_bitllama(&small, true);
    tmac_source source, again;
    tmac_vocabulary alone;
    tiny_path(tokenizer);
    tiny_write(&pieces, tokenizer);
    open_file(&file, TMAC_BIT_ORDER_MSB, tokenizer, &source);
    round_trip(&source, false, &again);
    cr_assert_eq(again.vocabulary.size, 300);
    tiny_assert_same(&source, &again, true);
    cr_assert_eq(tmac_tm2_write(&source, tokenizer, false).code, TMAC_OK);
    tmac_status status = tmac_vocabulary_open(tokenizer, 300, &alone);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_assert_eq(alone.pieces[299].score, -299.0f);
    unlink(tokenizer);
    tmac_vocabulary_free(&alone);
    tmac_source_close(&again);
    tmac_source_close(&source);
    tiny_free(&pieces);
    tiny_free(&file);
}

Test(tm2, strict_refuses_what_a_body_cannot_say)
{
    tiny_file file = tiny_gguf(&small, "bitnet-b1.58", 36);
    tmac_source source;
    char path[64];
    tiny_path(path);
    unlink(path);
    open_file(&file, TMAC_BIT_ORDER_UNKNOWN, NULL, &source);
    tmac_status status = tmac_tm2_write(&source, path, true);
    cr_assert_eq(status.code, TMAC_UNSUPPORTED);
    cr_assert(strstr(status.message, "squared ReLU"), "%s", status.message);
    source.activation = TMAC_SILU;
    status = tmac_tm2_write(&source, path, true);
    cr_assert(strstr(status.message, "sub-norms"), "%s", status.message);
    tmac_source_close(&source);
    tiny_free(&file);

    file = tiny_llama2c(&odd, true, false);
    open_file(&file, TMAC_BIT_ORDER_UNKNOWN, NULL, &source);
    source.rope_theta = 12345.0f;
    status = tmac_tm2_write(&source, path, true);
    cr_assert(strstr(status.message, "RoPE base"), "%s", status.message);
    source.rope_theta = 10000.0f;
    source.norm_epsilon = 1e-6f;
    status = tmac_tm2_write(&source, path, true);
    cr_assert(strstr(status.message, "epsilon"), "%s", status.message);
    cr_assert_neq(access(path, F_OK), 0, "a refused file must not appear");
    tmac_source_close(&source);
    tiny_free(&file);
}

Test(tm2, rope_base_is_recovered_from_the_tables)
{
    static const float bases[] = {10000.0f, 500000.0f, 1000000.0f, 1000042.0f};
    tiny_file file = tiny_llama2c(&small, true, false);
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        tmac_source source, again;
        open_file(&file, TMAC_BIT_ORDER_UNKNOWN, NULL, &source);
        source.rope_theta = bases[i];
        round_trip(&source, true, &again);
        cr_assert_eq(again.rope_theta, bases[i]);
        tmac_source_close(&again);
        tmac_source_close(&source);
    }
    tiny_free(&file);
}

// Every matrix of a float file multiplied per row or per group of 256 must come back with just these scales.
static void scaled_round_trip(bool per_row)
{
    tiny_file file = tiny_llama2c(&wide, true, false);
    tmac_source plain, source, again;
    open_file(&file, TMAC_BIT_ORDER_UNKNOWN, NULL, &plain);
    float *query = (float *)(void *)(file.data + 28) + wide.vocab * wide.dim + wide.dim;
    for (uint32_t r = 0; r < wide.dim; r++)
        for (uint32_t c = 0; c < wide.dim; c++) {
            uint32_t step = per_row ? r : r + c / 256;
            query[r * wide.dim + c] *= 1.0f + (float)(step % 5) * 0.37f;
        }
    open_file(&file, TMAC_BIT_ORDER_UNKNOWN, NULL, &source);
    const tmac_matrix *matrix = &source.layers[0].query;
    cr_assert_eq(matrix->number, TMAC_TERNARY);
    cr_assert_eq(matrix->group, per_row ? 512 : 256);
    cr_assert_eq(matrix->scale_count, per_row ? 512 : 1024);
    uint32_t last = matrix->scale_count - 1, step = per_row ? 511 : 512;
    cr_assert_eq(matrix->scales[last], tiny_scale(0, 0) * (1.0f + (float)(step % 5) * 0.37f));
    int8_t *codes = malloc(2 * 512 * 512);
    plain.layers[0].query.read_codes(&plain.layers[0].query, 0, 512, codes);
    matrix->read_codes(matrix, 0, 512, codes + 512 * 512);
    cr_assert_arr_eq(codes, codes + 512 * 512, 512 * 512);
    free(codes);
    round_trip(&source, false, &again);
    tiny_assert_same(&source, &again, true);
    if (!per_row) {
        tmac_status status = tmac_tm2_write(&source, "/tmp/tmac-tiny-never", true);
        cr_assert(strstr(status.message, "groups within a row"), "%s", status.message);
    }
    tmac_source_close(&again);
    tmac_source_close(&source);
    tmac_source_close(&plain);
    tiny_free(&file);
}

Test(tm2, row_scales)
{
    scaled_round_trip(true);
}

Test(tm2, group_scales)
{
    scaled_round_trip(false);
}

Test(tm2, one_weight_that_is_not_ternary_keeps_a_matrix_float)
{
    tiny_file file = tiny_llama2c(&wide, true, false);
    float *query = (float *)(void *)(file.data + 28) + wide.vocab * wide.dim + wide.dim;
    tmac_source source;
    query[511 * 512 + 511] = 0.1f;
    query[511 * 512 + 510] = 0.2f;
    open_file(&file, TMAC_BIT_ORDER_UNKNOWN, NULL, &source);
    cr_assert_eq(source.layers[0].query.number, TMAC_F32);
    cr_assert_eq(source.layers[0].key.number, TMAC_TERNARY);
    tmac_source_close(&source);
    tiny_free(&file);
}

Test(tm2, synthetic_models_are_deterministic_and_balanced)
{
    tmac_synth_shape shape;
    char paths[2][64];
    tmac_source sources[2];
    cr_assert_eq(
        tmac_synth_parse("dim=64,hidden=131,layers=2,heads=4,kv_heads=2,bf16=1,tied=0", &shape)
            .code,
        TMAC_OK);
    for (int i = 0; i < 2; i++) {
        tiny_path(paths[i]);
        tmac_status status = tmac_synth_write(&shape, 9, paths[i]);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        cr_assert_eq(tmac_source_open(paths[i], NULL, &sources[i]).code, TMAC_OK);
        cr_assert_eq(tmac_tm2_verify(paths[i]).code, TMAC_OK);
        unlink(paths[i]);
    }
    cr_assert_eq(sources[0].map.bytes, sources[1].map.bytes);
    cr_assert_arr_eq(sources[0].map.data, sources[1].map.data, sources[0].map.bytes);
    cr_assert(sources[0].embedding.number == TMAC_BF16 && sources[0].embedding.in_place);
    cr_assert_eq((uintptr_t)sources[0].embedding.in_place % 64, 0);
    cr_assert_eq(sources[0].vocabulary.size, 512);

    const tmac_matrix *gate = &sources[0].layers[1].gate;
    int8_t codes[131 * 64];
    int counts[3] = {0};
    gate->read_codes(gate, 0, 131, codes);
    for (size_t i = 0; i < sizeof codes; i++)
        counts[codes[i] + 1]++;
    for (int i = 0; i < 3; i++)
        cr_assert(abs(counts[i] - 131 * 64 / 3) < 300, "%d", counts[i]); // 6.7 sigma
    cr_assert_eq(tmac_synth_parse("no-such-model", &shape).code, TMAC_USAGE);
    cr_assert_eq(tmac_synth_parse("dim=64,hidden=x,layers=1,heads=1", &shape).code, TMAC_USAGE);
    cr_assert_eq(tmac_synth_parse("dim=65,hidden=4,layers=1,heads=2", &shape).code, TMAC_USAGE);
    tmac_source_close(&sources[0]);
    tmac_source_close(&sources[1]);
}

// -------------------------------------------------------------------------------------------------- the data folder

static void open_data(const char *name, tmac_source *source)
{
    char path[1024];
    if (!data_path(name, path)) cr_skip_test("no %s: set TMAC_DATA to the data folder", name);
    tmac_status status = tmac_source_open(path, NULL, source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
}

Test(tm2, the_real_model_is_one_in_all_its_files)
{
    static const char *const files[] = {"bitllama-3M-msb.bin", "bitllama-3M-lsb.bin",
                                        "bitllama-3M-f32.gguf", "bitllama-3M-tq2_0.gguf",
                                        "bitllama-3M-i2_s.gguf"};
    tmac_source first;
    open_data(files[0], &first);
    for (size_t i = 1; i < sizeof files / sizeof *files; i++) {
        tmac_source other, again;
        open_data(files[i], &other);
        tiny_assert_same(&first, &other, false);
        round_trip(&other, false, &again);
        tiny_assert_same(&other, &again, true);
        tmac_source_close(&again);
        tmac_source_close(&other);
    }
    tmac_source_close(&first);
}

Test(tm2, the_real_ggufs_agree_to_the_norms_and_the_vocabulary)
{
    tmac_source first, other;
    open_data("bitllama-3M-f32.gguf", &first);
    open_data("bitllama-3M-i2_s.gguf", &other);
    tiny_assert_same(&first, &other, true);
    cr_assert_eq(first.vocabulary.size, 512);
    tmac_source_close(&other);
    open_data("bitllama-3M-tq2_0.gguf", &other);
    tiny_assert_same(&first, &other, true);
    tmac_source_close(&other);
    tmac_source_close(&first);
}

Test(tm2, the_real_float_model_round_trips)
{
    tmac_source source, again;
    open_data("stories260K.bin", &source);
    cr_assert_eq(source.layers[0].gate.number, TMAC_F32);
    round_trip(&source, false, &again);
    tiny_assert_same(&source, &again, true);
    tmac_source_close(&again);
    round_trip(&source, true, &again);
    tiny_assert_same(&source, &again, true);
    tmac_source_close(&again);
    tmac_source_close(&source);
}

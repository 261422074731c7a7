// The tokenizer on real vocabularies of the data folder.
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "convert/convert.h"
#include "runtime/tmac.h"
#include "tests/unit/data.h"

// Opens a vocabulary of the data folder, or skips the test.
static tmac_tokenizer *open_tokenizer(const char *name)
{
    char path[1024];
    if (!data_path(name, path)) cr_skip_test("no %s: set TMAC_DATA to the data folder", name);
    tmac_vocabulary vocabulary;
    tmac_status status = tmac_vocabulary_open(path, 0, &vocabulary);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    tmac_tokenizer *tokenizer;
    status = tmac_tokenizer_new(&vocabulary, &tokenizer);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    tmac_vocabulary_free(&vocabulary);
    return tokenizer;
}

static void expect_ids(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                       const uint32_t *ids, size_t count)
{
    uint32_t *tokens;
    size_t got;
    tmac_status status = tmac_tokenizer_encode(tokenizer, text, bytes, &tokens, &got);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_expect(got == count && memcmp(tokens, ids, count * sizeof *ids) == 0,
              "'%s' gives other ids (%zu, expected %zu)", text, got, count);
    free(tokens);
}

static void run_cases(const char *vocabulary, const char *cases)
{
    tmac_tokenizer *tokenizer = open_tokenizer(vocabulary);
    char path[1024];
    if (!data_path("tokenizer-cases.json", path)) cr_skip_test("no tokenizer-cases.json");
    json_error_t error;
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    cr_assert_not_null(root, "%s", error.text);
    size_t index, done = 0;
    json_t *one;
    json_array_foreach(json_object_get(root, cases), index, one)
    {
        const json_t *text = json_object_get(one, "text"), *list = json_object_get(one, "ids");
        uint32_t ids[512];
        cr_assert_leq(json_array_size(list), 512);
        for (size_t i = 0; i < json_array_size(list); i++)
            ids[i] = (uint32_t)json_integer_value(json_array_get(list, i));
        expect_ids(tokenizer, json_string_value(text), json_string_length(text), ids,
                   json_array_size(list));
        done++;
    }
    cr_expect_geq(done, 20);
    json_decref(root);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer_data, cases_gguf)
{
    run_cases("llama-spm-vocab.gguf", "llama-spm");
}

Test(tokenizer_data, cases_llama2c)
{
    run_cases("tokenizer-32000.bin", "llama-spm");
}

Test(tokenizer_data, cases_tiktoken)
{
    run_cases("llama3-tokenizer.model", "llama-bpe");
}

// What llama2.c's own test expects, without BOS.
Test(tokenizer_data, llama2c_goldens)
{
    static const struct {
        const char *text;
        uint32_t ids[80];
    } goldens[] = {
        {"", {0}},
        {"I believe the meaning of life is", {306, 4658, 278, 6593, 310, 2834, 338}},
        {"Simply put, the theory of relativity states that ",
         {3439, 17632, 1925, 29892, 278, 6368, 310, 14215, 537, 5922, 393, 29871}},
        {"A brief message congratulating the team on the launch:\n\n        Hi everyone,\n\n"
         "        I just ",
         {319, 11473, 2643, 378,  629,   271,   18099, 278, 3815, 373, 278, 6826, 29901,
          13,  13,    4706, 6324, 14332, 29892, 13,    13,  4706, 306, 925, 29871}},
        {"Translate English to French:\n\n        sea otter => loutre de mer\n"
         "        peppermint => menthe poivr\xc3\xa9"
         "e\n        plush girafe => girafe peluche\n"
         "        cheese =>",
         {4103, 9632, 4223, 304,   5176,  29901, 13,   13,   4706, 7205, 4932, 357,  1149,
          301,  449,  276,  316,   2778,  13,    4706, 1236, 407,  837,  524,  1149, 6042,
          354,  772,  440,  29878, 1318,  13,    4706, 715,  1878, 330,  3055, 1725, 1149,
          330,  3055, 1725, 4639,  28754, 13,    4706, 923,  968,  1149}},
    };
    tmac_tokenizer *tokenizer = open_tokenizer("tokenizer-32000.bin");
    cr_expect_eq(tmac_tokenizer_size(tokenizer), 32000);
    cr_expect_eq(tmac_tokenizer_bos(tokenizer), 1);
    for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
        size_t count = 0;
        while (goldens[i].ids[count])
            count++;
        expect_ids(tokenizer, goldens[i].text, strlen(goldens[i].text), goldens[i].ids, count);
    }
    tmac_tokenizer_free(tokenizer);
}

// A megabyte of English comes back as it was, in a time that only O(n log n) keeps.
static void round_trip(const char *vocabulary)
{
    tmac_tokenizer *tokenizer = open_tokenizer(vocabulary);
    char path[1024];
    if (!data_path("tinyshakespeare.txt", path)) cr_skip_test("no tinyshakespeare.txt");
    tmac_map map;
    cr_assert_eq(tmac_map_open(path, &map).code, TMAC_OK);
    uint32_t *tokens;
    size_t count, at = 0;
    const uint64_t started = tmac_now_ns();
    tmac_status status =
        tmac_tokenizer_encode(tokenizer, (const char *)map.data, map.bytes, &tokens, &count);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_expect_lt(tmac_now_ns() - started, 20000000000u);
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        const char *piece = tmac_tokenizer_piece(tokenizer, tokens[i], i == 0, &bytes);
        cr_assert(at + bytes <= map.bytes && memcmp(map.data + at, piece, bytes) == 0,
                  "differs at byte %zu", at);
        at += bytes;
    }
    cr_expect_eq(at, map.bytes);
    free(tokens);
    tmac_map_close(&map);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer_data, round_trip_512)
{
    round_trip("tok512.bin");
}

Test(tokenizer_data, round_trip_32000)
{
    round_trip("llama-spm-vocab.gguf");
}

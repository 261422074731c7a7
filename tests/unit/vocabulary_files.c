// Vocabularies from the files people have, made here: tokenizer.json in its forms, sentencepiece's own file, a model
// folder; how they cut words; and that TM2 and GGUF give back what was put in.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/tmac.h"
#include "runtime/tokenizer.h"
#include "tests/unit/tiny.h"

enum { VOCAB = 20 };

// Pieces of byte-level BPE. U+0120 is a space, U+00C3 U+00A4 the bytes of a umlaut.
#define PIECES                                                                                     \
    "\"a\":0,\"b\":1,\"\\u0120\":2,\"ab\":3,\"\\u0120a\":4,\"ba\":5,\"aba\":6,\"<\":7,\"|\":8,"    \
    "\"1\":11,\"11\":12,\"\\u00c3\":13,\"\\u00a4\":14,\"\\u00c3\\u00a4\":15,\"!\":16,\"!!\":17"
#define ADDED                                                                                      \
    "\"added_tokens\":[{\"id\":9,\"content\":\"<|end|>\",\"special\":true},"                       \
    "{\"id\":10,\"content\":\"[x]\",\"special\":false}]"
#define MODEL                                                                                      \
    "\"model\":{\"type\":\"BPE\",\"vocab\":{" PIECES "},\"merges\":[\"b a\",[\"a\",\"b\"],"        \
    "\"\\u0120 a\",\"a ba\",\"1 1\",\"\\u00c3 \\u00a4\",\"! !\"]}"
#define LEVEL        "{\"type\":\"ByteLevel\",\"use_regex\":true,\"add_prefix_space\":false}"
#define JSON(before) "{" ADDED "," before "," MODEL "}"

static const char gpt2[] = JSON("\"pre_tokenizer\":" LEVEL);
static const char qwen[] = JSON(
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
    "[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
    "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"use_regex\":false}]}");
static const char falcon[] =
    JSON("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
         "{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}," LEVEL
         ",{\"type\":\"Split\",\"pattern\":{\"Regex\":\"[0-9][0-9][0-9]\"},"
         "\"behavior\":\"Isolated\",\"invert\":false}]}");
static const char digits[] =
    JSON("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL
         ",{\"type\":\"Digits\",\"individual_digits\":true},"
         "{\"type\":\"Split\",\"pattern\":{\"String\":\"a.b\"},\"behavior\":\"Isolated\"}]}");

static tmac_status open_text(const char *text, size_t bytes, tmac_vocabulary *vocabulary)
{
    char path[64];
    tiny_file file = {0};
    tiny_put(&file, text, bytes);
    tiny_path(path);
    tiny_write(&file, path);
    tmac_status status = tmac_vocabulary_open(path, VOCAB, vocabulary);
    unlink(path);
    tiny_free(&file);
    return status;
}

static tmac_tokenizer *tokenizer_of(const char *text, size_t bytes, tmac_vocabulary *vocabulary)
{
    tmac_tokenizer *tokenizer;
    tmac_status status = open_text(text, bytes, vocabulary);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = tmac_tokenizer_new(vocabulary, &tokenizer);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return tokenizer;
}

static void expect(const tmac_tokenizer *tokenizer, const char *text, bool markup, const char *ids)
{
    uint32_t *tokens;
    size_t count;
    char got[256] = "";
    const tmac_text_part part = {text, strlen(text), markup};
    tmac_status status = tmac_tokenizer_encode_parts(tokenizer, &part, 1, &tokens, &count);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    for (size_t i = 0; i < count; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%u", i ? " " : "", tokens[i]);
    cr_expect_str_eq(got, ids, "'%s' gives %s, expected %s", text, got, ids);
    free(tokens);
}

Test(vocabulary_files, json_merges_words_and_control_tokens)
{
    tmac_vocabulary vocabulary;
    tmac_tokenizer *tokenizer = tokenizer_of(gpt2, strlen(gpt2), &vocabulary);
    cr_expect_eq(vocabulary.size, VOCAB, "filled up to the model's table");
    expect(tokenizer, "aba", false, "6"); // a + ba, since "b a" is first
    expect(tokenizer, "ab ab", false, "3 2 3");
    expect(tokenizer, " aa", false, "4 0");
    expect(tokenizer, "a[x]b", false, "0 10 1");
    expect(tokenizer, "a<|end|>b", true, "0 9 1");
    expect(tokenizer, "11", false, "12");
    cr_expect(tmac_tokenizer_is_stop(tokenizer, 9));
    cr_expect_not(tmac_tokenizer_is_stop(tokenizer, 3));
    uint32_t *tokens;
    size_t count;
    cr_expect_eq(tmac_tokenizer_encode(tokenizer, "<|end|>", 7, &tokens, &count).code,
                 TMAC_UNSUPPORTED, "text has no piece for 'e' here, and is no control token");
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
}

Test(vocabulary_files, normal_form_c)
{
    tmac_vocabulary vocabulary;
    tmac_tokenizer *tokenizer = tokenizer_of(qwen, strlen(qwen), &vocabulary);
    cr_expect(vocabulary.nfc);
    expect(tokenizer, "\xc3\xa4", false, "15");
    expect(tokenizer, "a\xcc\x88", false, "15");          // a and a combining diaeresis
    expect(tokenizer, "a\xcc\x88[x]a", false, "15 10 0"); // user-defined pieces are cut out before
    expect(tokenizer,
           "a\xc3"
           "b",
           false, "0 13 1");                 // no UTF-8: as it is
    expect(tokenizer, "11", false, "11 11"); // digits one by one
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
    tokenizer = tokenizer_of(gpt2, strlen(gpt2), &vocabulary);
    uint32_t *tokens;
    size_t count;
    cr_expect_eq(tmac_tokenizer_encode(tokenizer, "a\xcc\x88", 3, &tokens, &count).code,
                 TMAC_UNSUPPORTED, "left as it is where no normal form is asked for");
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
}

// Marks are brought into order, those of one class staying as they are, in less than quadratic time.
Test(vocabulary_files, a_letter_with_many_marks, .timeout = 30)
{
    enum { PAIRS = 100000, BYTES = 1 + 4 * PAIRS };
    char *text = malloc(BYTES), *normal;
    size_t bytes;
    text[0] = 'a';
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(text + 1 + 4 * i, "\xcc\x81\xcc\xa3", 4); // acute, dot below
    cr_assert_eq(tmac_normal_form(text, BYTES, &normal, &bytes).code, TMAC_OK);
    // The first dot goes into the letter, the other dots come before all accents.
    cr_assert_eq(bytes, 3 + 4 * PAIRS - 2);
    cr_expect_arr_eq(normal + 1, "\xe1\xba\xa1\xcc\xa3", 5);
    cr_expect_arr_eq(normal + 1 + 3 + 2 * (PAIRS - 2), "\xcc\xa3\xcc\x81", 4);
    cr_expect_arr_eq(normal + 1 + bytes - 2, "\xcc\x81", 2);
    free(normal);
    free(text);
}

Test(vocabulary_files, words_in_several_steps)
{
    tmac_vocabulary vocabulary;
    tmac_tokenizer *tokenizer = tokenizer_of(falcon, strlen(falcon), &vocabulary);
    expect(tokenizer, "a!!b", false, "0 17 1");
    expect(tokenizer, " !!", false, "2 17"); // the space is cut off before GPT-2 could take it
    expect(tokenizer, "11111", false, "12 11 12"); // three digits, then the rest
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
    tokenizer = tokenizer_of(digits, strlen(digits), &vocabulary);
    expect(tokenizer, "11", false, "11 11");
    expect(tokenizer, " !!", false, "2 17");
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
}

Test(vocabulary_files, json_refusals)
{
    static const struct {
        const char *json, *reason;
    } refused[] = {
        {"{\"model\":{\"type\":\"WordPiece\",\"vocab\":{\"a\":0}}}", "only BPE is supported"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}", "no merges"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a b\"]}}",
         "does not join two pieces"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[\"a b\"]}}", "has no id"},
        {"{\"model\":", "line 1"},
        {JSON("\"normalizer\":{\"type\":\"Lowercase\"},\"pre_tokenizer\":" LEVEL),
         "normalizer Lowercase"},
        {JSON("\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[" LEVEL
              ",{\"type\":\"BertPreTokenizer\"}]}"),
         "pre_tokenizer BertPreTokenizer"},
        {JSON("\"decoder\":{\"type\":\"ByteLevel\"},\"pre_tokenizer\":{\"type\":\"Split\","
              "\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\",\"invert\":true}"),
         "behavior Removed, inverted"},
        {JSON("\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"),
         "puts a space before"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        tmac_vocabulary vocabulary;
        tmac_status status = open_text(refused[i].json, strlen(refused[i].json), &vocabulary);
        cr_expect_neq(status.code, TMAC_OK, "%s", refused[i].json);
        cr_expect(strstr(status.message, refused[i].reason), "'%s': %s", refused[i].reason,
                  status.message);
        cr_expect_eq(vocabulary.size, 0);
    }
}

// ---------------------------------------------------------------------------------------------------- sentencepiece

static void put_field(tiny_file *file, int number, const void *data, size_t bytes)
{
    const uint8_t head[2] = {(uint8_t)(number << 3 | 2), (uint8_t)bytes};
    tiny_put(file, head, 2);
    tiny_put(file, data, bytes);
}

static void put_spm(tiny_file *file, const char *text, float score, uint8_t kind)
{
    tiny_file piece = {0};
    put_field(&piece, 1, text, strlen(text));
    const uint8_t score_head = 2 << 3 | 5, kind_field[2] = {3 << 3, kind};
    tiny_put(&piece, &score_head, 1);
    tiny_put(&piece, &score, 4);
    tiny_put(&piece, kind_field, 2);
    put_field(file, 1, piece.data, piece.bytes);
    tiny_free(&piece);
}

static tiny_file sentencepiece(void)
{
    static const struct {
        const char *text;
        float score;
        uint8_t kind;
    } pieces[] = {{"<unk>", 0, 2},
                  {"<s>", 0, 3},
                  {"</s>", 0, 3},
                  {"a", -5, 1},
                  {"b", -6, 1},
                  {"ab", -1, 1},
                  {"ba", -2, 1},
                  {"\xe2\x96\x81", -7, 1},
                  {"\xe2\x96\x81"
                   "a",
                   -3, 1},
                  {"[x]", 0, 4}};
    tiny_file file = {0};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        put_spm(&file, pieces[i].text, pieces[i].score, pieces[i].kind);
    return file;
}

Test(vocabulary_files, sentencepiece_model)
{
    tiny_file file = sentencepiece();
    tmac_vocabulary vocabulary;
    tmac_tokenizer *tokenizer = tokenizer_of((const char *)file.data, file.bytes, &vocabulary);
    cr_expect(vocabulary.add_space_prefix && vocabulary.add_bos);
    cr_expect(vocabulary.bos == 1 && vocabulary.eos == 2 && vocabulary.unknown == 0);
    expect(tokenizer, "ab", false, "7 5"); // "ab" is better than " a"
    expect(tokenizer, "aa", false, "8 3");
    expect(tokenizer, "a[x]b", false, "8 9 4");
    for (size_t cut = 1; cut < file.bytes;
         cut += 7) { // truncated anywhere: refused, or fewer pieces
        tmac_vocabulary shorter;
        if (open_text((const char *)file.data, file.bytes - cut, &shorter).code == TMAC_OK)
            tmac_vocabulary_free(&shorter);
    }
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
    tiny_free(&file);
}

// -------------------------------------------------------------------------------------------------------- model folders

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fputs(text, file);
    fclose(file);
}

Test(vocabulary_files, folder_and_its_other_files)
{
    static const char *const files[][2] = {
        {"tokenizer.json", gpt2},
        {"tokenizer_config.json",
         "{\"bos_token\":\"a\",\"eos_token\":{\"content\":\"b\"},\"add_bos_token\":true}"},
        {"chat_template.jinja", "{{ '<|im_start|>' }}{{ '<|im_end|>' }}"},
        {"generation_config.json", "{\"bos_token_id\":3,\"eos_token_id\":[9,4]}"},
        {"config.json", "{\"eos_token_id\":5}"},
    };
    char folder[] = "/tmp/tmac-vocabulary-XXXXXX", path[160];
    cr_assert_not_null(mkdtemp(folder));
    tmac_vocabulary vocabulary;
    cr_expect_eq(tmac_vocabulary_open(folder, VOCAB, &vocabulary).code, TMAC_NOT_FOUND);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        write_text(folder, files[i][0], files[i][1]);
    tmac_status status = tmac_vocabulary_open(folder, VOCAB, &vocabulary);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_expect(vocabulary.bos == 0 && vocabulary.eos == 1 && vocabulary.add_bos);
    cr_expect_str_eq(vocabulary.chat, "chatml");
    tmac_tokenizer *tokenizer;
    cr_assert_eq(tmac_tokenizer_new(&vocabulary, &tokenizer).code, TMAC_OK);
    static const uint32_t stops[] = {1, 4, 5, 9};
    for (size_t i = 0; i < 4; i++)
        cr_expect(tmac_tokenizer_is_stop(tokenizer, stops[i]), "%u", stops[i]);
    cr_expect_not(tmac_tokenizer_is_stop(tokenizer, 3));
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);

    write_text(folder, "generation_config.json", "{\"eos_token_id\":");
    status = tmac_vocabulary_open(folder, VOCAB, &vocabulary);
    cr_expect(status.code == TMAC_BAD_FILE && strstr(status.message, "generation_config.json"),
              "%s", status.message);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i][0]);
        unlink(path);
    }
    rmdir(folder);
}

// ---------------------------------------------------------------------------------------------------------- round trips

static void same_vocabulary(const tmac_vocabulary *a, const tmac_vocabulary *b, bool gguf)
{
    cr_assert_eq(a->size, b->size);
    for (uint32_t i = 0; i < a->size; i++) {
        const tmac_piece *p = &a->pieces[i], *q = &b->pieces[i];
        if (gguf && p->bytes == 0) continue; // is called [PAD..] there
        cr_expect(p->bytes == q->bytes && memcmp(p->text, q->text, p->bytes) == 0, "piece %u", i);
        cr_expect_eq(p->kind, q->kind, "piece %u", i);
    }
    cr_expect_eq(a->merge_count, b->merge_count);
    for (uint32_t i = 0; i < a->merge_count; i++)
        cr_expect(a->merges[i].left == b->merges[i].left &&
                      a->merges[i].right == b->merges[i].right,
                  "merge %u", i);
    cr_expect(a->bos == b->bos && a->eos == b->eos && a->unknown == b->unknown);
    cr_expect(a->add_bos == b->add_bos && a->add_space_prefix == b->add_space_prefix);
    cr_expect(a->kind == b->kind && a->whole_words == b->whole_words && a->nfc == b->nfc);
    cr_expect_str_eq(a->chat, b->chat);
    if (!gguf) cr_expect_str_eq(a->pattern, b->pattern);
    cr_assert_eq(a->stop_count, b->stop_count);
    for (uint32_t i = 0; i < a->stop_count; i++)
        cr_expect_eq(a->stops[i], b->stops[i]);
}

// A model with this vocabulary, through TM2 and through GGUF, gives the same vocabulary and the same tokens.
static void round_trip(const char *text, size_t bytes, const char *chat, bool named, uint32_t stops)
{
    static const tiny_shape shape = {16, 24, 1, 4, 2, VOCAB, 8};
    static const char *const formats[] = {"tm2", "gguf"};
    tiny_file model = tiny_llama2c(&shape, true, false);
    for (int f = 0; f < 2; f++) {
        tmac_source source, again;
        char path[64], note[TMAC_NOTE_BYTES];
        tmac_status status = tiny_open(&model, NULL, &source);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        status = open_text(text, bytes, &source.vocabulary);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        for (uint32_t i = 0; i < stops; i++)
            source.vocabulary.stops[source.vocabulary.stop_count++] = 4 + i;
        snprintf(source.vocabulary.chat, sizeof source.vocabulary.chat, "%s", chat);
        tiny_path(path);
        status =
            f ? tmac_gguf_write(&source, path, "f16", note) : tmac_tm2_write(&source, path, false);
        if (f && !named) {
            cr_expect(status.code == TMAC_UNSUPPORTED && strstr(status.message, "no name for"),
                      "%s", status.message);
        } else {
            cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
            status = tmac_source_open(path, NULL, &again);
            cr_assert_eq(status.code, TMAC_OK, "%s: %s", formats[f], status.message);
            same_vocabulary(&source.vocabulary, &again.vocabulary, f);
            tmac_source_close(&again);
        }
        unlink(path);
        tmac_source_close(&source);
    }
    tiny_free(&model);
}

Test(vocabulary_files, tm2_and_gguf_keep_byte_level_vocabularies)
{
    round_trip(gpt2, strlen(gpt2), "llama3", true, 1);
    round_trip(qwen, strlen(qwen), "chatml", true, 1);
    round_trip(falcon, strlen(falcon), "falcon3", true, 4); // more than GGUF has names for
    round_trip(digits, strlen(digits), "bitnet", false, 1);
}

Test(vocabulary_files, tm2_and_gguf_keep_sentencepiece)
{
    tiny_file file = sentencepiece();
    round_trip((const char *)file.data, file.bytes, "llama2", true, 2);
    tiny_free(&file);
}

// Sentencepiece as a tokenizer.json merges by rank; GGUF has scores for that.
Test(vocabulary_files, gguf_has_scores_for_ranks)
{
    static const tiny_shape shape = {16, 24, 1, 4, 2, VOCAB, 8};
    static const char json[] =
        "{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
        "\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
        "\"},\"content\":\"\\u2581\"}]},"
        "\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<0x00>\":0,\"a\":1,\"b\":"
        "2,"
        "\"\\u2581\":3,\"ab\":4,\"\\u2581a\":5},\"merges\":[\"\\u2581 a\",\"a b\"]}}";
    tiny_file model = tiny_llama2c(&shape, true, false);
    tmac_source source, again;
    char path[64], note[TMAC_NOTE_BYTES];
    cr_assert_eq(tiny_open(&model, NULL, &source).code, TMAC_OK);
    cr_assert_eq(open_text(json, strlen(json), &source.vocabulary).code, TMAC_OK);
    cr_assert_eq(source.vocabulary.merge_count, 2);
    tiny_path(path);
    tmac_status status = tmac_gguf_write(&source, path, "f16", note);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = tmac_source_open(path, NULL, &again);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    const tmac_source *both[] = {&source, &again};
    for (int i = 0; i < 2; i++) {
        tmac_tokenizer *tokenizer;
        cr_assert_eq(tmac_tokenizer_new(&both[i]->vocabulary, &tokenizer).code, TMAC_OK);
        expect(tokenizer, "ab", false, "5 2"); // " a" comes first
        expect(tokenizer, "bab", false, "3 2 4");
        tmac_tokenizer_free(tokenizer);
    }
    unlink(path);
    tmac_source_close(&source);
    tmac_source_close(&again);
    tiny_free(&model);
}

// Ranks of pieces and no merges, as tiktoken has them: the GGUF has the merges that give the same tokens.
Test(vocabulary_files, gguf_has_merges_for_ranks)
{
    static const tiny_shape shape = {16, 24, 1, 4, 2, VOCAB, 8};
    static const uint32_t in_order[] = {5, 3, 4, 6, 12, 15, 17}; // what the merges of PIECES make
    tiny_file model = tiny_llama2c(&shape, true, false);
    tmac_source source, again;
    tmac_vocabulary original;
    char path[64], note[TMAC_NOTE_BYTES];
    cr_assert_eq(tiny_open(&model, NULL, &source).code, TMAC_OK);
    cr_assert_eq(open_text(gpt2, strlen(gpt2), &source.vocabulary).code, TMAC_OK);
    cr_assert_eq(open_text(gpt2, strlen(gpt2), &original).code, TMAC_OK);
    source.vocabulary.merge_count = 0;
    for (uint32_t i = 0; i < sizeof in_order / sizeof *in_order; i++)
        source.vocabulary.pieces[in_order[i]].score = -1.0f - (float)i;
    tiny_path(path);
    tmac_status status = tmac_gguf_write(&source, path, "f16", note);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = tmac_source_open(path, NULL, &again);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    same_vocabulary(&original, &again.vocabulary, true);
    unlink(path);
    tmac_vocabulary_free(&original);
    tmac_source_close(&source);
    tmac_source_close(&again);
    tiny_free(&model);
}

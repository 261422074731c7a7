// Target: texts. The first byte of the input chooses a vocabulary and whether control tokens count; the rest is
// tokenized. This target knows wrong answers, too: every vocabulary has all bytes, so that the tokens must spell the text
// again, in normal form C where the vocabulary asks for it, and what is in that form stays as it is.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "convert/vocabulary.h"
#include "runtime/tokenizer.h"
#include "tests/fuzz/fuzz.h"

// How texts are cut and merged; `pattern` NULL: sentencepiece.
static const struct {
    const char *pattern;
    bool nfc, whole_words, merges;
} kinds[] = {
    {"falcon", true, false, true}, {"llama-bpe", false, true, true}, {"qwen2", true, false, true},
    {"gpt-2", false, false, true}, {"falcon", false, false, true},   {NULL, false, false, false},
    {NULL, true, false, false},    {"gpt-2", true, true, false},
};
enum { KINDS = sizeof kinds / sizeof *kinds, BYTES = 256 };

static const char *const words[] = {" t",           "he",       " the",      "12",   "123",
                                    "\r\n",         "\xc3\xa9", "e\xcc\x81", "'s",   "  ",
                                    "\xea\xb0\x80", "...",      "aa",        "aaaa", " "};
static const char *const controls[] = {"<s>", "<|eot_id|>", "<|eot|>"};
static const char *const users[] = {"<u>", "<user>", "\xcc\x81", "12<"};
enum {
    WORDS = sizeof words / sizeof *words,
    CONTROLS = sizeof controls / sizeof *controls,
    USERS = sizeof users / sizeof *users,
    PIECES = BYTES + WORDS + CONTROLS + USERS
};

static tmac_piece piece(const char *text, size_t bytes, float score, uint8_t kind)
{
    return (tmac_piece){.text = text, .bytes = (uint32_t)bytes, .score = score, .kind = kind};
}

static const tmac_tokenizer *tokenizer_of(size_t kind)
{
    static tmac_tokenizer *made[KINDS];
    static char bytes[BYTES][8];
    // Each joins two pieces to one of `words`, or of bytes.
    static tmac_merge merges[] = {{' ', 't'},
                                  {'h', 'e'},
                                  {BYTES, BYTES + 1},
                                  {'1', '2'},
                                  {BYTES + 3, '3'},
                                  {'\r', '\n'},
                                  {0xc3, 0xa9},
                                  {'\'', 's'},
                                  {' ', ' '},
                                  {'a', 'a'},
                                  {BYTES + 12, BYTES + 12}};
    if (made[kind]) return made[kind];
    const bool bpe = kinds[kind].pattern != NULL;
    tmac_piece pieces[PIECES];
    uint32_t count = 0;
    for (; count < BYTES; count++) {
        snprintf(bytes[count], sizeof bytes[count], "<0x%02X>", count);
        if (bpe) bytes[count][0] = (char)count;
        pieces[count] =
            piece(bytes[count], bpe ? 1 : 6, 0, bpe ? TMAC_PIECE_NORMAL : TMAC_PIECE_BYTE);
    }
    for (uint32_t i = 0; i < WORDS; i++)
        pieces[count++] = piece(words[i], strlen(words[i]), -(float)i, TMAC_PIECE_NORMAL);
    for (uint32_t i = 0; i < CONTROLS; i++)
        pieces[count++] = piece(controls[i], strlen(controls[i]), 0, TMAC_PIECE_CONTROL);
    for (uint32_t i = 0; i < USERS; i++)
        pieces[count++] = piece(users[i], strlen(users[i]), 0, TMAC_PIECE_USER);
    tmac_vocabulary vocabulary = {.size = PIECES,
                                  .pieces = pieces,
                                  .bos = -1,
                                  .eos = -1,
                                  .unknown = -1,
                                  .add_space_prefix = !bpe,
                                  .kind = bpe ? TMAC_VOCABULARY_BPE : TMAC_VOCABULARY_SPM,
                                  .nfc = kinds[kind].nfc,
                                  .whole_words = kinds[kind].whole_words,
                                  .merges = merges};
    if (kinds[kind].merges) vocabulary.merge_count = sizeof merges / sizeof *merges;
    if (bpe)
        snprintf(vocabulary.pattern, sizeof vocabulary.pattern, "%s",
                 tmac_pattern_named(kinds[kind].pattern, strlen(kinds[kind].pattern)));
    if (tmac_tokenizer_new(&vocabulary, &made[kind]).code != TMAC_OK) abort();
    return made[kind];
}

// The bytes that tokens stand for.
static char *spell(const tmac_tokenizer *tokenizer, const uint32_t *tokens, size_t count,
                   size_t *bytes)
{
    enum { LONGEST = 16 };
    char *text = malloc(count * LONGEST + 1);
    if (!text) abort();
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *from = tmac_tokenizer_piece(tokenizer, tokens[i], i == 0, &length);
        memcpy(text + *bytes, from, length);
        *bytes += length;
    }
    return text;
}

// What is in normal form C stays as it is, and that of valid UTF-8 is utf8proc's own.
static void check_form(const char *text, size_t bytes, const char *normal, size_t normal_bytes)
{
    char *again;
    size_t again_bytes;
    if (tmac_normal_form(normal, normal_bytes, &again, &again_bytes).code != TMAC_OK) abort();
    if (again && (again_bytes != normal_bytes || memcmp(again + 1, normal, again_bytes) != 0))
        abort();
    free(again);
    utf8proc_uint8_t *form = NULL;
    const utf8proc_ssize_t length =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &form,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (length >= 0 && ((size_t)length != normal_bytes || memcmp(form, normal, normal_bytes) != 0))
        abort();
    free(form);
}

void fuzz_text(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) return;
    const size_t kind = data[0] % KINDS, length = bytes - 1;
    const bool markup = data[0] & 0x80;
    const tmac_tokenizer *tokenizer = tokenizer_of(kind);
    char *text = malloc(length + 1), *again, *normal = NULL;
    if (!text) return;
    memcpy(text, data + 1, length);
    uint32_t *tokens;
    size_t count, spelled, normal_bytes = length;
    const tmac_text_part part[] = {{text, length / 2, markup},
                                   {text + length / 2, length - length / 2, markup}};
    if (tmac_tokenizer_encode_parts(tokenizer, part, 2, &tokens, &count).code != TMAC_OK) abort();
    again = spell(tokenizer, tokens, count, &spelled);
    // Pieces that are matched before anything is normalized may part a letter from its mark.
    bool whole = !markup;
    for (size_t i = 0; i < count; i++)
        whole = whole && (tokens[i] < BYTES + WORDS || !kinds[kind].nfc);
    if (kinds[kind].nfc && tmac_normal_form(text, length, &normal, &normal_bytes).code != TMAC_OK)
        abort();
    const char *expected = normal ? normal + 1 : text;
    if (kinds[kind].nfc) check_form(text, length, expected, normal_bytes);
    if (whole && (spelled != normal_bytes || memcmp(again, expected, spelled) != 0)) abort();
    free(normal);
    free(again);
    free(tokens);
    free(text);
}

// The SPM tokenizer on small vocabularies made here, and against a naive implementation.
#include "runtime/tmac.h"

#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"

// A vocabulary that grows piece by piece: <unk>, BOS, EOS, 256 bytes, then what a test adds.
typedef struct builder {
    tmac_piece pieces[600];
    char byte_names[256][8];
    tmac_vocabulary vocabulary;
} builder;

static uint32_t add(builder *b, const char *text, float score, tmac_piece_kind kind)
{
    const uint32_t id = b->vocabulary.size++;
    b->pieces[id] = (tmac_piece){text, (uint32_t)strlen(text), score, (uint8_t)kind};
    return id;
}

static void begin(builder *b)
{
    memset(b, 0, sizeof *b);
    b->vocabulary = (tmac_vocabulary){.pieces = b->pieces,
                                      .bos = 1,
                                      .eos = 2,
                                      .unknown = 0,
                                      .add_bos = true,
                                      .add_space_prefix = true};
    add(b, "<unk>", 0, TMAC_PIECE_UNKNOWN);
    add(b, "<s>", 0, TMAC_PIECE_CONTROL);
    add(b, "</s>", 0, TMAC_PIECE_CONTROL);
    for (int i = 0; i < 256; i++) {
        snprintf(b->byte_names[i], sizeof b->byte_names[i], "<0x%02X>", (unsigned)i & 255u);
        add(b, b->byte_names[i], 0, TMAC_PIECE_BYTE);
    }
}

static tmac_tokenizer *finish(const builder *b)
{
    tmac_tokenizer *tokenizer = NULL;
    tmac_status status = tmac_tokenizer_new(&b->vocabulary, &tokenizer);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return tokenizer;
}

// Encodes and compares with ids[count].
static void expect(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                   const uint32_t *ids, size_t count)
{
    uint32_t *tokens;
    size_t got;
    tmac_status status = tmac_tokenizer_encode(tokenizer, text, bytes, &tokens, &got);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_expect_eq(got, count, "'%s': %zu tokens, expected %zu", text, got, count);
    for (size_t i = 0; i < got && i < count; i++)
        cr_expect_eq(tokens[i], ids[i], "'%s': token %zu is %u, expected %u", text, i, tokens[i],
                     ids[i]);
    free(tokens);
}
#define EXPECT(tokenizer, text, ...)                                                               \
    expect(tokenizer, text, sizeof(text) - 1, (const uint32_t[]){__VA_ARGS__},                     \
           sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

Test(tokenizer, merges_best_first_and_leftmost_of_equals)
{
    static builder b;
    begin(&b);
    const uint32_t space = add(&b, " ", -9, TMAC_PIECE_NORMAL);
    const uint32_t letter_a = add(&b, "a", -9, TMAC_PIECE_NORMAL);
    const uint32_t letter_b = add(&b, "b", -9, TMAC_PIECE_NORMAL);
    const uint32_t aa = add(&b, "aa", -1, TMAC_PIECE_NORMAL);
    const uint32_t ab = add(&b, "ab", -2, TMAC_PIECE_NORMAL);
    const uint32_t aab = add(&b, "aab", -3, TMAC_PIECE_NORMAL);
    const uint32_t ba = add(&b, "ba", -2, TMAC_PIECE_NORMAL);
    tmac_tokenizer *tokenizer = finish(&b);
    EXPECT(tokenizer, "aaa", space, aa, letter_a);
    EXPECT(tokenizer, "ab", space, ab);
    EXPECT(tokenizer, "aba", space, ab, letter_a);
    EXPECT(tokenizer, "baba", space, ba, ba);
    EXPECT(tokenizer, "aab", space, aab);
    EXPECT(tokenizer, "aaab", space, aa, ab);
    EXPECT(tokenizer, "b", space, letter_b);
    expect(tokenizer, "", 0, NULL, 0);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer, any_bytes_are_accepted)
{
    static builder b;
    begin(&b);
    const uint32_t space = add(&b, " ", -9, TMAC_PIECE_NORMAL), byte = 3;
    tmac_tokenizer *tokenizer = finish(&b);
    EXPECT(tokenizer, "\xc3\xa9", space, byte + 0xc3, byte + 0xa9); // a character without a piece
    EXPECT(tokenizer, "\xff\xc3", space, byte + 0xff, byte + 0xc3); // no UTF-8, cut UTF-8
    EXPECT(tokenizer, "\0", space, byte);
    EXPECT(tokenizer, "<", space, byte + '<');
    char every[256];
    uint32_t ids[257] = {space};
    for (uint32_t i = 0; i < 256; i++) {
        every[i] = (char)(255 - i);
        ids[1 + i] = byte + 255 - i;
    }
    ids[1 + 255 - ' '] = space;
    expect(tokenizer, every, 256, ids, 257);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer, special_pieces_are_not_in_text)
{
    static builder b;
    begin(&b);
    b.vocabulary.add_space_prefix = false;
    const uint32_t open = add(&b, "<", -9, TMAC_PIECE_NORMAL),
                   s = add(&b, "s", -9, TMAC_PIECE_NORMAL);
    const uint32_t close = add(&b, ">", -9, TMAC_PIECE_NORMAL),
                   open_s = add(&b, "<s", -3, TMAC_PIECE_NORMAL);
    add(&b, "s>", -1, TMAC_PIECE_UNUSED);
    tmac_tokenizer *tokenizer = finish(&b);
    EXPECT(tokenizer, "<s>", open_s, close);
    EXPECT(tokenizer, "s<", s, open);
    size_t bytes;
    tmac_tokenizer_piece(tokenizer, 1, false, &bytes);
    cr_expect_eq(bytes, 0);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer, user_pieces_are_whole_and_longest_first)
{
    static builder b;
    begin(&b);
    b.vocabulary.add_space_prefix = false;
    const uint32_t letter_a = add(&b, "a", -9, TMAC_PIECE_NORMAL);
    add(&b, "aa", -1, TMAC_PIECE_NORMAL);
    const uint32_t tag = add(&b, "[t]", -100, TMAC_PIECE_USER);
    const uint32_t tag_a = add(&b, "[t]a", -100, TMAC_PIECE_USER);
    add(&b, "[t][t]", 0, TMAC_PIECE_NORMAL);
    tmac_tokenizer *tokenizer = finish(&b);
    EXPECT(tokenizer, "[t][t]aa", tag, tag_a, letter_a);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer, pieces_decode)
{
    static builder b;
    begin(&b);
    const uint32_t word = add(&b, " cat", -1, TMAC_PIECE_NORMAL), newline = 3 + '\n',
                   blank = 3 + ' ';
    tmac_tokenizer *tokenizer = finish(&b);
    size_t bytes;
    const char *piece = tmac_tokenizer_piece(tokenizer, word, true, &bytes);
    cr_expect(bytes == 3 && memcmp(piece, "cat", 3) == 0);
    piece = tmac_tokenizer_piece(tokenizer, word, false, &bytes);
    cr_expect(bytes == 4 && memcmp(piece, " cat", 4) == 0);
    piece = tmac_tokenizer_piece(tokenizer, newline, false, &bytes);
    cr_expect(bytes == 1 && piece[0] == '\n');
    piece = tmac_tokenizer_piece(tokenizer, blank, true, &bytes);
    cr_expect(bytes == 1 && piece[0] == ' ', "a byte piece keeps its space");
    tmac_tokenizer_piece(tokenizer, 123456, false, &bytes);
    cr_expect_eq(bytes, 0);
    tmac_tokenizer_free(tokenizer);
}

Test(tokenizer, bad_vocabularies_are_refused)
{
    static builder b;
    tmac_tokenizer *tokenizer;
    begin(&b);
    b.vocabulary.eos = 259;
    cr_expect_eq(tmac_tokenizer_new(&b.vocabulary, &tokenizer).code, TMAC_BAD_FILE);
    begin(&b);
    add(&b, "x", NAN, TMAC_PIECE_NORMAL);
    cr_expect_eq(tmac_tokenizer_new(&b.vocabulary, &tokenizer).code, TMAC_BAD_FILE);
    begin(&b);
    add(&b, "<0xG0>", 0, TMAC_PIECE_BYTE);
    cr_expect_eq(tmac_tokenizer_new(&b.vocabulary, &tokenizer).code, TMAC_BAD_FILE);
    b.vocabulary.size = 0;
    cr_expect_eq(tmac_tokenizer_new(&b.vocabulary, &tokenizer).code, TMAC_BAD_FILE);
}

Test(tokenizer, no_bytes_and_no_unknown)
{
    static builder b;
    memset(&b, 0, sizeof b);
    b.vocabulary = (tmac_vocabulary){.pieces = b.pieces, .bos = -1, .eos = -1, .unknown = -1};
    const uint32_t letter = add(&b, "a", 0, TMAC_PIECE_NORMAL);
    tmac_tokenizer *tokenizer = finish(&b);
    EXPECT(tokenizer, "a", letter);
    uint32_t *tokens;
    size_t count;
    cr_expect_eq(tmac_tokenizer_encode(tokenizer, "ab", 2, &tokens, &count).code, TMAC_UNSUPPORTED);
    cr_expect_null(tokens);
    tmac_tokenizer_free(tokenizer);
}

// The definition, word for word: look at all pairs, join the best, begin again.
static size_t naive(const tmac_vocabulary *vocabulary, const char *text, uint32_t *ids)
{
    char symbols[256][64];
    size_t count = 0;
    for (; text[count]; count++)
        snprintf(symbols[count], sizeof symbols[count], "%c", text[count]);
    for (;;) {
        float best = -INFINITY;
        size_t at = SIZE_MAX;
        for (size_t i = 0; i + 1 < count; i++) {
            char joined[130];
            strcpy(joined, symbols[i]);
            strcat(joined, symbols[i + 1]);
            for (uint32_t id = 259; id < vocabulary->size; id++)
                if (strcmp(vocabulary->pieces[id].text, joined) == 0 &&
                    vocabulary->pieces[id].score > best) {
                    best = vocabulary->pieces[id].score;
                    at = i;
                }
        }
        if (at == SIZE_MAX) break;
        char whole[130];
        strcpy(whole, symbols[at]);
        strcat(whole, symbols[at + 1]);
        strcpy(symbols[at], whole);
        memmove(symbols[at + 1], symbols[at + 2], (count - at - 2) * sizeof symbols[0]);
        count--;
    }
    for (size_t i = 0; i < count; i++)
        for (uint32_t id = 259; id < vocabulary->size; id++)
            if (strcmp(vocabulary->pieces[id].text, symbols[i]) == 0) {
                ids[i] = id;
                break;
            }
    return count;
}

Test(tokenizer, heap_equals_definition)
{
    static builder b;
    static char texts[300][16];
    tmac_random random = {7};
    for (int round = 0; round < 20; round++) {
        begin(&b);
        b.vocabulary.add_space_prefix = false;
        for (uint32_t i = 0; i < 3; i++) {
            snprintf(texts[i], sizeof texts[i], "%c", "xyz"[i]);
            add(&b, texts[i], -50, TMAC_PIECE_NORMAL);
        }
        // Random words of random scores out of few, so that ties are common; also words that no merge can reach.
        for (uint32_t i = 3; i < 120; i++) {
            const uint32_t length = 2 + tmac_random_below(&random, 6);
            for (uint32_t j = 0; j < length; j++)
                texts[i][j] = "xyz"[tmac_random_below(&random, 3)];
            texts[i][length] = '\0';
            bool known = false;
            for (uint32_t j = 0; j < i; j++)
                known |= strcmp(texts[i], texts[j]) == 0;
            if (known)
                texts[i][0] = '\0';
            else
                add(&b, texts[i], -(float)tmac_random_below(&random, 8), TMAC_PIECE_NORMAL);
        }
        tmac_tokenizer *tokenizer = finish(&b);
        for (int trial = 0; trial < 30; trial++) {
            char text[81];
            const uint32_t length = 1 + tmac_random_below(&random, 80);
            for (uint32_t j = 0; j < length; j++)
                text[j] = "xyz"[tmac_random_below(&random, 3)];
            text[length] = '\0';
            uint32_t ids[80];
            const size_t count = naive(&b.vocabulary, text, ids);
            expect(tokenizer, text, length, ids, count);
        }
        tmac_tokenizer_free(tokenizer);
    }
}

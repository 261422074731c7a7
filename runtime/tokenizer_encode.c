// Text to ids.
//
//   1. The text is cut at the control tokens of its markup, and for BPE at user-defined pieces, too.
//   2. Sentencepiece: every stretch between them gets a space in front, where the vocabulary asks for it, and is one
//      word. BPE: a stretch is cut into words by the vocabulary's pattern.
//      Before that a stretch is brought to normal form C, where the vocabulary asks for it.
//   3. Words are merged (tokenizer_merge.c).
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer.h"

enum { TEXT_MAX = 1 << 30 };

typedef struct encoder {
    const tmac_tokenizer *tokenizer;
    tmac_merger merger;
    char *text; // all parts, with room for a space in front
    uint32_t *tokens;
    size_t count;
} encoder;

static tmac_status encode_word(void *context, const char *word, size_t bytes)
{
    encoder *work = context;
    return tmac_merge_word(&work->merger, word, bytes, work->tokens, &work->count);
}

// There is a byte before `text`.
static tmac_status encode_words(encoder *work, char *text, size_t bytes)
{
    const tmac_tokenizer *tokenizer = work->tokenizer;
    if (tokenizer->splitter) return tmac_split(tokenizer->splitter, text, bytes, encode_word, work);
    if (!tokenizer->add_space_prefix) return encode_word(work, text, bytes);
    text[-1] = ' ';
    return encode_word(work, text - 1, bytes + 1);
}

// `text` lies in work->text, so that there is a byte before it: of a special piece, which is done with, or spare.
static tmac_status encode_stretch(encoder *work, char *text, size_t bytes)
{
    char *normal = NULL;
    if (bytes == 0) return tmac_ok();
    tmac_status status = tmac_ok();
    if (work->tokenizer->nfc) status = tmac_normal_form(text, bytes, &normal, &bytes);
    if (status.code == TMAC_OK) status = encode_words(work, normal ? normal + 1 : text, bytes);
    free(normal);
    return status;
}

static tmac_status encode_all(encoder *work, const tmac_text_part *parts, size_t part_count,
                              size_t bytes)
{
    const bool user = work->tokenizer->kind == TMAC_VOCABULARY_BPE;
    char *text = work->text + 1;
    size_t begin = 0, at = 0, part_end = 0;
    for (size_t i = 0; i < part_count; i++) {
        part_end += parts[i].bytes;
        if (!parts[i].markup && !user) at = part_end;
        while (at < part_end) {
            const size_t markup = parts[i].markup ? part_end - at : 0;
            const tmac_special *special =
                tmac_special_at(work->tokenizer, text + at, bytes - at, markup, user);
            if (!special) {
                at++;
                continue;
            }
            TMAC_TRY(encode_stretch(work, text + begin, at - begin));
            work->tokens[work->count++] = special->id;
            at += special->bytes;
            begin = at;
        }
    }
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the encoder's memory is its owner's, who frees it
    return encode_stretch(work, text + begin, bytes - begin);
}

tmac_status tmac_tokenizer_encode_parts(const tmac_tokenizer *tokenizer,
                                        const tmac_text_part *parts, size_t part_count,
                                        uint32_t **tokens, size_t *count)
{
    *tokens = NULL;
    *count = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].bytes > TEXT_MAX || bytes + parts[i].bytes > TEXT_MAX)
            return tmac_fail(TMAC_USAGE, "a text of %zu bytes: at most %d can be tokenized",
                             bytes + parts[i].bytes, TEXT_MAX);
        bytes += parts[i].bytes;
    }
    encoder work = {.tokenizer = tokenizer, .merger = {.tokenizer = tokenizer}};
    work.text = malloc(bytes + 1);
    // A token stands for a byte at least, or is the space in front of a stretch. The first stretch may come before
    // any special piece, each further one follows a special piece that has a byte more than its token needs, or, with
    // one byte, none: two for each byte are enough. Normal form C is at most three times as long.
    const size_t longest = tokenizer->nfc ? 3 * bytes : bytes;
    work.tokens = malloc((2 * longest + 2) * sizeof *work.tokens);
    tmac_status status;
    if (!work.text || !work.tokens) {
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory tokenizing %zu bytes", bytes);
    } else {
        char *to = work.text + 1;
        for (size_t i = 0; i < part_count; i++) {
            if (parts[i].bytes) memcpy(to, parts[i].text, parts[i].bytes);
            to += parts[i].bytes;
        }
        status = encode_all(&work, parts, part_count, bytes);
    }
    tmac_merger_free(&work.merger);
    free(work.text);
    uint32_t *fitting =
        status.code == TMAC_OK ? realloc(work.tokens, (work.count + 1) * sizeof *fitting) : NULL;
    if (!fitting) {
        free(work.tokens);
        return status.code == TMAC_OK ? tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for tokens")
                                      : status;
    }
    *tokens = fitting;
    *count = work.count;
    return tmac_ok();
}

tmac_status tmac_tokenizer_encode(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                                  uint32_t **tokens, size_t *count)
{
    const tmac_text_part part = {text, bytes, false};
    return tmac_tokenizer_encode_parts(tokenizer, &part, 1, tokens, count);
}

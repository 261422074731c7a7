// Words by regular expressions, through PCRE2: the only place that knows it.
//
// A vocabulary comes with the expression it was trained with; its matches are words, and so are the stretches that it
// does not match. Some have several, one a line: each cuts the words of the one before, and sees nothing but the word. The expressions speak of Unicode letters and numbers. Bytes that are no UTF-8 are no letters: the text
// is cut at them first, which also spares PCRE2 a check of the whole rest of the text for every word.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer.h"
#include "runtime/utf8.h"

enum { STEPS_MAX = 8 };

struct tmac_splitter {
    pcre2_code *steps[STEPS_MAX];
    uint32_t count;
};

static tmac_status add_step(tmac_splitter *splitter, const char *pattern, size_t bytes)
{
    int error;
    PCRE2_SIZE place;
    if (splitter->count == STEPS_MAX)
        return tmac_fail(TMAC_UNSUPPORTED, "the vocabulary has more than %d word patterns",
                         STEPS_MAX);
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, bytes, PCRE2_UTF | PCRE2_UCP, &error, &place, NULL);
    if (!code) {
        PCRE2_UCHAR message[120] = "";
        pcre2_get_error_message(error, message, sizeof message);
        return tmac_fail(TMAC_BAD_FILE,
                         "the vocabulary's word pattern is wrong at its byte %zu: %s",
                         (size_t)place, (const char *)message);
    }
    // Where the system forbids generated code, matching works without it.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    splitter->steps[splitter->count++] = code;
    return tmac_ok();
}

tmac_status tmac_splitter_new(const char *pattern, tmac_splitter **splitter)
{
    tmac_splitter *made = calloc(1, sizeof *made);
    *splitter = NULL;
    if (!made) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a word pattern");
    tmac_status status = tmac_ok();
    for (bool more = true; more && status.code == TMAC_OK;) {
        const size_t bytes = strcspn(pattern, "\n");
        status = add_step(made, pattern, bytes);
        more = pattern[bytes] == '\n';
        pattern += bytes + more;
    }
    if (status.code == TMAC_OK)
        *splitter = made;
    else
        tmac_splitter_free(made);
    return status;
}

void tmac_splitter_free(tmac_splitter *splitter)
{
    if (!splitter) return;
    for (uint32_t i = 0; i < splitter->count; i++)
        pcre2_code_free(splitter->steps[i]);
    free(splitter);
}

// What cutting needs at every step.
typedef struct cutter {
    const tmac_splitter *splitter;
    pcre2_match_data *match[STEPS_MAX];
    tmac_word word;
    void *context;
} cutter;

// Cuts valid UTF-8 by the patterns from `step` on. Recursion ends with the last pattern.
static tmac_status cut_from( // NOLINT(misc-no-recursion)
    const cutter *how, uint32_t step, const char *text, size_t bytes)
{
    if (bytes == 0) return tmac_ok();
    if (step == how->splitter->count) return how->word(how->context, text, bytes);
    size_t at = 0;
    while (at < bytes) {
        const int found = pcre2_match(how->splitter->steps[step], (PCRE2_SPTR)text, bytes, at,
                                      PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, how->match[step], NULL);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR message[120] = "";
            pcre2_get_error_message(found, message, sizeof message);
            return tmac_fail(TMAC_UNSUPPORTED,
                             "the vocabulary's word pattern fails on this text: %s",
                             (const char *)message);
        }
        const PCRE2_SIZE *place = pcre2_get_ovector_pointer(how->match[step]);
        // \K in a look-around can put the beginning anywhere.
        const bool sane = found >= 0 && place[0] >= at && place[1] > place[0];
        const size_t begin = sane ? place[0] : bytes, end = sane ? place[1] : bytes;
        TMAC_TRY(cut_from(how, step + 1, text + at, begin - at));
        TMAC_TRY(cut_from(how, step + 1, text + begin, end - begin));
        at = end;
    }
    return tmac_ok();
}

static tmac_status cut_all(const cutter *how, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t valid = 0, invalid = 0;
        for (int length; at + valid < bytes &&
                         (length = tmac_utf8_character(text + at + valid, bytes - at - valid)) > 0;)
            valid += (size_t)length;
        TMAC_TRY(cut_from(how, 0, text + at, valid));
        at += valid;
        while (at + invalid < bytes &&
               tmac_utf8_character(text + at + invalid, bytes - at - invalid) <= 0)
            invalid++;
        if (invalid) TMAC_TRY(how->word(how->context, text + at, invalid));
        at += invalid;
    }
    return tmac_ok();
}

tmac_status tmac_split(const tmac_splitter *splitter, const char *text, size_t bytes,
                       tmac_word word, void *context)
{
    cutter how = {.splitter = splitter, .word = word, .context = context};
    bool room = true;
    for (uint32_t i = 0; i < splitter->count; i++) {
        how.match[i] = pcre2_match_data_create_from_pattern(splitter->steps[i], NULL);
        room = room && how.match[i];
    }
    tmac_status status =
        room ? cut_all(&how, text, bytes)
             : tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for the words of a text");
    for (uint32_t i = 0; i < splitter->count; i++)
        if (how.match[i]) pcre2_match_data_free(how.match[i]);
    return status;
}

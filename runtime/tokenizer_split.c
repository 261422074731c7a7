// Words by a regular expression, through PCRE2: the only place that knows it.
//
// A vocabulary comes with the expression it was trained with; its matches are words, and so are the stretches that it
// does not match. The expressions speak of Unicode letters and numbers. Bytes that are no UTF-8 are no letters: the text
// is cut at them first, which also spares PCRE2 a check of the whole rest of the text for every word.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "runtime/tokenizer.h"
#include "runtime/utf8.h"

struct tmac_splitter {
    pcre2_code *code;
};

tmac_status tmac_splitter_new(const char *pattern, tmac_splitter **splitter)
{
    int error;
    PCRE2_SIZE place;
    *splitter = NULL;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                                     PCRE2_UTF | PCRE2_UCP, &error, &place, NULL);
    if (!code) {
        PCRE2_UCHAR message[120] = "";
        pcre2_get_error_message(error, message, sizeof message);
        return tmac_fail(TMAC_BAD_FILE,
                         "the vocabulary's word pattern is wrong at its byte %zu: %s",
                         (size_t)place, (const char *)message);
    }
    // Where the system forbids generated code, matching works without it.
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    tmac_splitter *made = malloc(sizeof *made);
    if (!made) {
        pcre2_code_free(code);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a word pattern");
    }
    made->code = code;
    *splitter = made;
    return tmac_ok();
}

void tmac_splitter_free(tmac_splitter *splitter)
{
    if (!splitter) return;
    pcre2_code_free(splitter->code);
    free(splitter);
}

// Valid UTF-8 throughout.
static tmac_status split_valid(const tmac_splitter *splitter, pcre2_match_data *match,
                               const char *text, size_t bytes, tmac_word word, void *context)
{
    size_t at = 0;
    while (at < bytes) {
        const int found = pcre2_match(splitter->code, (PCRE2_SPTR)text, bytes, at,
                                      PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match, NULL);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
            PCRE2_UCHAR message[120] = "";
            pcre2_get_error_message(found, message, sizeof message);
            return tmac_fail(TMAC_UNSUPPORTED,
                             "the vocabulary's word pattern fails on this text: %s",
                             (const char *)message);
        }
        const PCRE2_SIZE *place = pcre2_get_ovector_pointer(match);
        // \K in a look-around can put the beginning anywhere.
        const bool sane = found >= 0 && place[0] >= at && place[1] > place[0];
        const size_t begin = sane ? place[0] : bytes, end = sane ? place[1] : bytes;
        if (begin > at) TMAC_TRY(word(context, text + at, begin - at));
        if (end > begin) TMAC_TRY(word(context, text + begin, end - begin));
        at = end;
    }
    return tmac_ok();
}

tmac_status tmac_split(const tmac_splitter *splitter, const char *text, size_t bytes,
                       tmac_word word, void *context)
{
    pcre2_match_data *match = pcre2_match_data_create_from_pattern(splitter->code, NULL);
    if (!match) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for the words of a text");
    tmac_status status = tmac_ok();
    for (size_t at = 0; at < bytes && status.code == TMAC_OK;) {
        size_t valid = 0, invalid = 0;
        for (int length; at + valid < bytes &&
                         (length = tmac_utf8_character(text + at + valid, bytes - at - valid)) > 0;)
            valid += (size_t)length;
        status = split_valid(splitter, match, text + at, valid, word, context);
        at += valid;
        while (at + invalid < bytes &&
               tmac_utf8_character(text + at + invalid, bytes - at - invalid) <= 0)
            invalid++;
        if (invalid && status.code == TMAC_OK) status = word(context, text + at, invalid);
        at += invalid;
    }
    pcre2_match_data_free(match);
    return status;
}

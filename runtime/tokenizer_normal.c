// Normal form C through utf8proc: the only place that knows it. Characters that a letter and its marks make together are
// one code point there, so that a text has one spelling. ASCII is in that form, and most texts are ASCII.
//
// Bytes that are no UTF-8 have no form: stretches between them are normalized on their own, as they are cut into words on
// their own (tokenizer_split.c).
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "runtime/tokenizer.h"
#include "runtime/utf8.h"

// Appends the form of `bytes` bytes of valid UTF-8.
static tmac_status append_normal(const char *text, size_t bytes, char *to, size_t *used)
{
    utf8proc_uint8_t *form = NULL;
    const utf8proc_ssize_t length =
        utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &form,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (length < 0)
        return length == UTF8PROC_ERROR_NOMEM
                   ? tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for normal form C")
                   : tmac_fail(TMAC_UNSUPPORTED, "normal form C: %s", utf8proc_errmsg(length));
    memcpy(to + *used, form, (size_t)length);
    *used += (size_t)length;
    free(form);
    return tmac_ok();
}

static tmac_status append_all(const char *text, size_t bytes, char *to, size_t *used)
{
    for (size_t at = 0; at < bytes;) {
        size_t valid = 0;
        for (int length; at + valid < bytes &&
                         (length = tmac_utf8_character(text + at + valid, bytes - at - valid)) > 0;)
            valid += (size_t)length;
        if (valid) TMAC_TRY(append_normal(text + at, valid, to, used));
        at += valid;
        while (at < bytes && tmac_utf8_character(text + at, bytes - at) <= 0)
            to[(*used)++] = text[at++];
    }
    return tmac_ok();
}

tmac_status tmac_normal_form(const char *text, size_t bytes, char **normal, size_t *normal_bytes)
{
    size_t ascii = 0;
    while (ascii < bytes && (unsigned char)text[ascii] < 0x80)
        ascii++;
    *normal = NULL;
    *normal_bytes = bytes;
    if (ascii == bytes) return tmac_ok();
    char *to = malloc(3 * bytes + 1);
    size_t used = 0;
    if (!to) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for normal form C");
    to[0] = ' ';
    tmac_status status = append_all(text, bytes, to + 1, &used);
    if (status.code != TMAC_OK) {
        free(to);
        return status;
    }
    *normal = to;
    *normal_bytes = used;
    return tmac_ok();
}

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

static tmac_status no_memory(void)
{
    return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for normal form C");
}

typedef struct mark {
    utf8proc_int32_t point;
    uint32_t place;
    utf8proc_propval_t class;
} mark;

static int by_class(const void *left, const void *right)
{
    const mark *a = left, *b = right;
    if (a->class != b->class) return a->class < b->class ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

// Brings the marks of each letter into canonical order. utf8proc's own sorting takes quadratic time, and any text may
// have a letter with a million marks.
static tmac_status sort_marks(utf8proc_int32_t *points, size_t count)
{
    for (size_t at = 0; at < count; at++) {
        const size_t begin = at;
        bool sorted = true;
        utf8proc_propval_t before = 0, class;
        for (; at < count; at++, before = class) {
            class = utf8proc_get_property(points[at])->combining_class;
            if (class == 0) break;
            sorted = sorted && class >= before;
        }
        if (sorted) continue;
        mark *marks = malloc((at - begin) * sizeof *marks);
        if (!marks) return no_memory();
        for (size_t i = begin; i < at; i++)
            marks[i - begin] = (mark){points[i], (uint32_t)(i - begin),
                                      utf8proc_get_property(points[i])->combining_class};
        qsort(marks, at - begin, sizeof *marks, by_class);
        for (size_t i = begin; i < at; i++)
            points[i] = marks[i - begin].point;
        free(marks);
    }
    return tmac_ok();
}

// Appends the form of `bytes` bytes of valid UTF-8.
static tmac_status append_normal(const char *text, size_t bytes, char *to, size_t *used)
{
    static const utf8proc_option_t form = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    const utf8proc_uint8_t *from = (const utf8proc_uint8_t *)text;
    const utf8proc_ssize_t room = utf8proc_decompose(from, (utf8proc_ssize_t)bytes, NULL, 0, form);
    if (room < 0) return tmac_fail(TMAC_UNSUPPORTED, "normal form C: %s", utf8proc_errmsg(room));
    utf8proc_int32_t *points = malloc(((size_t)room + 1) * sizeof *points), point;
    if (!points) return no_memory();
    utf8proc_ssize_t count = 0;
    int boundary = 0; // of graphemes, which are not asked for
    for (size_t at = 0; at < bytes;) {
        at += (size_t)utf8proc_iterate(from + at, (utf8proc_ssize_t)(bytes - at), &point);
        count += utf8proc_decompose_char(point, points + count, room - count, form, &boundary);
    }
    tmac_status status = sort_marks(points, (size_t)count);
    if (status.code == TMAC_OK) {
        const size_t length = (size_t)utf8proc_reencode(points, count, form);
        memcpy(to + *used, points, length);
        *used += length;
    }
    free(points);
    return status;
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
    if (!to) return no_memory();
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

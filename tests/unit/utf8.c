#include "runtime/utf8.h"

#include <criterion/criterion.h>
#include <string.h>

#include "runtime/tmac.h"

Test(utf8, characters)
{
    static const struct {
        const char *bytes;
        int length;
    } cases[] = {
        {"a", 1},
        {"\xc3\xa9", 2},
        {"\xe2\x82\xac", 3},
        {"\xf0\x9f\xa6\x99", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\xf4\x90\x80\x80", -1},
        {"\xf5", -1},
        {"\xed\xa0\x80", -1},
        {"\xc0\x80", -1},
        {"\xe0\x80\x80", -1},
        {"\xf0\x80\x80\x80", -1},
        {"\x80", -1},
        {"\xff", -1},
        {"\xc3", 0},
        {"\xe2\x82", 0},
        {"\xf0\x9f\xa6", 0},
        {"\xe0", 0},
        {"\xc3(", -1},
        {"\xe2\x82(", -1},
        {"\xf0\x9f(", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        cr_expect_eq(tmac_utf8_character(cases[i].bytes, strlen(cases[i].bytes)), cases[i].length,
                     "case %zu", i);
}

// However the bytes are cut: the same bytes come out, and never a part of a character.
Test(utf8, stream_never_cuts_a_character)
{
    static const char text[] =
        "a\xc3\xa9\xe2\x82\xac\xf0\x9f\xa6\x99z\xff\xe2\x82(\xc3\xf0\x9f\xa6\x99";
    const size_t count = sizeof text - 1;
    for (size_t chunk = 1; chunk <= count; chunk++) {
        tmac_utf8_stream stream = {0};
        char all[64], out[64];
        size_t used = 0;
        for (size_t at = 0; at < count; at += chunk) {
            const size_t part = at + chunk < count ? chunk : count - at;
            const size_t written = tmac_utf8_feed(&stream, text + at, part, out);
            cr_assert_leq(written, part + 3);
            memcpy(all + used, out, written);
            used += written;
            cr_expect_leq(stream.held_bytes, 3);
            if (stream.held_bytes)
                cr_expect_eq(tmac_utf8_character((const char *)stream.held, stream.held_bytes), 0);
        }
        used += tmac_utf8_flush(&stream, all + used);
        cr_expect(used == count && memcmp(all, text, count) == 0, "chunks of %zu", chunk);
    }
}

Test(utf8, flush_hands_out_the_rest)
{
    tmac_utf8_stream stream = {0};
    char out[8];
    cr_expect_eq(tmac_utf8_feed(&stream, "\xf0\x9f", 2, out), 0);
    cr_expect_eq(tmac_utf8_flush(&stream, out), 2);
    cr_expect_eq(tmac_utf8_flush(&stream, out), 0);
}

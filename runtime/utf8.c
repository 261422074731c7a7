#include "runtime/utf8.h"

#include <string.h>

#include "runtime/tmac.h"

int tmac_utf8_character(const char *bytes, size_t count)
{
    const unsigned char first = (unsigned char)bytes[0];
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return -1;
    const int length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    // The second byte's range excludes overlong forms (e0, f0), surrogates (ed) and what is above U+10FFFF (f4).
    unsigned char low = 0x80, high = 0xbf;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    for (int i = 1; i < length; i++) {
        if ((size_t)i == count) return 0;
        const unsigned char byte = (unsigned char)bytes[i];
        if (byte < low || byte > high) return -1;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

// Invariant between calls: `held` is the beginning of a character (tmac_utf8_character says 0) or empty. A byte that
// turns out to belong to no character is handed out as it is: what the model wrote is not ours to repair.
size_t tmac_utf8_feed(tmac_utf8_stream *stream, const char *bytes, size_t count, char *out)
{
    size_t written = 0;
    char *held = (char *)stream->held;
    for (size_t i = 0; i < count; i++) {
        held[stream->held_bytes++] = bytes[i];
        while (stream->held_bytes) {
            int length = tmac_utf8_character(held, stream->held_bytes);
            if (length == 0) break;
            if (length < 0) length = 1;
            memcpy(out + written, held, (size_t)length);
            written += (size_t)length;
            stream->held_bytes -= (uint32_t)length;
            memmove(held, held + length, stream->held_bytes);
        }
    }
    return written;
}

size_t tmac_utf8_flush(tmac_utf8_stream *stream, char *out)
{
    const size_t rest = stream->held_bytes;
    memcpy(out, stream->held, rest);
    stream->held_bytes = 0;
    return rest;
}

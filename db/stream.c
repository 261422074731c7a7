// The export file, version 1.
//
//   tmac-export 1\n
//   record COUNT\n BYTES           every record, ascending by name (the SHA-256 of BYTES), no two alike
//   object COUNT\n BYTES           every compiled kernel, ascending by SHA-256
//   end RECORDS OBJECTS DIGEST\n   nothing follows
//
// Numbers are decimal without leading zeros; a record's BYTES end with a newline of their own, so that the file reads as
// text; an object's do not, and get one after them that is not counted. DIGEST is the SHA-256, in hexadecimal, of the
// first line and, for every item, 'r' or 'o', its count as 8 bytes (least first) and its own SHA-256: every byte of the
// file is covered, and each is hashed once.
//
// One content has one spelling: whoever exports the same records writes the same file.
#include "db/stream.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "db/record.h"

static const char first_line[] = "tmac-export 1\n";
static const char any_first_line[] = "tmac-export ";

enum { OBJECT_BYTES_MAX = 1 << 28 };

static void hash_item(tmac_hash_state *hash, bool object, size_t count,
                      const uint8_t digest[TMAC_HASH_BYTES])
{
    uint8_t head[9] = {object ? 'o' : 'r'};
    for (int i = 0; i < 8; i++)
        head[1 + i] = (uint8_t)((uint64_t)count >> (8 * i));
    tmac_hash_add(hash, head, sizeof head);
    tmac_hash_add(hash, digest, TMAC_HASH_BYTES);
}

bool tmac_digest_of_hex(const char *hex, uint8_t digest[TMAC_HASH_BYTES])
{
    for (int i = 0; i < 2 * TMAC_HASH_BYTES; i++) {
        char c = hex[i];
        int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (value < 0) return false;
        digest[i / 2] = (uint8_t)(i % 2 ? digest[i / 2] | value : value << 4);
    }
    return hex[2 * TMAC_HASH_BYTES] == 0;
}

// ---------------------------------------------------------------------------------------------------------- writing

static void put(tmac_stream_writer *w, const void *bytes, size_t count)
{
    if (w->output)
        tmac_output_write(w->output, bytes, count);
    else
        fwrite(bytes, 1, count, w->file);
}

void tmac_stream_begin(tmac_stream_writer *w)
{
    w->records = w->objects = 0;
    tmac_hash_begin(&w->hash);
    tmac_hash_add(&w->hash, first_line, strlen(first_line));
    put(w, first_line, strlen(first_line));
}

void tmac_stream_add(tmac_stream_writer *w, bool object, const void *bytes, size_t count,
                     const uint8_t digest[TMAC_HASH_BYTES])
{
    char head[40];
    int length = snprintf(head, sizeof head, "%s %zu\n", object ? "object" : "record", count);
    hash_item(&w->hash, object, count, digest);
    put(w, head, (size_t)length);
    put(w, bytes, count);
    if (object) put(w, "\n", 1);
    ++*(object ? &w->objects : &w->records);
}

void tmac_stream_end(tmac_stream_writer *w, char digest[TMAC_HASH_HEX])
{
    uint8_t raw[TMAC_HASH_BYTES];
    char line[160];
    tmac_hash_end(&w->hash, raw);
    tmac_hash_hex(raw, digest);
    int length = snprintf(line, sizeof line, "end %" PRIu64 " %" PRIu64 " %s\n", w->records,
                          w->objects, digest);
    put(w, line, (size_t)length);
}

// ---------------------------------------------------------------------------------------------------------- reading

typedef struct reader {
    const char *path;
    const uint8_t *at, *end;
    const uint8_t *begin;
    size_t room;
    uint64_t records, objects;
    tmac_hash_state hash;
    tmac_stream *stream;
} reader;

static tmac_status damaged(const reader *r, const char *what)
{
    return tmac_fail(TMAC_BAD_FILE, "%s: damaged at byte %zu: %s; nothing was taken from it",
                     r->path, (size_t)(r->at - r->begin), what);
}

static bool take_word(reader *r, const char *word)
{
    size_t length = strlen(word);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, word, length) != 0) return false;
    r->at += length;
    return true;
}

static bool take_number(reader *r, char stop, uint64_t *value)
{
    const uint8_t *first = r->at;
    *value = 0;
    while (r->at < r->end && *r->at >= '0' && *r->at <= '9' && r->at - first < 18)
        *value = *value * 10 + (uint64_t)(*r->at++ - '0');
    if (r->at == first || (*first == '0' && r->at - first > 1)) return false;
    if (r->at == r->end || *r->at != (uint8_t)stop) return false;
    r->at++;
    return true;
}

static tmac_status read_item(reader *r, bool object)
{
    uint64_t count;
    tmac_stream *s = r->stream;
    char kind[TMAC_RECORD_KIND_BYTES];
    uint32_t version;
    if (!take_number(r, '\n', &count) || count > OBJECT_BYTES_MAX)
        return damaged(r, "a count of bytes is expected");
    if (count + object > (uint64_t)(r->end - r->at))
        return damaged(r, "the file ends inside an item: truncated?");
    if (!object && r->objects > 0) return damaged(r, "a record after objects");
    if (s->count == r->room) {
        size_t room = r->room ? r->room * 2 : 1024;
        tmac_stream_item *grown = realloc(s->items, room * sizeof *grown);
        if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "%s: no memory for its items", r->path);
        s->items = grown;
        r->room = room;
    }
    tmac_stream_item *item = &s->items[s->count];
    *item = (tmac_stream_item){.bytes = r->at, .count = (size_t)count, .object = object};
    tmac_hash(item->bytes, item->count, item->digest);
    if (!object && !tmac_record_canonical((const char *)r->at, (size_t)count, kind, &version))
        return damaged(r, "not a canonical record");
    if (s->count > 0 && item[-1].object == object &&
        memcmp(item[-1].digest, item->digest, sizeof item->digest) >= 0)
        return damaged(r, "items are not in the order of their names");
    hash_item(&r->hash, object, item->count, item->digest);
    r->at += count;
    if (object && *r->at++ != '\n') return damaged(r, "an object without its end");
    s->count++;
    ++*(object ? &r->objects : &r->records);
    return tmac_ok();
}

static tmac_status read_end(reader *r)
{
    uint64_t records, objects;
    uint8_t digest[TMAC_HASH_BYTES];
    char hex[TMAC_HASH_HEX];
    if (!take_number(r, ' ', &records) || !take_number(r, ' ', &objects) || records != r->records ||
        objects != r->objects)
        return damaged(r, "the counts in its last line are not those of its items");
    tmac_hash_end(&r->hash, digest);
    tmac_hash_hex(digest, hex);
    if (!take_word(r, hex))
        return tmac_fail(TMAC_BAD_FILE,
                         "%s: damaged: its bytes do not have the SHA-256 of its last line; nothing "
                         "was taken from it",
                         r->path);
    if (!take_word(r, "\n") || r->at != r->end) return damaged(r, "bytes after the end");
    snprintf(r->stream->digest, sizeof r->stream->digest, "%s", hex);
    return tmac_ok();
}

static tmac_status read_all(reader *r)
{
    if (!take_word(r, first_line)) {
        if (!take_word(r, any_first_line))
            return tmac_fail(TMAC_BAD_FILE,
                             "%s: neither an export of tmac-db nor a tuning database", r->path);
        return tmac_fail(TMAC_UNSUPPORTED,
                         "%s: an export of another version than 1, which this program does not "
                         "know: written by a newer tmac? Nothing was taken from it",
                         r->path);
    }
    tmac_hash_begin(&r->hash);
    tmac_hash_add(&r->hash, first_line, strlen(first_line));
    for (;;) {
        if (take_word(r, "record "))
            TMAC_TRY(read_item(r, false));
        else if (take_word(r, "object "))
            TMAC_TRY(read_item(r, true));
        else if (take_word(r, "end "))
            return read_end(r);
        else
            return damaged(r, r->at == r->end ? "it has no last line: truncated?"
                                              : "'record', 'object' or 'end' is expected");
    }
}

bool tmac_stream_begins(const char *path)
{
    char head[sizeof any_first_line] = "";
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t got = fread(head, 1, sizeof head - 1, file);
    fclose(file);
    return got == sizeof head - 1 && strcmp(head, any_first_line) == 0;
}

tmac_status tmac_stream_open(const char *path, tmac_stream *stream)
{
    *stream = (tmac_stream){0};
    TMAC_TRY(tmac_map_open(path, &stream->map));
    if (stream->map.bytes == 0) return tmac_fail(TMAC_BAD_FILE, "%s: is empty", path);
    reader r = {.path = path,
                .begin = stream->map.data,
                .at = stream->map.data,
                .end = stream->map.data + stream->map.bytes,
                .stream = stream};
    tmac_status status = read_all(&r);
    if (status.code != TMAC_OK) tmac_stream_close(stream);
    return status;
}

void tmac_stream_close(tmac_stream *stream)
{
    free(stream->items);
    tmac_map_close(&stream->map);
    *stream = (tmac_stream){0};
}

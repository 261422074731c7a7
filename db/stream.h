// Private to db/: the export file.
#ifndef TMAC_DB_STREAM_H
#define TMAC_DB_STREAM_H

#include "base/file.h"
#include "db/fleet.h"

typedef struct tmac_stream_item {
    const uint8_t *bytes; // inside the mapping
    size_t count;
    uint8_t digest[TMAC_HASH_BYTES];
    bool object;
} tmac_stream_item;

typedef struct tmac_stream {
    tmac_map map;
    tmac_stream_item *items;
    size_t count;
    char digest[TMAC_HASH_HEX];
} tmac_stream;

// Whether the file begins as an export does.
bool tmac_stream_begins(const char *path);

// Maps and checks a whole file. The caller closes the stream.
tmac_status tmac_stream_open(const char *path, tmac_stream *stream);
void tmac_stream_close(tmac_stream *stream);

// Writing: items in ascending order, records before objects.
typedef struct tmac_stream_writer {
    FILE *file; // used when `output` is NULL
    tmac_output *output;
    tmac_hash_state hash;
    uint64_t records, objects;
} tmac_stream_writer;
void tmac_stream_begin(tmac_stream_writer *writer);
void tmac_stream_add(tmac_stream_writer *writer, bool object, const void *bytes, size_t count,
                     const uint8_t digest[TMAC_HASH_BYTES]);
void tmac_stream_end(tmac_stream_writer *writer, char digest[TMAC_HASH_HEX]);

bool tmac_digest_of_hex(const char *hex, uint8_t digest[TMAC_HASH_BYTES]);

#endif

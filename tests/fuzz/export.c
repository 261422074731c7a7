// Target: export files of the tuning database. The input is read twice: as it is, which tries the framing, and, because
// the last line's digest covers every byte and hardly any input has the right one, as the contents of a right export: each
// text between NUL bytes is one record of it, so that what lies behind the check is reached. Every item that a stream
// gives is then read as a record, too.
#include <stdlib.h>
#include <string.h>

#include "db/record.h"
#include "db/stream.h"
#include "tests/fuzz/fuzz.h"

static void read_stream(void)
{
    tmac_stream stream;
    if (tmac_stream_open(FUZZ_FILE, &stream).code != TMAC_OK) return;
    for (size_t i = 0; i < stream.count; i++) {
        static tmac_record record;
        if (!stream.items[i].object)
            (void)tmac_record_parse((const char *)stream.items[i].bytes, stream.items[i].count,
                                    &record);
    }
    tmac_stream_close(&stream);
}

// The items of the input as a whole and right export: one record for each text between NUL bytes.
static void read_as_records(const uint8_t *data, size_t bytes)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory) return;
    tmac_stream_writer writer = {.file = memory};
    char digest[TMAC_HASH_HEX];
    tmac_stream_begin(&writer);
    for (size_t at = 0; at < bytes;) {
        const uint8_t *end = memchr(data + at, 0, bytes - at);
        const size_t length = end ? (size_t)(end - data) - at : bytes - at;
        uint8_t name[TMAC_HASH_BYTES];
        tmac_hash(data + at, length, name);
        tmac_stream_add(&writer, false, data + at, length, name);
        at += length + 1;
    }
    tmac_stream_end(&writer, digest);
    if (fclose(memory) == 0) {
        fuzz_input((const uint8_t *)text, size);
        read_stream();
    }
    free(text);
}

void fuzz_export(const uint8_t *data, size_t bytes)
{
    fuzz_input(data, bytes);
    read_stream();
    read_as_records(data, bytes);
}

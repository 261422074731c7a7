// The canonical text of a record: the one spelling of its content, so that equal content has equal bytes and one name.
#ifndef TMAC_DB_RECORD_H
#define TMAC_DB_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    TMAC_RECORD_FIELDS = 32,
    TMAC_RECORD_KIND_BYTES = 24,
    TMAC_RECORD_KEY_BYTES = 24,
    TMAC_RECORD_VALUE_BYTES = 768,
    TMAC_RECORD_TEXT_BYTES = 1 << 16, // a record is never longer
};

// A record being built or read. 25 kB: it lives on the stack.
typedef struct tmac_record {
    char kind[TMAC_RECORD_KIND_BYTES];
    uint32_t version, count;
    bool overflow; // something did not fit: there is no text
    struct {
        char key[TMAC_RECORD_KEY_BYTES];
        char value[TMAC_RECORD_VALUE_BYTES];
    } fields[TMAC_RECORD_FIELDS];
} tmac_record;

void tmac_record_begin(tmac_record *record, const char *kind, uint32_t version);
// Adds a field, in any order; keys are [a-z0-9_], each at most once. Any bytes make a value.
void tmac_record_string(tmac_record *record, const char *key, const char *value);
void tmac_record_number(tmac_record *record, const char *key, uint64_t value);

// The canonical text: malloc'ed, NUL after the last byte, the caller frees it.
tmac_status tmac_record_text(const tmac_record *record, char **text, size_t *bytes);

// Whether these bytes are a canonical record of any kind and version. kind has room for TMAC_RECORD_KIND_BYTES.
bool tmac_record_canonical(const char *text, size_t bytes, char *kind, uint32_t *version);

// Reads a canonical text back. TMAC_BAD_FILE when it is not canonical or larger than a record this program knows.
tmac_status tmac_record_parse(const char *text, size_t bytes, tmac_record *record);

// The value of a field, "" when it is absent; as a number 0 when absent or not one.
const char *tmac_record_get(const tmac_record *record, const char *key);
uint64_t tmac_record_get_number(const tmac_record *record, const char *key);

#endif

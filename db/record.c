// Canonical record text.
//
//   tmac KIND VERSION\n          KIND [a-z0-9_]{1,23}, VERSION decimal without leading zeros
//   KEY VALUE\n                  KEY [a-z0-9_]{1,23}, keys strictly ascending by bytes; any number of lines
//
// One space separates; VALUE runs to the end of the line, may be empty, and spells the bytes below 0x20, 0x7f and '%' as
// %XX in upper-case hexadecimal, and no other byte so. Numbers are decimal. Hence a content has exactly one spelling,
// and whoever knows neither kind nor version can still check the spelling, the name, and pass the record on.
#include "db/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

static bool escaped_byte(unsigned char c)
{
    return c < 0x20 || c == 0x7f || c == '%';
}

static bool valid_name(const char *name, size_t room)
{
    size_t length = strlen(name);
    if (length == 0 || length >= room) return false;
    for (size_t i = 0; i < length; i++)
        if (!name_byte(name[i])) return false;
    return true;
}

void tmac_record_begin(tmac_record *record, const char *kind, uint32_t version)
{
    record->count = 0;
    record->version = version;
    record->overflow = !valid_name(kind, sizeof record->kind);
    snprintf(record->kind, sizeof record->kind, "%s", kind);
}

// Kept sorted, so that the text is a walk.
void tmac_record_string(tmac_record *record, const char *key, const char *value)
{
    size_t length = strlen(value);
    if (record->count == TMAC_RECORD_FIELDS || length >= TMAC_RECORD_VALUE_BYTES ||
        !valid_name(key, TMAC_RECORD_KEY_BYTES)) {
        record->overflow = true;
        return;
    }
    uint32_t at = 0;
    while (at < record->count && strcmp(record->fields[at].key, key) < 0)
        at++;
    if (at < record->count && strcmp(record->fields[at].key, key) == 0) {
        record->overflow = true;
        return;
    }
    memmove(&record->fields[at + 1], &record->fields[at],
            (record->count - at) * sizeof record->fields[0]);
    snprintf(record->fields[at].key, sizeof record->fields[at].key, "%s", key);
    memcpy(record->fields[at].value, value, length + 1);
    record->count++;
}

void tmac_record_number(tmac_record *record, const char *key, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    tmac_record_string(record, key, text);
}

tmac_status tmac_record_text(const tmac_record *record, char **text, size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    if (record->overflow)
        return tmac_fail(TMAC_INTERNAL, "a %s record does not fit its form", record->kind);
    // Every byte may need three; 64 covers the first line.
    size_t room = 64;
    for (uint32_t i = 0; i < record->count; i++)
        room += strlen(record->fields[i].key) + 3 * strlen(record->fields[i].value) + 2;
    char *out = malloc(room);
    if (!out) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a record");
    size_t used =
        (size_t)snprintf(out, room, "tmac %s %" PRIu32 "\n", record->kind, record->version);
    for (uint32_t i = 0; i < record->count; i++) {
        used += (size_t)snprintf(out + used, room - used, "%s ", record->fields[i].key);
        for (const char *c = record->fields[i].value; *c; c++) {
            if (escaped_byte((unsigned char)*c))
                used += (size_t)snprintf(out + used, room - used, "%%%02X", (unsigned char)*c);
            else
                out[used++] = *c;
        }
        out[used++] = '\n';
    }
    out[used] = 0;
    if (used > TMAC_RECORD_TEXT_BYTES) {
        free(out);
        return tmac_fail(TMAC_INTERNAL, "a %s record is too long", record->kind);
    }
    *text = out;
    *bytes = used;
    return tmac_ok();
}

// ----------------------------------------------------------------------------------------------------------- reading

typedef struct cursor {
    const char *at, *end;
} cursor;

// Copies a name up to (and over) the byte `stop`.
static bool take_name(cursor *c, char stop, char *name, size_t room)
{
    size_t length = 0;
    while (c->at < c->end && name_byte(*c->at)) {
        if (length + 1 >= room) return false;
        name[length++] = *c->at++;
    }
    name[length] = 0;
    if (length == 0 || c->at == c->end || *c->at != stop) return false;
    c->at++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// Reads a value up to (and over) the end of the line. value may be NULL. *fits: it fitted the room.
static bool take_value(cursor *c, char *value, size_t room, bool *fits)
{
    size_t length = 0;
    while (c->at < c->end && *c->at != '\n') {
        unsigned char byte = (unsigned char)*c->at++;
        if (byte == '%') {
            if (c->end - c->at < 2) return false;
            int high = hex_digit(c->at[0]), low = hex_digit(c->at[1]);
            if (high < 0 || low < 0) return false;
            byte = (unsigned char)(high * 16 + low);
            c->at += 2;
            if (!escaped_byte(byte)) return false;
            if (byte == 0) *fits = false; // no C string of ours holds it
        } else if (escaped_byte(byte)) {
            return false;
        }
        if (value && length + 1 < room)
            value[length++] = (char)byte;
        else if (value)
            *fits = false;
    }
    if (value) value[length] = 0;
    if (c->at == c->end) return false;
    c->at++;
    return true;
}

// One pass for both readers: record may be NULL.
static bool scan(const char *text, size_t bytes, char *kind, uint32_t *version, tmac_record *record,
                 bool *fits)
{
    *fits = true;
    if (bytes > TMAC_RECORD_TEXT_BYTES || bytes < 5 || memcmp(text, "tmac ", 5) != 0) return false;
    cursor c = {text + 5, text + bytes};
    if (!take_name(&c, ' ', kind, TMAC_RECORD_KIND_BYTES)) return false;
    uint64_t number = 0;
    const char *digits = c.at;
    while (c.at < c.end && *c.at >= '0' && *c.at <= '9' && number <= UINT32_MAX)
        number = number * 10 + (uint64_t)(*c.at++ - '0');
    if (c.at == digits || c.at == c.end || *c.at != '\n' || number > UINT32_MAX) return false;
    if (*digits == '0' && c.at - digits > 1) return false;
    c.at++;
    *version = (uint32_t)number;
    char last[TMAC_RECORD_KEY_BYTES] = "", key[TMAC_RECORD_KEY_BYTES];
    while (c.at < c.end) {
        if (!take_name(&c, ' ', key, sizeof key) || strcmp(last, key) >= 0) return false;
        memcpy(last, key, sizeof last);
        bool room = record && record->count < TMAC_RECORD_FIELDS;
        if (!room) *fits = false;
        char *value = room ? record->fields[record->count].value : NULL;
        if (!take_value(&c, value, TMAC_RECORD_VALUE_BYTES, fits)) return false;
        if (room) memcpy(record->fields[record->count++].key, key, sizeof key);
    }
    return true;
}

bool tmac_record_canonical(const char *text, size_t bytes, char *kind, uint32_t *version)
{
    bool fits;
    return scan(text, bytes, kind, version, NULL, &fits);
}

tmac_status tmac_record_parse(const char *text, size_t bytes, tmac_record *record)
{
    bool fits;
    record->count = 0;
    record->overflow = false;
    if (!scan(text, bytes, record->kind, &record->version, record, &fits))
        return tmac_fail(TMAC_BAD_FILE, "not a canonical record");
    if (!fits)
        return tmac_fail(TMAC_BAD_FILE, "a %s record has more than this program can hold",
                         record->kind);
    return tmac_ok();
}

const char *tmac_record_get(const tmac_record *record, const char *key)
{
    for (uint32_t i = 0; i < record->count; i++)
        if (strcmp(record->fields[i].key, key) == 0) return record->fields[i].value;
    return "";
}

uint64_t tmac_record_get_number(const tmac_record *record, const char *key)
{
    const char *text = tmac_record_get(record, key);
    uint64_t value = 0;
    if (!*text) return 0;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return 0;
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10) return 0;
        value = value * 10 + digit;
    }
    return value;
}

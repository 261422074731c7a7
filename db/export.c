// Sealing and exporting.
//
// A seal is a signed record that names trials: fields `of` (a run), `n00`, `n01`, ... (up to 11 record names each, end to
// end), `by` and `signature`. One signature covers up to 297 trials, so that a million are checked in a fifth of a
// second; and a seal says the same whatever else a database holds, so that it survives merging and exporting again.
// A trial names its host, variant, problem and run by hash: sealing it seals them.
#include "db/store.h"

#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/stream.h"

enum { NAME_DIGITS = TMAC_HASH_HEX - 1, NAMES_A_FIELD = 11, NAME_FIELDS = 27 };

void tmac_seal_names(const tmac_record *seal, void (*each)(const char *hex, void *into), void *into)
{
    for (uint32_t i = 0; i < seal->count; i++) {
        const char *key = seal->fields[i].key, *value = seal->fields[i].value;
        if (key[0] != 'n' || strlen(key) != 3) continue;
        size_t length = strlen(value);
        for (size_t at = 0; at + NAME_DIGITS <= length; at += NAME_DIGITS)
            each(value + at, into);
    }
}

// ----------------------------------------------------------------------------------------------------------- sealing

typedef struct sealer {
    tmac_db *db;
    tmac_key_pair pair;
    tmac_record record;
    char run[TMAC_HASH_HEX];
    uint32_t names;
    char field[NAMES_A_FIELD * NAME_DIGITS + 1];
    uint64_t sealed;
} sealer;

static void finish_field(sealer *s)
{
    char key[8];
    if (!s->field[0]) return;
    snprintf(key, sizeof key, "n%02u", (s->names - 1) / NAMES_A_FIELD % 100);
    tmac_record_string(&s->record, key, s->field);
    s->field[0] = 0;
}

static tmac_status finish_seal(sealer *s)
{
    char *text;
    size_t bytes;
    bool added;
    char hex[TMAC_HASH_HEX];
    if (s->names == 0) return tmac_ok();
    finish_field(s);
    TMAC_TRY(tmac_record_sign(&s->record, &s->pair));
    TMAC_TRY(tmac_record_text(&s->record, &text, &bytes));
    tmac_record_name(text, bytes, hex);
    tmac_status status =
        tmac_store_record(s->db, hex, "seal", 1, text, bytes, TMAC_ORIGIN_HERE, &added);
    free(text);
    s->sealed += s->names;
    s->names = 0;
    return status;
}

static tmac_status seal_trial(sealer *s, const char *run, const char *name)
{
    if (s->names == NAMES_A_FIELD * NAME_FIELDS || strcmp(run, s->run) != 0)
        TMAC_TRY(finish_seal(s));
    if (s->names == 0) {
        snprintf(s->run, sizeof s->run, "%s", run);
        tmac_record_begin(&s->record, "seal", 1);
        tmac_record_string(&s->record, "of", run);
        s->field[0] = 0;
    }
    strcat(s->field, name);
    if (++s->names % NAMES_A_FIELD == 0) finish_field(s);
    return tmac_ok();
}

typedef struct known {
    const tmac_db *db;
    const tmac_public_key *key;
    sqlite3_stmt *insert;
} known;

static void remember(const char *hex, void *into)
{
    known *k = into;
    sqlite3_bind_text(k->insert, 1, hex, NAME_DIGITS, SQLITE_TRANSIENT);
    sqlite3_step(k->insert);
    sqlite3_reset(k->insert);
}

static tmac_status remember_seal(sqlite3_stmt *row, void *into)
{
    known *k = into;
    tmac_record record;
    tmac_public_key key;
    const char *bytes = sqlite3_column_blob(row, 0);
    if (bytes &&
        tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(row, 0), &record).code == TMAC_OK &&
        tmac_record_signer(&record, &key).code == TMAC_OK && memcmp(&key, k->key, sizeof key) == 0)
        tmac_seal_names(&record, remember, k);
    return tmac_ok();
}

static tmac_status seal_all(sealer *s)
{
    known k = {.db = s->db, .key = &s->pair.public_key};
    TMAC_TRY(tmac_store_execute(s->db,
                                "CREATE TEMP TABLE IF NOT EXISTS sealed(name TEXT PRIMARY KEY)"
                                " WITHOUT ROWID; DELETE FROM sealed;",
                                "sealing"));
    TMAC_TRY(tmac_store_prepare(s->db, "INSERT OR IGNORE INTO sealed VALUES(?)", &k.insert));
    tmac_status status = tmac_store_each(
        s->db, "SELECT bytes FROM record WHERE kind = 'seal' AND version = 1", remember_seal, &k);
    sqlite3_finalize(k.insert);
    if (status.code != TMAC_OK) return status;
    sqlite3_stmt *q;
    TMAC_TRY(tmac_store_prepare(
        s->db,
        "SELECT u.name, r.name FROM measurement m JOIN record r ON r.id = m.record"
        " JOIN run u ON u.id = m.run WHERE m.origin = 2 AND r.name NOT IN sealed ORDER BY 1, 2",
        &q));
    int code = SQLITE_DONE;
    while (status.code == TMAC_OK && (code = sqlite3_step(q)) == SQLITE_ROW)
        status = seal_trial(s, tmac_store_text(q, 0), tmac_store_text(q, 1));
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(s->db, code, "sealing");
    sqlite3_finalize(q);
    return status.code == TMAC_OK ? finish_seal(s) : status;
}

static tmac_status read_count(sqlite3_stmt *row, void *into)
{
    *(int64_t *)into = sqlite3_column_int64(row, 0);
    return tmac_ok();
}

tmac_status tmac_db_seal(tmac_db *db, uint64_t *sealed)
{
    *sealed = 0;
    if (!db->sqlite) return tmac_ok();
    int64_t here = 0;
    TMAC_TRY(tmac_store_each(
        db, "SELECT count(*) FROM (SELECT 1 FROM measurement WHERE origin = 2 LIMIT 1)", read_count,
        &here));
    if (here == 0) return tmac_ok(); // and no key is made
    sealer *s = calloc(1, sizeof *s);
    if (!s) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for sealing");
    s->db = db;
    tmac_status status = tmac_key_own(db->path, true, &s->pair);
    if (status.code == TMAC_OK) status = tmac_store_begin(db);
    if (status.code == TMAC_OK) status = tmac_store_commit(db, seal_all(s));
    *sealed = s->sealed;
    sodium_memzero(&s->pair, sizeof s->pair);
    free(s);
    return status;
}

// --------------------------------------------------------------------------------------------------------- exporting

tmac_status tmac_db_each_item(const tmac_db *db, bool object,
                              tmac_status (*each)(void *into, const char *hex, const void *bytes,
                                                  size_t count),
                              void *into)
{
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_store_prepare(db,
                                object ? "SELECT name, bytes FROM object ORDER BY name"
                                       : "SELECT name, bytes FROM record ORDER BY name",
                                &q));
    tmac_status status = tmac_ok();
    int code = SQLITE_DONE;
    while (status.code == TMAC_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
        char hex[TMAC_HASH_HEX];
        const void *bytes = sqlite3_column_blob(q, 1);
        size_t count = (size_t)sqlite3_column_bytes(q, 1);
        if (!bytes) bytes = "";
        tmac_record_name(bytes, count, hex);
        status = strcmp(tmac_store_text(q, 0), hex) == 0
                     ? each(into, hex, bytes, count)
                     : tmac_fail(TMAC_BAD_FILE,
                                 "%s: record %.64s does not have the bytes of its name; nothing "
                                 "was exported",
                                 db->path, tmac_store_text(q, 0));
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "exporting");
    sqlite3_finalize(q);
    return status;
}

static tmac_status write_record(void *into, const char *hex, const void *bytes, size_t count)
{
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_digest_of_hex(hex, digest);
    tmac_stream_add(into, false, bytes, count, digest);
    return tmac_ok();
}

static tmac_status write_object(void *into, const char *hex, const void *bytes, size_t count)
{
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_digest_of_hex(hex, digest);
    tmac_stream_add(into, true, bytes, count, digest);
    return tmac_ok();
}

tmac_status tmac_db_export(const tmac_db *db, const char *path, bool objects,
                           tmac_db_traffic *traffic)
{
    tmac_output output;
    tmac_stream_writer w = {.file = stdout};
    *traffic = (tmac_db_traffic){0};
    if (strcmp(path, "-") != 0) {
        TMAC_TRY(tmac_output_open(path, &output));
        w.output = &output;
    }
    tmac_stream_begin(&w);
    tmac_status status = tmac_ok();
    if (db->sqlite) {
        // One transaction: one moment of the database.
        status = tmac_store_execute(db, "BEGIN", "exporting");
        if (status.code == TMAC_OK) status = tmac_db_each_item(db, false, write_record, &w);
        if (status.code == TMAC_OK && objects)
            status = tmac_db_each_item(db, true, write_object, &w);
        sqlite3_exec(db->sqlite, "COMMIT", NULL, NULL, NULL);
    }
    if (status.code != TMAC_OK) {
        if (w.output) tmac_output_abort(&output);
        return status;
    }
    tmac_stream_end(&w, traffic->digest);
    traffic->records = w.records;
    traffic->objects = w.objects;
    if (w.output) return tmac_output_commit(&output);
    return fflush(stdout) == 0 && !ferror(stdout)
               ? tmac_ok()
               : tmac_fail(TMAC_IO, "standard output: cannot write");
}

// Taking records over: from an export file, from another database, from a hub.
//
// A union of sets: what is there already stays, what is not is added, nothing is replaced; hence the order and the
// grouping of imports do not matter. The source is checked as a whole before the first record is stored. Storing goes
// in transactions of some thousand records, so that other writers wait for less than a second; imported trials are
// unusable until tmac_db_retrust has seen all seals, so that a part of an import is harmless and doing it again
// completes it.
#include "db/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "db/stream.h"

enum { BATCH = 50000 };

tmac_status tmac_db_intake_begin(tmac_db *db, bool own, tmac_db_traffic *traffic,
                                 tmac_db_intake *intake)
{
    *intake = (tmac_db_intake){.db = db, .own = own, .traffic = traffic};
    TMAC_TRY(tmac_store_ensure(db));
    // Larger pages of work: fewer checkpoints, and the index stays in memory.
    TMAC_TRY(tmac_store_execute(db,
                                "PRAGMA cache_size = -262144; PRAGMA wal_autocheckpoint = 20000;",
                                "preparing to import"));
    return tmac_store_begin(db);
}

static tmac_status next_batch(tmac_db_intake *in)
{
    if (++in->pending < BATCH) return tmac_ok();
    in->pending = 0;
    TMAC_TRY(tmac_store_commit(in->db, tmac_ok()));
    return tmac_store_begin(in->db);
}

tmac_status tmac_db_intake_record(tmac_db_intake *in, const char *bytes, size_t count,
                                  const char *hex)
{
    char kind[TMAC_RECORD_KIND_BYTES];
    uint32_t version;
    bool added;
    if (!tmac_record_canonical(bytes, count, kind, &version))
        return tmac_fail(TMAC_BAD_FILE, "record %s is not canonical", hex);
    TMAC_TRY(tmac_store_record(in->db, hex, kind, version, bytes, count,
                               in->own ? TMAC_ORIGIN_MERGED : TMAC_ORIGIN_IMPORTED, &added));
    in->traffic->records++;
    in->traffic->new_records += added;
    return next_batch(in);
}

static tmac_status store_object(const tmac_db *db, const void *bytes, size_t count, const char *hex,
                                bool *added)
{
    sqlite3_stmt *q;
    TMAC_TRY(
        tmac_store_cached(db, TMAC_SQL_OBJECT, "INSERT OR IGNORE INTO object VALUES(?,?)", &q));
    sqlite3_bind_text(q, 1, hex, -1, SQLITE_TRANSIENT);
    sqlite3_bind_blob64(q, 2, bytes, count, SQLITE_STATIC);
    int code = sqlite3_step(q);
    sqlite3_reset(q);
    sqlite3_clear_bindings(q);
    *added = sqlite3_changes(db->sqlite) > 0;
    return code == SQLITE_DONE ? tmac_ok() : tmac_store_fail(db, code, "storing an object");
}

tmac_status tmac_db_intake_object(tmac_db_intake *in, const void *bytes, size_t count,
                                  const char *hex)
{
    bool added;
    TMAC_TRY(store_object(in->db, bytes, count, hex, &added));
    in->traffic->objects++;
    in->traffic->new_objects += added;
    return next_batch(in);
}

tmac_status tmac_db_intake_end(tmac_db_intake *in, tmac_status status)
{
    status = tmac_store_commit(in->db, status);
    if (status.code != TMAC_OK) return status;
    return tmac_db_retrust(in->db, in->traffic);
}

// ------------------------------------------------------------------------------------------------------------ files

static tmac_status take_stream(tmac_db_intake *in, const tmac_stream *stream)
{
    for (size_t i = 0; i < stream->count; i++) {
        const tmac_stream_item *item = &stream->items[i];
        char hex[TMAC_HASH_HEX];
        tmac_hash_hex(item->digest, hex);
        TMAC_TRY(item->object
                     ? tmac_db_intake_object(in, item->bytes, item->count, hex)
                     : tmac_db_intake_record(in, (const char *)item->bytes, item->count, hex));
    }
    return tmac_ok();
}

// Calls take (when not NULL) for every record and object of a database whose bytes have their name.
static tmac_status walk(const tmac_db *from, tmac_db_intake *in, tmac_db_traffic *traffic)
{
    static const char *const queries[] = {"SELECT name, bytes FROM record ORDER BY name",
                                          "SELECT name, bytes FROM object ORDER BY name"};
    for (int object = 0; object < 2; object++) {
        sqlite3_stmt *q;
        TMAC_TRY(tmac_store_prepare(from, queries[object], &q));
        tmac_status status = tmac_ok();
        int code = SQLITE_DONE;
        while (status.code == TMAC_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
            char hex[TMAC_HASH_HEX], kind[TMAC_RECORD_KIND_BYTES];
            uint32_t version;
            const char *bytes = sqlite3_column_blob(q, 1);
            size_t count = (size_t)sqlite3_column_bytes(q, 1);
            if (!bytes) bytes = "";
            tmac_record_name(bytes, count, hex);
            if (strcmp(hex, tmac_store_text(q, 0)) != 0 ||
                (!object && !tmac_record_canonical(bytes, count, kind, &version))) {
                status = tmac_fail(TMAC_BAD_FILE,
                                   "%s: damaged: %s %.64s does not have the bytes of its name",
                                   from->path, object ? "object" : "record", tmac_store_text(q, 0));
            } else if (in) {
                status = object ? tmac_db_intake_object(in, bytes, count, hex)
                                : tmac_db_intake_record(in, bytes, count, hex);
            } else {
                ++*(object ? &traffic->objects : &traffic->records);
            }
        }
        if (status.code == TMAC_OK && code != SQLITE_DONE)
            status = tmac_store_fail(from, code, "reading records");
        sqlite3_finalize(q);
        if (status.code != TMAC_OK) return status;
    }
    return tmac_ok();
}

static tmac_status import_database(tmac_db *db, const char *path, bool own,
                                   tmac_db_traffic *traffic)
{
    tmac_db *from;
    struct stat facts;
    tmac_db_traffic unused = {0};
    if (stat(path, &facts) != 0) return tmac_fail(TMAC_NOT_FOUND, "%s: no such file", path);
    TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, &from));
    tmac_status status = tmac_ok();
    if (from->sqlite) {
        // One transaction: what was checked is what is read again.
        status = tmac_store_execute(from, "BEGIN", "reading records");
        if (status.code == TMAC_OK) status = walk(from, NULL, &unused);
        tmac_db_intake in;
        if (status.code == TMAC_OK) status = tmac_db_intake_begin(db, own, traffic, &in);
        if (status.code == TMAC_OK) status = tmac_db_intake_end(&in, walk(from, &in, traffic));
    }
    tmac_db_close(from);
    return status;
}

tmac_status tmac_db_import(tmac_db *db, const char *path, bool own, tmac_db_traffic *traffic)
{
    *traffic = (tmac_db_traffic){0};
    struct stat facts;
    if (stat(path, &facts) == 0 && !tmac_stream_begins(path)) {
        FILE *file = fopen(path, "re");
        char head[16] = "";
        if (file && fread(head, 1, 15, file) == 15 && strcmp(head, "SQLite format 3") == 0) {
            fclose(file);
            return import_database(db, path, own, traffic);
        }
        if (file) fclose(file);
    }
    tmac_stream stream;
    TMAC_TRY(tmac_stream_open(path, &stream));
    tmac_db_intake in;
    tmac_status status = tmac_db_intake_begin(db, own, traffic, &in);
    if (status.code == TMAC_OK) status = tmac_db_intake_end(&in, take_stream(&in, &stream));
    memcpy(traffic->digest, stream.digest, sizeof traffic->digest);
    tmac_stream_close(&stream);
    return status;
}

// ----------------------------------------------------------------------------------------------------------- checks

static tmac_status read_problem_of(sqlite3_stmt *row, void *into)
{
    const tmac_db *db = into;
    const char *text = tmac_store_text(row, 0);
    return strcmp(text, "ok") == 0 ? tmac_ok()
                                   : tmac_fail(TMAC_BAD_FILE, "%s: damaged: %s", db->path, text);
}

static tmac_status check_signature(sqlite3_stmt *row, void *into)
{
    tmac_db_traffic *traffic = into;
    tmac_record record;
    tmac_public_key key;
    const char *bytes = sqlite3_column_blob(row, 0);
    traffic->seals++;
    if (!bytes ||
        tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(row, 0), &record).code != TMAC_OK ||
        tmac_record_signer(&record, &key).code != TMAC_OK)
        traffic->bad_seals++;
    return tmac_ok();
}

static tmac_status check_index(sqlite3_stmt *row, void *into)
{
    const tmac_db *db = into;
    return sqlite3_column_int64(row, 0) == 0
               ? tmac_ok()
               : tmac_fail(TMAC_BAD_FILE,
                           "%s: damaged: its index and its records disagree on %lld trials",
                           db->path, (long long)sqlite3_column_int64(row, 0));
}

static tmac_status count_states(sqlite3_stmt *row, void *into)
{
    tmac_db_traffic *traffic = into;
    int state = sqlite3_column_int(row, 0);
    if (state < 0 || state >= TMAC_STATES) return tmac_ok();
    traffic->states[state] = (uint64_t)sqlite3_column_int64(row, 1);
    traffic->trials += traffic->states[state];
    return tmac_ok();
}

tmac_status tmac_db_verify(const tmac_db *db, tmac_db_traffic *traffic)
{
    *traffic = (tmac_db_traffic){0};
    if (!db->sqlite) return tmac_ok();
    tmac_db *self = (tmac_db *)db; // readers take void *, and change nothing
    TMAC_TRY(tmac_store_each(db, "PRAGMA integrity_check", read_problem_of, self));
    TMAC_TRY(walk(db, NULL, traffic));
    TMAC_TRY(tmac_store_each(db, "SELECT bytes FROM record WHERE kind = 'seal' AND version = 1",
                             check_signature, traffic));
    TMAC_TRY(tmac_store_each(
        db,
        "SELECT abs((SELECT count(*) FROM measurement) - (SELECT count(*) FROM record r CROSS JOIN"
        " measurement m ON m.record = r.id WHERE r.kind = 'trial'))",
        check_index, self));
    return tmac_store_each(db, "SELECT state, count(*) FROM measurement GROUP BY state",
                           count_states, traffic);
}

tmac_status tmac_db_verify_export(const char *path, tmac_db_traffic *traffic)
{
    tmac_stream stream;
    *traffic = (tmac_db_traffic){0};
    TMAC_TRY(tmac_stream_open(path, &stream));
    for (size_t i = 0; i < stream.count; i++) {
        const tmac_stream_item *item = &stream.items[i];
        static const char seal[] = "tmac seal 1\n", trial[] = "tmac trial ";
        ++*(item->object ? &traffic->objects : &traffic->records);
        if (item->object) continue;
        traffic->trials +=
            item->count > strlen(trial) && memcmp(item->bytes, trial, strlen(trial)) == 0;
        if (item->count < strlen(seal) || memcmp(item->bytes, seal, strlen(seal)) != 0) continue;
        tmac_record record;
        tmac_public_key key;
        traffic->seals++;
        if (tmac_record_parse((const char *)item->bytes, item->count, &record).code != TMAC_OK ||
            tmac_record_signer(&record, &key).code != TMAC_OK)
            traffic->bad_seals++;
    }
    memcpy(traffic->digest, stream.digest, sizeof traffic->digest);
    tmac_stream_close(&stream);
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- objects

tmac_status tmac_db_put_object(tmac_db *db, const void *bytes, size_t count, tmac_db_name *name)
{
    bool added;
    TMAC_TRY(tmac_store_ensure(db));
    tmac_record_name(bytes, count, name->hex);
    TMAC_TRY(tmac_store_begin(db));
    return tmac_store_commit(db, store_object(db, bytes, count, name->hex, &added));
}

tmac_status tmac_db_get_object(const tmac_db *db, const char *hex, uint8_t **bytes, size_t *count)
{
    sqlite3_stmt *q;
    *bytes = NULL;
    *count = 0;
    if (!db->sqlite) return tmac_fail(TMAC_NOT_FOUND, "%s: no object %s", db->path, hex);
    TMAC_TRY(tmac_store_prepare(db, "SELECT bytes FROM object WHERE name = ?", &q));
    sqlite3_bind_text(q, 1, hex, -1, SQLITE_TRANSIENT);
    tmac_status status = tmac_ok();
    int code = sqlite3_step(q);
    if (code == SQLITE_ROW) {
        char name[TMAC_HASH_HEX];
        *count = (size_t)sqlite3_column_bytes(q, 0);
        const void *blob = sqlite3_column_blob(q, 0);
        *bytes = malloc(*count + 1);
        tmac_record_name(blob ? blob : "", *count, name);
        if (!*bytes)
            status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for an object of %zu bytes", *count);
        else if (strcmp(name, hex) != 0)
            status = tmac_fail(TMAC_BAD_FILE, "%s: damaged: object %s is another", db->path, hex);
        else if (*count)
            memcpy(*bytes, blob, *count);
    } else {
        status = code == SQLITE_DONE ? tmac_fail(TMAC_NOT_FOUND, "%s: no object %s", db->path, hex)
                                     : tmac_store_fail(db, code, "reading an object");
    }
    sqlite3_finalize(q);
    if (status.code != TMAC_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return status;
}

tmac_status tmac_db_imported_kernels(const tmac_db *db, const tmac_kernel ***kernels, size_t *count)
{
    size_t room;
    sqlite3_stmt *q;
    *count = 0;
    tmac_kernels(&room);
    *kernels = calloc(room + 1, sizeof **kernels);
    if (!*kernels) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu kernels", room);
    if (!db->sqlite) return tmac_ok();
    tmac_status status = tmac_store_prepare(
        db,
        "SELECT kernel, binary_id FROM variant WHERE kernel IS NOT NULL AND id IN"
        " (SELECT variant FROM measurement WHERE origin = 0 AND state = 0)",
        &q);
    int code = SQLITE_DONE;
    while (status.code == TMAC_OK && (code = sqlite3_step(q)) == SQLITE_ROW && *count < room) {
        const tmac_kernel *kernel =
            tmac_usable_kernel(db, tmac_store_text(q, 0), tmac_store_text(q, 1));
        if (kernel) (*kernels)[(*count)++] = kernel;
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE && code != SQLITE_ROW)
        status = tmac_store_fail(db, code, "listing kernels");
    if (q) sqlite3_finalize(q);
    if (status.code != TMAC_OK) {
        free(*kernels);
        *kernels = NULL;
    }
    return status;
}

typedef struct claims {
    tmac_db_claim *items;
    size_t count;
} claims;

static tmac_status read_claim(sqlite3_stmt *row, void *into)
{
    claims *list = into;
    tmac_db_claim claim = {.threads = (uint32_t)sqlite3_column_int64(row, 2),
                           .bucket = (uint32_t)sqlite3_column_int64(row, 3)};
    if (!tmac_set_of_key(tmac_store_text(row, 1), &claim.set)) return tmac_ok();
    snprintf(claim.problem.hex, sizeof claim.problem.hex, "%s", tmac_store_text(row, 0));
    tmac_db_claim *grown = realloc(list->items, (list->count + 1) * sizeof *grown);
    if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu problems", list->count + 1);
    list->items = grown;
    grown[list->count++] = claim;
    return tmac_ok();
}

tmac_status tmac_db_imported_problems(const tmac_db *db, tmac_db_claim **items, size_t *count)
{
    claims list = {0};
    *items = NULL;
    *count = 0;
    if (!db->sqlite) return tmac_ok();
    tmac_status status = tmac_store_each(
        db,
        "SELECT p.name, p.set_key, p.threads, p.bucket FROM problem p JOIN (SELECT problem,"
        " count(*) AS trials FROM measurement WHERE origin = 0 AND state = 0 GROUP BY problem) m"
        " ON m.problem = p.id WHERE p.set_key IS NOT NULL ORDER BY m.trials DESC, p.name",
        read_claim, &list);
    if (status.code != TMAC_OK) {
        free(list.items);
        return status;
    }
    *items = list.items;
    *count = list.count;
    return status;
}

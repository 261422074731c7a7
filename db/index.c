// The index over records: which rows follow from a record, and the keys under which they are found.
//
// Rows refer to each other by local numbers. A record may arrive before those it names: the row it needs is then made
// with the name alone and filled when its record comes, so that order does not matter.
#include "db/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ------------------------------------------------------------------------------------------------------------- keys

void tmac_set_key(const tmac_input_set *set, char key[TMAC_DB_KEY_BYTES])
{
    size_t used = (size_t)snprintf(key, TMAC_DB_KEY_BYTES,
                                   "%c group=%" PRIu32 " columns=%" PRIu32 " rows=", set->format,
                                   set->group, set->columns);
    for (uint32_t i = 0; i < set->matrices && i < TMAC_SET_MATRICES; i++)
        used += (size_t)snprintf(key + used, TMAC_DB_KEY_BYTES - used, "%s%" PRIu32, i ? "," : "",
                                 set->rows[i]);
    snprintf(key + used, TMAC_DB_KEY_BYTES - used, " %s",
             set->residency == TMAC_STREAMED ? "streamed" : "resident");
}

bool tmac_set_of_key(const char *key, tmac_input_set *set)
{
    char rows[40], residency[12], again[TMAC_DB_KEY_BYTES];
    memset(set, 0, sizeof *set);
    if (sscanf(key, "%c group=%" SCNu32 " columns=%" SCNu32 " rows=%39s %11s", &set->format,
               &set->group, &set->columns, rows, residency) != 5)
        return false;
    char *save = NULL;
    for (char *row = strtok_r(rows, ",", &save); row; row = strtok_r(NULL, ",", &save)) {
        if (set->matrices == TMAC_SET_MATRICES) return false;
        set->rows[set->matrices++] = (uint32_t)strtoul(row, NULL, 10);
    }
    set->residency = strcmp(residency, "streamed") == 0 ? TMAC_STREAMED : TMAC_RESIDENT;
    tmac_set_key(set, again);
    return strcmp(key, again) == 0;
}

void tmac_host_class(const tmac_record *record, char class[TMAC_DB_CLASS_BYTES])
{
    snprintf(class, TMAC_DB_CLASS_BYTES, "%.70s l1=%.14s l2=%.14s l3=%.14s %.15s",
             tmac_record_get(record, "isa"), tmac_record_get(record, "l1d_bytes"),
             tmac_record_get(record, "l2_bytes"), tmac_record_get(record, "l3_bytes"),
             tmac_record_get(record, "hypervisor"));
}

// ------------------------------------------------------------------------------------------------------------ names

void tmac_record_name(const char *bytes, size_t count, char hex[TMAC_HASH_HEX])
{
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash(bytes, count, digest);
    tmac_hash_hex(digest, hex);
}

// The tables whose rows are named and referred to.
enum { NAMED_HOST, NAMED_VARIANT, NAMED_PROBLEM, NAMED_RUN };

static const struct {
    tmac_sql insert, select;
    const char *insert_sql, *select_sql;
} named[] = {
    {TMAC_SQL_HOST, TMAC_SQL_HOST_ID,
     "INSERT INTO host(name, isa, class) VALUES(?,?,?) ON CONFLICT(name) DO UPDATE SET"
     " isa = coalesce(excluded.isa, isa), class = coalesce(excluded.class, class)",
     "SELECT id FROM host WHERE name = ?"},
    {TMAC_SQL_VARIANT, TMAC_SQL_VARIANT_ID,
     "INSERT INTO variant(name, kernel, binary_id) VALUES(?,?,?) ON CONFLICT(name) DO UPDATE SET"
     " kernel = coalesce(excluded.kernel, kernel),"
     " binary_id = coalesce(excluded.binary_id, binary_id)",
     "SELECT id FROM variant WHERE name = ?"},
    {TMAC_SQL_PROBLEM, TMAC_SQL_PROBLEM_ID,
     "INSERT INTO problem(name, set_key, bucket, threads) VALUES(?,?,?,?)"
     " ON CONFLICT(name) DO UPDATE SET set_key = coalesce(excluded.set_key, set_key),"
     " bucket = coalesce(excluded.bucket, bucket), threads = coalesce(excluded.threads, threads)",
     "SELECT id FROM problem WHERE name = ?"},
    {TMAC_SQL_RUN, TMAC_SQL_RUN_ID,
     "INSERT INTO run(name, host, threads, started, bandwidth) VALUES(?,?,?,?,?)"
     " ON CONFLICT(name) DO UPDATE SET host = coalesce(excluded.host, host),"
     " threads = coalesce(excluded.threads, threads), started = coalesce(excluded.started, "
     "started),"
     " bandwidth = coalesce(excluded.bandwidth, bandwidth)",
     "SELECT id FROM run WHERE name = ?"},
};

static tmac_status run_index(const tmac_db *db, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    tmac_status status = code == SQLITE_DONE ? tmac_ok() : tmac_store_fail(db, code, "indexing");
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

// The number of a named row, which is made when it is not there.
static tmac_status id_of(const tmac_db *db, int table, const char *name, int64_t *id)
{
    uint32_t slot = 0;
    for (int i = 0; i < 3 && name[i]; i++)
        slot = slot * 16 + (uint32_t)(name[i] <= '9' ? name[i] - '0' : name[i] - 'a' + 10);
    slot %= TMAC_DB_NAME_CACHE;
    if (strcmp(db->caches->names[table][slot].hex, name) == 0 && *name) {
        *id = db->caches->names[table][slot].id;
        return tmac_ok();
    }
    sqlite3_stmt *q;
    for (int attempt = 0; attempt < 2; attempt++) {
        TMAC_TRY(tmac_store_cached(db, named[table].select, named[table].select_sql, &q));
        sqlite3_bind_text(q, 1, name, -1, SQLITE_TRANSIENT);
        int code = sqlite3_step(q);
        *id = code == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
        sqlite3_reset(q);
        if (code == SQLITE_ROW) {
            if (strlen(name) < TMAC_HASH_HEX) {
                strcpy(db->caches->names[table][slot].hex, name);
                db->caches->names[table][slot].id = *id;
            }
            return tmac_ok();
        }
        if (code != SQLITE_DONE) return tmac_store_fail(db, code, "indexing");
        TMAC_TRY(tmac_store_cached(db, named[table].insert, named[table].insert_sql, &q));
        sqlite3_clear_bindings(q);
        sqlite3_bind_text(q, 1, name, -1, SQLITE_TRANSIENT);
        TMAC_TRY(run_index(db, q));
    }
    return tmac_fail(TMAC_INTERNAL, "%s: a row that was just made is not there", db->path);
}

// ------------------------------------------------------------------------------------------------------------ index

// Which fields of a record fill which statement, after the name. '#' marks integers.
static const struct {
    const char *kind;
    int table;
    const char *fields[6];
} plain[] = {
    {"variant", NAMED_VARIANT, {"name", "binary_id"}},
    {"run", NAMED_RUN, {"host", "#threads", "#started_ns", "#bandwidth"}},
    {"problem", NAMED_PROBLEM, {"set", "#bucket", "#threads"}},
};

static void bind_field(sqlite3_stmt *statement, int at, const tmac_record *record,
                       const char *field)
{
    if (field[0] == '#')
        sqlite3_bind_int64(statement, at, (sqlite3_int64)tmac_record_get_number(record, field + 1));
    else
        sqlite3_bind_text(statement, at, tmac_record_get(record, field), -1, SQLITE_TRANSIENT);
}

static tmac_status index_trial(const tmac_db *db, int64_t id, const tmac_record *record,
                               tmac_origin origin)
{
    static const char *const names[] = {"host", "problem", "variant", "run"};
    static const int tables[] = {NAMED_HOST, NAMED_PROBLEM, NAMED_VARIANT, NAMED_RUN};
    static const char *const fields[] = {"#rigor_level", "outcome",    "#passes",
                                         "#samples",     "#median_ns", "#mad_ns"};
    int64_t ids[4];
    sqlite3_stmt *q;
    for (int i = 0; i < 4; i++)
        TMAC_TRY(id_of(db, tables[i], tmac_record_get(record, names[i]), &ids[i]));
    TMAC_TRY(tmac_store_cached(
        db, TMAC_SQL_TRIAL,
        "INSERT INTO measurement(record, host, problem, variant, run, rigor, outcome,"
        " passes, samples, median_ns, mad_ns, origin, state)"
        " VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
        &q));
    sqlite3_bind_int64(q, 1, id);
    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(q, 2 + i, ids[i]);
    for (int i = 0; i < 6; i++)
        bind_field(q, 6 + i, record, fields[i]);
    sqlite3_bind_int(q, 12, (int)origin);
    sqlite3_bind_int(q, 13,
                     origin == TMAC_ORIGIN_IMPORTED ? TMAC_STATE_UNSIGNED : TMAC_STATE_USABLE);
    TMAC_TRY(run_index(db, q));
    TMAC_TRY(tmac_store_cached(db, TMAC_SQL_TALLY,
                               "INSERT INTO tally VALUES(?,?,1) ON CONFLICT(problem, host)"
                               " DO UPDATE SET trials = trials + 1",
                               &q));
    sqlite3_bind_int64(q, 1, ids[1]);
    sqlite3_bind_int64(q, 2, ids[0]);
    return run_index(db, q);
}

tmac_status tmac_index_record(const tmac_db *db, int64_t id, const char *name, const char *text,
                              size_t bytes, tmac_origin origin)
{
    tmac_record record;
    // What this program cannot read it does not index; the bytes are kept all the same.
    if (tmac_record_parse(text, bytes, &record).code != TMAC_OK || record.version != 1)
        return tmac_ok();
    if (strcmp(record.kind, "trial") == 0) return index_trial(db, id, &record, origin);
    sqlite3_stmt *q;
    if (strcmp(record.kind, "host") == 0) {
        char class[TMAC_DB_CLASS_BYTES];
        tmac_host_class(&record, class);
        TMAC_TRY(tmac_store_cached(db, TMAC_SQL_HOST, named[NAMED_HOST].insert_sql, &q));
        sqlite3_bind_text(q, 1, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 2, tmac_record_get(&record, "isa"), -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(q, 3, class, -1, SQLITE_TRANSIENT);
        return run_index(db, q);
    }
    if (strcmp(record.kind, "judgement") == 0) {
        TMAC_TRY(tmac_store_cached(db, TMAC_SQL_JUDGEMENT,
                                   "INSERT OR IGNORE INTO judgement(record, host, trials, judged)"
                                   " VALUES(?,?,?,?)",
                                   &q));
        sqlite3_bind_int64(q, 1, id);
        bind_field(q, 2, &record, "host");
        bind_field(q, 3, &record, "trials");
        bind_field(q, 4, &record, "#judged");
        return run_index(db, q);
    }
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (strcmp(record.kind, plain[i].kind) != 0) continue;
        TMAC_TRY(tmac_store_cached(db, named[plain[i].table].insert,
                                   named[plain[i].table].insert_sql, &q));
        sqlite3_bind_text(q, 1, name, -1, SQLITE_TRANSIENT);
        for (int f = 0; plain[i].fields[f]; f++)
            bind_field(q, f + 2, &record, plain[i].fields[f]);
        return run_index(db, q);
    }
    return tmac_ok();
}

tmac_status tmac_store_record(const tmac_db *db, const char *name, const char *kind,
                              uint32_t version, const char *bytes, size_t count, tmac_origin origin,
                              bool *added)
{
    sqlite3_stmt *q;
    TMAC_TRY(tmac_store_cached(
        db, TMAC_SQL_RECORD,
        "INSERT INTO record(name, kind, version, bytes) VALUES(?,?,?,?) ON CONFLICT DO NOTHING",
        &q));
    sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_text(q, 2, kind, -1, SQLITE_STATIC);
    sqlite3_bind_int64(q, 3, version);
    sqlite3_bind_blob(q, 4, bytes, (int)count, SQLITE_STATIC);
    TMAC_TRY(run_index(db, q));
    *added = sqlite3_changes(db->sqlite) > 0;
    if (*added)
        return tmac_index_record(db, sqlite3_last_insert_rowid(db->sqlite), name, bytes, count,
                                 origin);
    if (origin == TMAC_ORIGIN_IMPORTED || strcmp(kind, "trial") != 0) return tmac_ok();
    // It was imported from a stranger, and now the user vouches for it.
    TMAC_TRY(tmac_store_cached(db, TMAC_SQL_STATE,
                               "UPDATE measurement SET origin = ?1, state = CASE WHEN ?1 = 2 OR"
                               " state < 3 THEN 0 ELSE state END WHERE origin < ?1"
                               " AND record = (SELECT id FROM record WHERE name = ?2)",
                               &q));
    sqlite3_bind_int(q, 1, (int)origin);
    sqlite3_bind_text(q, 2, name, -1, SQLITE_STATIC);
    return run_index(db, q);
}

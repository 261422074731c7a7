// Garbage: what no lookup can use any more. Local, and never merged: what goes comes back with the next import.
#include "db/store.h"

#include <string.h>
#include <sys/stat.h>

// Of a host, problem and machine code the newest of the highest rigor stays, and every failure: one is enough to keep a
// kernel from being used, and it must not be forgotten.
static const char superseded[] =
    "CREATE TEMP TABLE IF NOT EXISTS garbage(record INTEGER PRIMARY KEY, why INTEGER);"
    "DELETE FROM garbage;"
    "INSERT OR IGNORE INTO garbage SELECT record, 0 FROM (SELECT m.record AS record,"
    "  row_number() OVER (PARTITION BY m.host, m.problem, m.variant ORDER BY m.rigor DESC,"
    "  u.started DESC, m.record) AS place FROM measurement m JOIN run u ON u.id = m.run"
    "  WHERE m.outcome = 'ok' AND m.state = 0) WHERE place > 1;"
    "INSERT OR IGNORE INTO garbage SELECT record, 1 FROM measurement WHERE state >= 4;";

static const char drop[] =
    "DELETE FROM record WHERE id IN (SELECT record FROM garbage);"
    "DELETE FROM measurement WHERE record IN (SELECT record FROM garbage);"
    "DELETE FROM tally; INSERT INTO tally SELECT problem, host, count(*) FROM measurement"
    "  GROUP BY problem, host;";

static const char drop_objects[] =
    "DELETE FROM object WHERE NOT EXISTS (SELECT 1 FROM record WHERE kind = 'artifact'"
    "  AND instr(CAST(record.bytes AS TEXT), object.name) > 0);";

static tmac_status read_number(sqlite3_stmt *row, void *into)
{
    *(uint64_t *)into = (uint64_t)sqlite3_column_int64(row, 0);
    return tmac_ok();
}

static uint64_t file_bytes(const tmac_db *db)
{
    struct stat facts;
    return stat(db->path, &facts) == 0 ? (uint64_t)facts.st_size : 0;
}

static tmac_status count_garbage(tmac_db *db, tmac_db_garbage *garbage)
{
    TMAC_TRY(tmac_store_execute(db, superseded, "looking for garbage"));
    TMAC_TRY(tmac_store_each(db, "SELECT count(*) FROM garbage WHERE why = 0", read_number,
                             &garbage->superseded));
    TMAC_TRY(tmac_store_each(db, "SELECT count(*) FROM garbage WHERE why = 1", read_number,
                             &garbage->refuted));
    return tmac_store_each(db,
                           "SELECT count(*) FROM object WHERE NOT EXISTS (SELECT 1 FROM record"
                           " WHERE kind = 'artifact' AND instr(CAST(record.bytes AS TEXT),"
                           " object.name) > 0)",
                           read_number, &garbage->objects);
}

tmac_status tmac_db_collect(tmac_db *db, bool dry, tmac_db_garbage *garbage)
{
    *garbage = (tmac_db_garbage){0};
    if (!db->sqlite) return tmac_ok();
    garbage->bytes_before = garbage->bytes_after = file_bytes(db);
    TMAC_TRY(tmac_store_begin(db));
    tmac_status status = count_garbage(db, garbage);
    if (status.code == TMAC_OK && !dry) status = tmac_store_execute(db, drop, "dropping trials");
    if (status.code == TMAC_OK && !dry)
        status = tmac_store_execute(db, drop_objects, "dropping objects");
    TMAC_TRY(tmac_store_commit(db, status));
    if (dry) return status;
    TMAC_TRY(
        tmac_store_execute(db, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);", "making it smaller"));
    garbage->bytes_after = file_bytes(db);
    return status;
}

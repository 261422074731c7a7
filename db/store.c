// The SQLite file: where it is, how it is opened, its schema and its migrations.
//
// The table `record` is the database: canonical bytes under their SHA-256 names. All other tables are an index over
// the records that this program understands; they can be dropped and rebuilt from it, and migrations do so. Rows refer
// to each other by record names, never by row ids.
//
// PRAGMA user_version is the schema, PRAGMA application_id marks the file as ours. A file with a newer schema is
// refused: an older program cannot know what it would break.
//
// Journal: WAL with synchronous=NORMAL on local file systems: readers and one writer at once, and a process killed at
// any instruction loses nothing it has committed. WAL needs shared memory between all users of the file, which network
// file systems do not have; there the journal is a rollback journal with synchronous=FULL.
#include "db/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/folder.h"

enum { APPLICATION_ID = 0x746d6163, BUSY_MS = 20000 }; // "tmac"

// Ids are local numbers and never leave the file; names do. A host, variant, problem or run that is referred to before
// its record arrives is a row with a name and nothing else.
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS record(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  kind TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS record_by_kind ON record(kind) WHERE kind <> 'trial';"
    // Large bytes that an artifact record names by their SHA-256.
    "CREATE TABLE IF NOT EXISTS object(name TEXT PRIMARY KEY, bytes BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE host(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, isa TEXT, class TEXT);"
    "CREATE TABLE variant(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kernel TEXT,"
    "  binary_id TEXT);"
    "CREATE TABLE problem(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, set_key TEXT,"
    "  bucket INTEGER, threads INTEGER);"
    "CREATE INDEX problem_by_set ON problem(set_key, threads);"
    "CREATE TABLE run(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, host TEXT,"
    "  threads INTEGER, started INTEGER, bandwidth INTEGER);"
    "CREATE INDEX run_by_host ON run(host, threads);"
    // How many measurements a host has of a problem: which host to ask first.
    "CREATE TABLE tally(problem INTEGER, host INTEGER, trials INTEGER NOT NULL,"
    "  PRIMARY KEY(problem, host)) WITHOUT ROWID;";

// Measurements lie together by problem and host: a lookup reads them in one stretch.
static const char schema_of_figures[] =
    "CREATE TABLE measurement(record INTEGER NOT NULL, host INTEGER NOT NULL,"
    "  problem INTEGER NOT NULL, variant INTEGER NOT NULL, run INTEGER NOT NULL, rigor INTEGER,"
    "  outcome TEXT, passes INTEGER, samples INTEGER, median_ns INTEGER, mad_ns INTEGER,"
    "  origin INTEGER NOT NULL, state INTEGER NOT NULL, PRIMARY KEY(problem, host, record))"
    "  WITHOUT ROWID;"
    "CREATE UNIQUE INDEX measurement_by_record ON measurement(record);"
    "CREATE TABLE judgement(record INTEGER PRIMARY KEY, host TEXT, trials TEXT, judged INTEGER);"
    "CREATE INDEX judgement_by_trials ON judgement(host, trials, judged);"
    // Usable trials with names in place of ids.
    "CREATE VIEW trial AS SELECT r.name AS name, h.name AS host, p.name AS problem,"
    "  v.name AS variant, u.name AS run, m.rigor AS rigor, m.outcome AS outcome,"
    "  m.passes AS passes, m.samples AS samples, m.median_ns AS median_ns, m.mad_ns AS mad_ns"
    "  FROM measurement m JOIN record r ON r.id = m.record JOIN host h ON h.id = m.host"
    "  JOIN problem p ON p.id = m.problem JOIN variant v ON v.id = m.variant"
    "  JOIN run u ON u.id = m.run WHERE m.state = 0;"
    // For people with an SQL prompt; tmac_db_plan weighs noise and all buckets of a layout besides.
    "CREATE VIEW winner AS SELECT h.name AS host, p.set_key AS input_set, p.bucket AS bucket,"
    "  p.threads AS threads, v.kernel AS kernel, min(m.median_ns / m.passes) AS ns"
    "  FROM measurement m JOIN problem p ON p.id = m.problem JOIN variant v ON v.id = m.variant"
    "  JOIN host h ON h.id = m.host WHERE m.outcome = 'ok' AND m.state = 0"
    "  GROUP BY m.host, m.problem;";

// Schema 1 had records without numbers and names in place of ids in every index row.
static const char leave_schema_1[] =
    "DROP VIEW IF EXISTS winner; DROP TABLE IF EXISTS trial; DROP TABLE IF EXISTS run;"
    "DROP TABLE IF EXISTS problem; DROP TABLE IF EXISTS variant; DROP TABLE IF EXISTS host;"
    "ALTER TABLE record RENAME TO record_1;"
    "CREATE TABLE record(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    "  kind TEXT NOT NULL, version INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "INSERT INTO record(name, kind, version, bytes)"
    "  SELECT name, kind, version, bytes FROM record_1 ORDER BY name;"
    "DROP TABLE record_1;";

// Schema 2 had measurements in the order of records, and did not know judgements. Where they came from and whether they
// may be used is kept: it does not follow from the records.
static const char leave_schema_2[] =
    "DROP VIEW winner; DROP VIEW trial; DROP INDEX measurement_by_problem;"
    "ALTER TABLE measurement RENAME TO measurement_2;";
static const char enter_schema_3[] =
    "INSERT INTO measurement(record, host, problem, variant, run, rigor, outcome, passes, samples,"
    "  median_ns, mad_ns, origin, state) SELECT record, host, problem, variant, run, rigor, "
    "outcome,"
    "  passes, samples, median_ns, mad_ns, origin, state FROM measurement_2"
    "  ORDER BY problem, host, record;"
    "DROP TABLE measurement_2;";

// Where the file system has no locks that can be relied on, SQLite's are folders beside the file.
static bool dot_locked(const tmac_db *db)
{
    char lock[TMAC_DB_PATH_BYTES + 8];
    struct stat facts;
    snprintf(lock, sizeof lock, "%s.lock", db->path);
    return stat(lock, &facts) == 0 && S_ISDIR(facts.st_mode);
}

tmac_status tmac_store_fail(const tmac_db *db, int code, const char *doing)
{
    const char *why = db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tmac_fail(TMAC_BUSY,
                         "%s: another program has held the database for %d s while %s; try again%s",
                         db->path, BUSY_MS / 1000, doing,
                         dot_locked(db) ? " (where none runs: remove its .lock folder)" : "");
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return tmac_fail(TMAC_BAD_FILE, "%s: damaged or not a tuning database (%s) while %s",
                         db->path, why, doing);
    case SQLITE_NOMEM:
        return tmac_fail(TMAC_OUT_OF_MEMORY, "%s: no memory while %s", db->path, doing);
    default:
        return tmac_fail(TMAC_IO, "%s: %s while %s", db->path, why, doing);
    }
}

tmac_status tmac_store_prepare(const tmac_db *db, const char *sql, sqlite3_stmt **statement)
{
    int code = sqlite3_prepare_v2(db->sqlite, sql, -1, statement, NULL);
    if (code != SQLITE_OK) {
        *statement = NULL;
        return tmac_store_fail(db, code, "preparing a query");
    }
    return tmac_ok();
}

const char *tmac_store_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return text ? (const char *)text : "";
}

tmac_status tmac_store_cached(const tmac_db *db, tmac_sql which, const char *sql,
                              sqlite3_stmt **statement)
{
    *statement = db->caches->statements[which];
    if (*statement) {
        sqlite3_reset(*statement);
        return tmac_ok();
    }
    int code = sqlite3_prepare_v3(db->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    if (code != SQLITE_OK) {
        *statement = NULL;
        return tmac_store_fail(db, code, "preparing a query");
    }
    db->caches->statements[which] = *statement;
    return tmac_ok();
}

tmac_status tmac_store_execute(const tmac_db *db, const char *sql, const char *doing)
{
    int code = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? tmac_ok() : tmac_store_fail(db, code, doing);
}

tmac_status tmac_store_begin(const tmac_db *db)
{
    return tmac_store_execute(db, "BEGIN IMMEDIATE", "starting a transaction");
}

tmac_status tmac_store_commit(const tmac_db *db, tmac_status status)
{
    if (status.code == TMAC_OK) status = tmac_store_execute(db, "COMMIT", "storing records");
    if (status.code != TMAC_OK) {
        sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
        // Numbers of rows that are no longer there.
        memset(db->caches->names, 0, sizeof db->caches->names);
        memset(db->caches->variants, 0, sizeof db->caches->variants);
        memset(db->caches->runs, 0, sizeof db->caches->runs);
    }
    return status;
}

tmac_status tmac_store_each(const tmac_db *db, const char *sql, tmac_row_reader reader, void *into)
{
    sqlite3_stmt *q;
    TMAC_TRY(tmac_store_prepare(db, sql, &q));
    tmac_status status = tmac_ok();
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW && status.code == TMAC_OK)
        status = reader(q, into);
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "reading it");
    sqlite3_finalize(q);
    return status;
}

static tmac_status pragma_number(const tmac_db *db, const char *sql, int64_t *value)
{
    sqlite3_stmt *statement;
    *value = 0;
    TMAC_TRY(tmac_store_prepare(db, sql, &statement));
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) *value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE
               ? tmac_ok()
               : tmac_store_fail(db, code, "reading its header");
}

bool tmac_db_wants_wal(long file_system)
{
    // f_type is a signed long on some architectures: only its 32 bits count.
    static const uint32_t network[] = {
        0x00006969, // NFS
        0x0000517b, // SMB
        0xff534d42, // CIFS
        0xfe534d42, // SMB2
        0x65735546, // FUSE: sshfs and the like
        0x01021997, // 9P
        0x00c36400, // Ceph
        0x5346414f, // AFS
        0x0bd00bd0, // Lustre
        0x47504653, // GPFS
        0x7461636f, // OCFS2
        0x01161970, // GFS2
    };
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if ((uint32_t)file_system == network[i]) return false;
    return true;
}

tmac_status tmac_db_default_path(char path[TMAC_DB_PATH_BYTES])
{
    static const struct {
        const char *variable, *rest;
    } places[] = {{"TMAC_DB", ""},
                  {"XDG_DATA_HOME", "/tmac/tune.db"},
                  {"HOME", "/.local/share/tmac/tune.db"}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const char *value = getenv(places[i].variable);
        if (!value || !*value) continue;
        int length = snprintf(path, TMAC_DB_PATH_BYTES, "%s%s", value, places[i].rest);
        if (length < 0 || length >= TMAC_DB_PATH_BYTES)
            return tmac_fail(TMAC_USAGE, "the path in $%s is too long", places[i].variable);
        return tmac_ok();
    }
    return tmac_fail(TMAC_USAGE, "no place for the tuning database: set TMAC_DB, or use --db FILE");
}

static bool local_file_system(const char *path)
{
    struct statfs facts;
    return statfs(path, &facts) != 0 || tmac_db_wants_wal((long)facts.f_type);
}

// Rebuilds the index from records. They were used before, so they are as if measured here.
static tmac_status reindex(const tmac_db *db, const char *records)
{
    sqlite3_stmt *statement;
    TMAC_TRY(tmac_store_prepare(db, records, &statement));
    tmac_status status = tmac_ok();
    int code;
    while (status.code == TMAC_OK && (code = sqlite3_step(statement)) != SQLITE_DONE) {
        if (code != SQLITE_ROW) {
            status = tmac_store_fail(db, code, "indexing");
            break;
        }
        const char *bytes = sqlite3_column_blob(statement, 2);
        status = tmac_index_record(db, sqlite3_column_int64(statement, 0),
                                   tmac_store_text(statement, 1), bytes ? bytes : "",
                                   (size_t)sqlite3_column_bytes(statement, 2), TMAC_ORIGIN_HERE);
    }
    sqlite3_finalize(statement);
    return status;
}

// Inside an immediate transaction: the version is read again, because another process may have been first.
static tmac_status migrate(const tmac_db *db)
{
    TMAC_TRY(tmac_store_begin(db));
    int64_t version = 0, numberless = 0;
    char marks[96];
    snprintf(marks, sizeof marks, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             APPLICATION_ID, TMAC_DB_SCHEMA);
    tmac_status status = pragma_number(db, "PRAGMA user_version", &version);
    if (status.code == TMAC_OK)
        status = pragma_number(
            db,
            "SELECT (SELECT count(*) FROM pragma_table_info('record')) > 0 AND"
            " (SELECT count(*) FROM pragma_table_info('record') WHERE name = 'id') = 0",
            &numberless);
    if (status.code != TMAC_OK || version >= TMAC_DB_SCHEMA) return tmac_store_commit(db, status);
    const bool from_2 = version == 2;
    const char *const steps[] = {
        numberless ? leave_schema_1 : "",
        from_2 ? leave_schema_2 : schema,
        schema_of_figures,
        from_2 ? enter_schema_3 : "",
        marks,
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && status.code == TMAC_OK; i++)
        status = tmac_store_execute(db, steps[i], "creating its tables");
    if (status.code == TMAC_OK)
        status = reindex(db, from_2 ? "SELECT id, name, bytes FROM record WHERE kind = 'judgement'"
                                      " AND kind <> 'trial'"
                                    : "SELECT id, name, bytes FROM record");
    return tmac_store_commit(db, status);
}

// Whether the file is ours to use; *version is its schema, 0 for a file without any table. Read in one transaction:
// another process may be creating the file at this moment, and half of what it wrote would look like a stranger's.
static tmac_status check_identity(const tmac_db *db, int64_t *version)
{
    int64_t application = 0, tables = 0;
    TMAC_TRY(tmac_store_execute(db, "BEGIN", "reading its marks"));
    tmac_status status = pragma_number(db, "PRAGMA user_version", version);
    if (status.code == TMAC_OK) status = pragma_number(db, "PRAGMA application_id", &application);
    if (status.code == TMAC_OK)
        status = pragma_number(db, "SELECT count(*) FROM sqlite_master", &tables);
    sqlite3_exec(db->sqlite, "COMMIT", NULL, NULL, NULL);
    if (status.code != TMAC_OK) return status;
    if (tables == 0 && *version == 0 && application == 0) return tmac_ok();
    if (application != APPLICATION_ID)
        return tmac_fail(TMAC_BAD_FILE,
                         "%s: an SQLite file, but no tuning database of tmac; left as it is",
                         db->path);
    if (*version > TMAC_DB_SCHEMA || *version < 0)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "%s: written by a newer tmac (schema %lld, this program knows %d); use that one, or "
            "another --db",
            db->path, (long long)*version, TMAC_DB_SCHEMA);
    return tmac_ok();
}

static void shut(tmac_db *db)
{
    for (int i = 0; db->caches && i < TMAC_SQL_COUNT; i++) {
        sqlite3_finalize(db->caches->statements[i]);
        db->caches->statements[i] = NULL;
    }
    sqlite3_close(db->sqlite);
    db->sqlite = NULL;
}

// Whether locks work on the file: a share may be mounted without them. An open-file-description lock, because closing
// a file drops all traditional locks that this process holds on it, those of other handles included.
static bool locks_work(const char *path)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return true;
    const bool refused = fcntl(file, F_OFD_SETLK, &lock) != 0 &&
                         (errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS);
    close(file);
    return !refused;
}

// The way of locking: SQLite's own, or folders beside the file. NULL: SQLite's.
static const char *locking(const char *path)
{
    const char *wish = getenv("TMAC_DB_LOCKING");
    if (wish && strcmp(wish, "dotfile") == 0) return "unix-dotfile";
    return !local_file_system(path) && !locks_work(path) ? "unix-dotfile" : NULL;
}

static tmac_status open_sqlite(tmac_db *db, const char *name, int flags)
{
    int code = sqlite3_open_v2(
        name, &db->sqlite, flags | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOMUTEX, locking(db->path));
    tmac_status status = tmac_ok();
    if (code == SQLITE_OK) sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    if (code != SQLITE_OK) status = tmac_store_fail(db, code, "opening it");
    if (status.code != TMAC_OK) shut(db);
    return status;
}

static tmac_status open_writing(tmac_db *db)
{
    TMAC_TRY(open_sqlite(db, db->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    int64_t version = 0;
    tmac_status status = check_identity(db, &version);
    if (status.code == TMAC_OK) {
        status =
            local_file_system(db->path) && !locking(db->path)
                ? tmac_store_execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                                     "opening its journal")
                : tmac_store_execute(db, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;",
                                     "opening its journal");
    }
    if (status.code == TMAC_OK && version < TMAC_DB_SCHEMA) status = migrate(db);
    if (status.code != TMAC_OK) shut(db);
    return status;
}

tmac_status tmac_store_ensure(tmac_db *db)
{
    if (db->mode != TMAC_DB_WRITE)
        return tmac_fail(TMAC_INTERNAL, "%s: opened for reading, asked to write", db->path);
    if (db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_folder_make_above(db->path, 0755));
    // Changing the journal of a new file does not wait for others who do the same.
    tmac_status status = open_writing(db);
    for (int i = 0; i < BUSY_MS / 20 && status.code == TMAC_BUSY; i++) {
        usleep(10000 + (useconds_t)(getpid() % 20) * 1000);
        status = open_writing(db);
    }
    return status;
}

static tmac_status new_handle(const char *path, tmac_db_mode mode, tmac_db **db)
{
    tmac_db *made = calloc(1, sizeof *made);
    tmac_caches *caches = calloc(1, sizeof *caches);
    *db = NULL;
    if (!made || !caches) {
        free(made);
        free(caches);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a database handle");
    }
    made->mode = mode;
    made->caches = caches;
    tmac_status status = tmac_ok();
    if (!path)
        status = tmac_db_default_path(made->path);
    else if ((size_t)snprintf(made->path, sizeof made->path, "%s", path) >= sizeof made->path)
        status = tmac_fail(TMAC_USAGE, "the path of the database is too long");
    if (status.code == TMAC_OK)
        *db = made;
    else
        tmac_db_close(made);
    return status;
}

tmac_status tmac_store_memory(const char *label, tmac_db **db)
{
    TMAC_TRY(new_handle(label, TMAC_DB_WRITE, db));
    tmac_status status = open_sqlite(*db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (status.code == TMAC_OK) status = migrate(*db);
    if (status.code == TMAC_OK) return status;
    tmac_db_close(*db);
    *db = NULL;
    return status;
}

tmac_status tmac_db_open_memory(tmac_db **db)
{
    return tmac_store_memory("(in memory)", db);
}

// file:PATH?immutable=1 with the bytes that a URI gives a meaning to spelt out.
static void immutable_uri(const char *path, char uri[3 * TMAC_DB_PATH_BYTES + 32])
{
    size_t used = (size_t)snprintf(uri, 32, "file:");
    for (const char *c = path; *c; c++) {
        if (strchr("?#%", *c))
            used += (size_t)snprintf(uri + used, 4, "%%%02X", (unsigned char)*c);
        else
            uri[used++] = *c;
    }
    snprintf(uri + used, 16, "?immutable=1");
}

// A reader may not migrate the file: it reads a copy of its own that is.
static tmac_status renew_in_memory(tmac_db *db)
{
    sqlite3 *file = db->sqlite, *memory = NULL;
    int code = sqlite3_open(":memory:", &memory);
    sqlite3_backup *copy =
        code == SQLITE_OK ? sqlite3_backup_init(memory, "main", file, "main") : NULL;
    if (copy) {
        do
            code = sqlite3_backup_step(copy, -1);
        while (code == SQLITE_BUSY && usleep(10000) == 0);
        sqlite3_backup_finish(copy);
    }
    sqlite3_close(file);
    db->sqlite = memory;
    tmac_status status = copy && code == SQLITE_DONE
                             ? migrate(db)
                             : tmac_fail(TMAC_IO, "%s: cannot be copied to be read", db->path);
    if (status.code != TMAC_OK) shut(db);
    return status;
}

static tmac_status open_reading(tmac_db *db)
{
    int64_t version = 0;
    tmac_status status = open_sqlite(db, db->path, SQLITE_OPEN_READONLY);
    if (status.code == TMAC_OK) status = check_identity(db, &version);
    if (status.code == TMAC_IO) {
        // A WAL database in a folder we may not write to: nobody else writes it here either.
        char uri[3 * TMAC_DB_PATH_BYTES + 32];
        shut(db);
        immutable_uri(db->path, uri);
        status = open_sqlite(db, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
        if (status.code == TMAC_OK) status = check_identity(db, &version);
    }
    if (status.code == TMAC_OK && version > 0 && version < TMAC_DB_SCHEMA)
        return renew_in_memory(db);
    if (status.code != TMAC_OK || version == 0)
        shut(db); // version 0: created, but nothing written yet
    return status;
}

tmac_status tmac_db_open(const char *path, tmac_db_mode mode, tmac_db **db)
{
    tmac_db *made;
    *db = NULL;
    TMAC_TRY(new_handle(path, mode, &made));
    tmac_status status = tmac_ok();
    struct stat facts;
    if (stat(made->path, &facts) == 0) {
        if (S_ISDIR(facts.st_mode))
            status = tmac_fail(TMAC_BAD_FILE, "%s: is a directory, expected a tuning database",
                               made->path);
        else
            status = mode == TMAC_DB_WRITE ? tmac_store_ensure(made) : open_reading(made);
    } else if (errno != ENOENT && errno != ENOTDIR) {
        status = tmac_fail(TMAC_IO, "%s: %s", made->path, strerror(errno));
    }
    if (status.code != TMAC_OK) {
        tmac_db_close(made);
        return status;
    }
    *db = made;
    return status;
}

void tmac_db_close(tmac_db *db)
{
    if (!db) return;
    for (uint32_t i = 0; i < db->layer_count; i++)
        tmac_db_close(db->layers[i]);
    shut(db);
    if (db->caches) free(db->caches->codes);
    free(db->caches);
    free(db);
}

const char *tmac_db_path(const tmac_db *db)
{
    return db->path;
}

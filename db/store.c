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

enum { APPLICATION_ID = 0x746d6163, BUSY_MS = 20000 }; // "tmac"

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS record(name TEXT PRIMARY KEY, kind TEXT NOT NULL, version INTEGER "
    "NOT NULL,"
    "  bytes BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE host(name TEXT PRIMARY KEY, isa TEXT, class TEXT) WITHOUT ROWID;"
    "CREATE TABLE variant(name TEXT PRIMARY KEY, kernel TEXT, binary_id TEXT) WITHOUT ROWID;"
    "CREATE TABLE problem(name TEXT PRIMARY KEY, set_key TEXT, bucket INTEGER, threads INTEGER) "
    "WITHOUT ROWID;"
    "CREATE INDEX problem_by_set ON problem(set_key, threads);"
    "CREATE TABLE run(name TEXT PRIMARY KEY, host TEXT, threads INTEGER, started INTEGER, "
    "bandwidth INTEGER)"
    "  WITHOUT ROWID;"
    "CREATE INDEX run_by_host ON run(host, threads);"
    "CREATE TABLE trial(name TEXT PRIMARY KEY, host TEXT, problem TEXT, variant TEXT, run TEXT, "
    "rigor INTEGER,"
    "  outcome TEXT, passes INTEGER, samples INTEGER, median_ns INTEGER, mad_ns INTEGER) WITHOUT "
    "ROWID;"
    "CREATE INDEX trial_by_problem ON trial(problem, host);"
    "CREATE INDEX trial_by_host ON trial(host);"
    // For people with an SQL prompt; tmac_db_plan weighs noise and all buckets of a layout besides.
    "CREATE VIEW winner AS SELECT trial.host AS host, problem.set_key AS input_set, problem.bucket "
    "AS bucket,"
    "  problem.threads AS threads, variant.kernel AS kernel, min(trial.median_ns / trial.passes) "
    "AS ns"
    "  FROM trial JOIN problem ON problem.name = trial.problem JOIN variant ON variant.name = "
    "trial.variant"
    "  WHERE trial.outcome = 'ok' GROUP BY trial.host, trial.problem;";

tmac_status tmac_store_fail(const tmac_db *db, int code, const char *doing)
{
    const char *why = db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return tmac_fail(TMAC_BUSY,
                         "%s: another program has held the database for %d s while %s; try again",
                         db->path, BUSY_MS / 1000, doing);
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

static tmac_status execute(const tmac_db *db, const char *sql, const char *doing)
{
    int code = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? tmac_ok() : tmac_store_fail(db, code, doing);
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

// mkdir -p of the folder that will hold the file.
static tmac_status make_folder(const char *path)
{
    char folder[TMAC_DB_PATH_BYTES];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *c = folder + 1; *c; c++) {
        if (*c != '/') continue;
        *c = 0;
        if (mkdir(folder, 0755) != 0 && errno != EEXIST)
            return tmac_fail(TMAC_IO, "%s: cannot create the folder for the database: %s", folder,
                             strerror(errno));
        *c = '/';
    }
    return tmac_ok();
}

static bool local_file_system(const char *path)
{
    struct statfs facts;
    return statfs(path, &facts) != 0 || tmac_db_wants_wal((long)facts.f_type);
}

// Rebuilds the index from the records.
static tmac_status reindex(const tmac_db *db)
{
    sqlite3_stmt *statement;
    TMAC_TRY(tmac_store_prepare(db, "SELECT name, bytes FROM record", &statement));
    tmac_status status = tmac_ok();
    int code;
    while (status.code == TMAC_OK && (code = sqlite3_step(statement)) != SQLITE_DONE) {
        if (code != SQLITE_ROW) {
            status = tmac_store_fail(db, code, "indexing");
            break;
        }
        const char *bytes = sqlite3_column_blob(statement, 1);
        status = tmac_index_record(db, tmac_store_text(statement, 0), bytes ? bytes : "",
                                   (size_t)sqlite3_column_bytes(statement, 1));
    }
    sqlite3_finalize(statement);
    return status;
}

// Inside an immediate transaction: the version is read again, because another process may have been first.
static tmac_status migrate(const tmac_db *db)
{
    TMAC_TRY(execute(db, "BEGIN IMMEDIATE", "starting a transaction"));
    int64_t version = 0;
    char marks[96];
    snprintf(marks, sizeof marks, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             APPLICATION_ID, TMAC_DB_SCHEMA);
    tmac_status status = pragma_number(db, "PRAGMA user_version", &version);
    if (status.code == TMAC_OK && version < TMAC_DB_SCHEMA) {
        status = execute(db, schema, "creating its tables");
        if (status.code == TMAC_OK) status = execute(db, marks, "marking its version");
        if (status.code == TMAC_OK) status = reindex(db);
    }
    if (status.code == TMAC_OK) return execute(db, "COMMIT", "creating its tables");
    sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

// Whether the file is ours to use; *version is its schema, 0 for a file without any table. Read in one transaction:
// another process may be creating the file at this moment, and half of what it wrote would look like a stranger's.
static tmac_status check_identity(const tmac_db *db, int64_t *version)
{
    int64_t application = 0, tables = 0;
    TMAC_TRY(execute(db, "BEGIN", "reading its marks"));
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
    sqlite3_close(db->sqlite);
    db->sqlite = NULL;
}

static tmac_status open_sqlite(tmac_db *db, const char *name, int flags)
{
    int code = sqlite3_open_v2(name, &db->sqlite, flags | SQLITE_OPEN_EXRESCODE, NULL);
    tmac_status status = tmac_ok();
    if (code == SQLITE_OK) sqlite3_busy_timeout(db->sqlite, BUSY_MS);
    if (code != SQLITE_OK) status = tmac_store_fail(db, code, "opening it");
    if (status.code != TMAC_OK) shut(db);
    return status;
}

tmac_status tmac_store_ensure(tmac_db *db)
{
    if (db->mode != TMAC_DB_WRITE)
        return tmac_fail(TMAC_INTERNAL, "%s: opened for reading, asked to write", db->path);
    if (db->sqlite) return tmac_ok();
    TMAC_TRY(make_folder(db->path));
    TMAC_TRY(open_sqlite(db, db->path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE));
    int64_t version = 0;
    tmac_status status = check_identity(db, &version);
    if (status.code == TMAC_OK) {
        status = local_file_system(db->path)
                     ? execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                               "opening its journal")
                     : execute(db, "PRAGMA journal_mode=DELETE; PRAGMA synchronous=FULL;",
                               "opening its journal");
    }
    if (status.code == TMAC_OK && version < TMAC_DB_SCHEMA) status = migrate(db);
    if (status.code != TMAC_OK) shut(db);
    return status;
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
    if (status.code != TMAC_OK || version == 0)
        shut(db); // version 0: created, but nothing written yet
    return status;
}

tmac_status tmac_db_open(const char *path, tmac_db_mode mode, tmac_db **db)
{
    *db = NULL;
    tmac_db *made = calloc(1, sizeof *made);
    if (!made) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a database handle");
    made->mode = mode;
    tmac_status status = tmac_ok();
    if (!path)
        status = tmac_db_default_path(made->path);
    else if ((size_t)snprintf(made->path, sizeof made->path, "%s", path) >= sizeof made->path)
        status = tmac_fail(TMAC_USAGE, "the path of the database is too long");
    struct stat facts;
    if (status.code == TMAC_OK && stat(made->path, &facts) == 0) {
        if (S_ISDIR(facts.st_mode))
            status = tmac_fail(TMAC_BAD_FILE, "%s: is a directory, expected a tuning database",
                               made->path);
        else
            status = mode == TMAC_DB_WRITE ? tmac_store_ensure(made) : open_reading(made);
    } else if (status.code == TMAC_OK && errno != ENOENT && errno != ENOTDIR) {
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
    shut(db);
    free(db);
}

const char *tmac_db_path(const tmac_db *db)
{
    return db->path;
}

// One read-only connection over all layers.
//
// A layer that is a file is attached read-only; one that lives in memory (an export, a copy of an older schema) is
// copied. Views of the same names as the tables, which SQLite finds first, join them: by names, because numbers of rows
// are a file's own. In the end an authorizer lets nothing by but reading.
#include "db/reader.h"

#include <stdarg.h>
#include <string.h>

#include "db/store.h"

enum { BUSY_MS = 20000 };

static int only_reading(void *unused, int action, const char *a, const char *b, const char *d,
                        const char *e)
{
    (void)unused, (void)b, (void)d, (void)e;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_PRAGMA:
        return sqlite3_stricmp(a, "table_info") == 0 || sqlite3_stricmp(a, "index_list") == 0
                   ? SQLITE_OK
                   : SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

static tmac_status fail(sqlite3 *reader, const tmac_db *db)
{
    return tmac_fail(TMAC_IO, "%s: %s while opening it to be looked into", db->path,
                     sqlite3_errmsg(reader));
}

// The name under which the layer's own connection has its file; "" when it lives in memory.
static const char *file_of(const tmac_db *db)
{
    const char *name = sqlite3_db_filename(db->sqlite, "main");
    return name ? name : "";
}

static tmac_status copy(sqlite3 *reader, const char *as, const tmac_db *db)
{
    sqlite3_backup *backup = sqlite3_backup_init(reader, as, db->sqlite, "main");
    if (!backup) return fail(reader, db);
    const int code = sqlite3_backup_step(backup, -1);
    sqlite3_backup_finish(backup);
    return code == SQLITE_DONE ? tmac_ok() : fail(reader, db);
}

// As the layer's own connection was opened: with its locks, and immutable if that was.
static char *uri_of(const tmac_db *db)
{
    const char *file = file_of(db);
    sqlite3_vfs *vfs = NULL;
    sqlite3_str *uri = sqlite3_str_new(NULL);
    sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_VFS_POINTER, (void *)&vfs);
    sqlite3_str_appendall(uri, "file:");
    for (const char *c = file; *c; c++)
        sqlite3_str_appendf(uri, strchr("?#%", *c) ? "%%%02X" : "%c", (unsigned char)*c);
    sqlite3_str_appendall(uri, "?mode=ro");
    if (vfs) sqlite3_str_appendf(uri, "&vfs=%s", vfs->zName);
    if (sqlite3_uri_boolean(file, "immutable", 0)) sqlite3_str_appendall(uri, "&immutable=1");
    return sqlite3_str_finish(uri);
}

static tmac_status run(sqlite3 *reader, const tmac_db *db, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *sql = sqlite3_vmprintf(format, arguments);
    va_end(arguments);
    if (!sql) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a query");
    const int code = sqlite3_exec(reader, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return code == SQLITE_OK ? tmac_ok() : fail(reader, db);
}

static tmac_status attach(sqlite3 *reader, const char *as, const tmac_db *db)
{
    if (!*file_of(db)) {
        TMAC_TRY(run(reader, db, "ATTACH ':memory:' AS %s", as));
        return copy(reader, as, db);
    }
    char *uri = uri_of(db);
    if (!uri) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a path");
    tmac_status status = run(reader, db, "ATTACH %Q AS %s", uri, as);
    sqlite3_free(uri);
    return status;
}

// The views over all layers: how a row of each is selected in one layer, and what is done with all of them.
static const struct {
    const char *name, *before, *each, *after;
} views[] = {
    // A record has the same bytes wherever it is.
    {"record", "", "SELECT name, kind, version, bytes FROM %s.record r WHERE 1", ""},
    // Rows of which a layer knows the name alone are filled in from another.
    {"host", "SELECT name, max(isa) AS isa, max(class) AS class FROM (",
     "SELECT name, isa, class FROM %s.host", ") GROUP BY name"},
    {"variant", "SELECT name, max(kernel) AS kernel, max(binary_id) AS binary_id FROM (",
     "SELECT name, kernel, binary_id FROM %s.variant", ") GROUP BY name"},
    {"problem",
     "SELECT name, max(set_key) AS set_key, max(bucket) AS bucket, max(threads) AS threads FROM (",
     "SELECT name, set_key, bucket, threads FROM %s.problem", ") GROUP BY name"},
    {"run",
     "SELECT name, max(host) AS host, max(threads) AS threads, max(started) AS started,"
     " max(bandwidth) AS bandwidth FROM (",
     "SELECT name, host, threads, started, bandwidth FROM %s.run", ") GROUP BY name"},
    {"trial", "",
     "SELECT name, host, problem, variant, run, rigor, outcome, passes, samples, median_ns, mad_ns"
     " FROM %s.trial r WHERE 1",
     ""},
};

static const char winner[] =
    "CREATE TEMP VIEW winner AS SELECT t.host AS host, p.set_key AS input_set, p.bucket AS bucket,"
    " p.threads AS threads, v.kernel AS kernel, min(t.median_ns / t.passes) AS ns"
    " FROM temp.trial t JOIN temp.problem p ON p.name = t.problem JOIN temp.variant v"
    " ON v.name = t.variant WHERE t.outcome = 'ok' GROUP BY t.host, t.problem";

// What a layer is called in SQL.
static void schema_of(const tmac_db *db, uint32_t i, char label[TMAC_LAYER_LABEL])
{
    tmac_layer_label(db, i, label);
    if (i == 0) strcpy(label, "main");
}

static const tmac_db *layer_of(const tmac_db *db, uint32_t i)
{
    return i ? db->layers[i - 1] : db;
}

static char *view_of(const tmac_db *db, size_t v)
{
    char label[TMAC_LAYER_LABEL];
    bool first = true;
    sqlite3_str *sql = sqlite3_str_new(NULL);
    sqlite3_str_appendf(sql, "CREATE TEMP VIEW %s AS %s", views[v].name, views[v].before);
    for (uint32_t i = 0; i <= db->layer_count; i++) {
        if (!layer_of(db, i)->sqlite) continue;
        schema_of(db, i, label);
        sqlite3_str_appendall(sql, first ? "" : " UNION ALL ");
        sqlite3_str_appendf(sql, views[v].each, label);
        first = false;
        // Ungrouped: what an earlier layer has is left out.
        for (uint32_t earlier = 0; earlier < i && !*views[v].before; earlier++) {
            if (!layer_of(db, earlier)->sqlite) continue;
            schema_of(db, earlier, label);
            sqlite3_str_appendf(sql,
                                " AND NOT EXISTS (SELECT 1 FROM %s.%s e WHERE e.name = r.name)",
                                label, views[v].name);
        }
    }
    sqlite3_str_appendall(sql, views[v].after);
    return sqlite3_str_finish(sql);
}

static tmac_status join_layers(sqlite3 *reader, const tmac_db *db)
{
    char label[TMAC_LAYER_LABEL];
    for (uint32_t i = 1; i <= db->layer_count; i++) {
        if (!layer_of(db, i)->sqlite) continue;
        schema_of(db, i, label);
        TMAC_TRY(attach(reader, label, layer_of(db, i)));
    }
    for (size_t v = 0; v < sizeof views / sizeof views[0]; v++) {
        char *sql = view_of(db, v);
        if (!sql) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a view");
        tmac_status status = run(reader, db, "%s", sql);
        sqlite3_free(sql);
        TMAC_TRY(status);
    }
    TMAC_TRY(run(reader, db, "%s", winner));
    sqlite3_str *list = sqlite3_str_new(NULL);
    sqlite3_str_appendall(list, "CREATE TEMP VIEW layer AS ");
    for (uint32_t i = 0; i <= db->layer_count; i++) {
        schema_of(db, i, label);
        sqlite3_str_appendf(list, "%sSELECT %Q AS name, %Q AS path", i ? " UNION ALL " : "", label,
                            i ? layer_of(db, i)->source : db->path);
    }
    char *sql = sqlite3_str_finish(list);
    if (!sql) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a view");
    tmac_status status = run(reader, db, "%s", sql);
    sqlite3_free(sql);
    return status;
}

static tmac_status prepare(sqlite3 *reader, const tmac_db *db, bool memory)
{
    sqlite3_busy_timeout(reader, BUSY_MS);
    if (memory && db->sqlite) TMAC_TRY(copy(reader, "main", db));
    if (db->layer_count > 0) TMAC_TRY(join_layers(reader, db));
    TMAC_TRY(run(reader, db, "PRAGMA query_only = 1; PRAGMA trusted_schema = 0;"));
    if (sqlite3_db_config(reader, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL) != SQLITE_OK ||
        sqlite3_set_authorizer(reader, only_reading, NULL) != SQLITE_OK)
        return fail(reader, db);
    return tmac_ok();
}

tmac_status tmac_db_reader(const tmac_db *db, sqlite3 **reader)
{
    *reader = NULL;
    bool exists = db->sqlite != NULL;
    for (uint32_t i = 0; i < db->layer_count; i++)
        exists |= db->layers[i]->sqlite != NULL;
    if (!exists) return tmac_fail(TMAC_NOT_FOUND, "%s: no such database", db->path);
    const bool memory = !db->sqlite || !*file_of(db);
    char *uri = memory ? NULL : uri_of(db);
    if (!memory && !uri) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a path");
    // Each file is opened read-only by its URI: the connection has views of its own.
    const int code = sqlite3_open_v2(memory ? ":memory:" : uri, reader,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, NULL);
    sqlite3_free(uri);
    tmac_status status = code == SQLITE_OK ? tmac_ok() : fail(*reader, db);
    if (status.code == TMAC_OK &&
        (int)db->layer_count > sqlite3_limit(*reader, SQLITE_LIMIT_ATTACHED, -1))
        status = tmac_fail(
            TMAC_UNSUPPORTED,
            "%d databases at most are looked into together by SQL; name fewer with --fleet",
            sqlite3_limit(*reader, SQLITE_LIMIT_ATTACHED, -1) + 1);
    if (status.code == TMAC_OK) status = prepare(*reader, db, memory);
    if (status.code == TMAC_OK) return status;
    sqlite3_close(*reader);
    *reader = NULL;
    return status;
}

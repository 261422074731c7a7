// Private to db/: the handle, statements, and the index that is built over records.
#ifndef TMAC_DB_STORE_H
#define TMAC_DB_STORE_H

#include <sqlite3.h>

#include "db/db.h"
#include "db/fleet.h"

// Statements that are prepared once for a handle. Their texts: db/index.c and db/plan.c.
typedef enum tmac_sql {
    TMAC_SQL_RECORD,
    TMAC_SQL_HOST,
    TMAC_SQL_VARIANT,
    TMAC_SQL_PROBLEM,
    TMAC_SQL_RUN,
    TMAC_SQL_TRIAL,
    TMAC_SQL_TALLY,
    TMAC_SQL_HOST_ID,
    TMAC_SQL_VARIANT_ID,
    TMAC_SQL_PROBLEM_ID,
    TMAC_SQL_RUN_ID,
    TMAC_SQL_FIGURES,
    TMAC_SQL_VARIANT_OF,
    TMAC_SQL_STARTED,
    TMAC_SQL_BANDWIDTH,
    TMAC_SQL_DONORS,
    TMAC_SQL_STATE,
    TMAC_SQL_OBJECT,
    TMAC_SQL_JUDGEMENT,
    TMAC_SQL_JUDGEMENTS,
    TMAC_SQL_PRESENT,
    TMAC_SQL_COUNT,
} tmac_sql;

enum {
    TMAC_DB_SCHEMA = 3,
    TMAC_DB_KEY_BYTES = 160,
    TMAC_DB_CLASS_BYTES = 160,
    TMAC_DB_LAYERS = 16,
    TMAC_DB_NAME_CACHE = 4096,
    TMAC_DB_VARIANT_CACHE = 1024,
    TMAC_DB_RUN_CACHE = 64,
};

// What a handle remembers beside the file; none of it is the database's content.
typedef struct tmac_caches {
    sqlite3_stmt *statements[TMAC_SQL_COUNT];
    // Local numbers of names met lately: direct-mapped by the first bits of a name, one table for each kind.
    struct {
        char hex[TMAC_HASH_HEX];
        int64_t id;
    } names[4][TMAC_DB_NAME_CACHE];
    // This program's kernels by binary id, ascending; built again when the registry grows.
    struct tmac_machine_code {
        char binary_id[TMAC_HASH_HEX];
        const tmac_kernel *kernel;
    } * codes;
    size_t code_count;
    // Which of them a variant's row is, one more than its place, 0 for none: direct-mapped by the row's number.
    struct {
        int64_t variant; // 0: nothing remembered
        size_t place;
    } variants[TMAC_DB_VARIANT_CACHE];
    // When runs began: in the same way.
    struct {
        int64_t run, started;
    } runs[TMAC_DB_RUN_CACHE];
} tmac_caches;

struct tmac_db {
    sqlite3 *sqlite; // NULL while the file does not exist
    tmac_db_mode mode;
    char path[TMAC_DB_PATH_BYTES];
    char source
        [TMAC_DB_PATH_BYTES]; // of a layer: the file it was read from; an export's is not its path
    bool system;              // the layer that belongs to the machine
    tmac_caches *caches;
    struct tmac_db *layers[TMAC_DB_LAYERS]; // looked up together with this one; owned
    uint32_t layer_count;
};

// What layer i of a database is called, 0 being itself: "own", "system", "fleet1", ...
enum { TMAC_LAYER_LABEL = 16 };
void tmac_layer_label(const tmac_db *db, uint32_t i, char label[TMAC_LAYER_LABEL]);

// Where a trial came from: later ones in this list are never turned back into earlier ones.
typedef enum tmac_origin {
    TMAC_ORIGIN_IMPORTED,
    TMAC_ORIGIN_MERGED, // from a database that the user declared his own
    TMAC_ORIGIN_HERE,   // measured by this program on this host
} tmac_origin;

// Opens the file for writing if it is not open yet: creates folder, file and schema.
tmac_status tmac_store_ensure(tmac_db *db);

// A database in memory, with schema.
tmac_status tmac_store_memory(const char *label, tmac_db **db);

// Translates what SQLite says, with the path and what we were doing.
tmac_status tmac_store_fail(const tmac_db *db, int code, const char *doing);

// Prepares a statement; NULL in *statement when it fails.
tmac_status tmac_store_prepare(const tmac_db *db, const char *sql, sqlite3_stmt **statement);

// A statement kept with the handle: ready to be bound; not finalized by the caller, but reset when it is done with it,
// because a statement in mid-flight holds a lock.
tmac_status tmac_store_cached(const tmac_db *db, tmac_sql which, const char *sql,
                              sqlite3_stmt **statement);

// Runs statements without results.
tmac_status tmac_store_execute(const tmac_db *db, const char *sql, const char *doing);

// A transaction that holds the right to write from its beginning.
tmac_status tmac_store_begin(const tmac_db *db);
tmac_status tmac_store_commit(const tmac_db *db,
                              tmac_status status); // rolls back unless status is TMAC_OK

// A text column, "" for NULL.
const char *tmac_store_text(sqlite3_stmt *statement, int column);

// Hands each row of a query to a reader.
typedef tmac_status (*tmac_row_reader)(sqlite3_stmt *row, void *into);
tmac_status tmac_store_each(const tmac_db *db, const char *sql, tmac_row_reader reader, void *into);

// Stores one record that is known to be canonical, with its index rows. Inside the caller's transaction. *added: it was
// not there.
tmac_status tmac_store_record(const tmac_db *db, const char *name, const char *kind,
                              uint32_t version, const char *bytes, size_t count, tmac_origin origin,
                              bool *added);

// Adds a record to the index tables, when its kind and version are known. Inside the caller's transaction.
tmac_status tmac_index_record(const tmac_db *db, int64_t id, const char *name, const char *text,
                              size_t bytes, tmac_origin origin);

// The path of a seal's names: calls `each` with the 64 hexadecimal digits of every trial it names.
void tmac_seal_names(const tmac_record *seal, void (*each)(const char *hex, void *into),
                     void *into);

void tmac_record_name(const char *bytes, size_t count, char hex[TMAC_HASH_HEX]);

// The kernel of this program with this name and machine code; NULL when there is none.
const tmac_kernel *tmac_usable_kernel(const tmac_db *db, const char *name, const char *binary_id);

// The key under which all buckets and thread counts of an input set are found, and back.
void tmac_set_key(const tmac_input_set *set, char key[TMAC_DB_KEY_BYTES]);
bool tmac_set_of_key(const char *key, tmac_input_set *set);

// The host's record, its name, and the two facts that hosts share.
void tmac_host_record(const tmac_host *host, tmac_record *record);
tmac_status tmac_host_name(const tmac_host *host, tmac_db_name *name);
void tmac_host_class(const tmac_record *record, char class[TMAC_DB_CLASS_BYTES]);

#endif

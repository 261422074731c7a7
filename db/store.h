// Private to db/: the handle, statements, and the index that is built over records.
#ifndef TMAC_DB_STORE_H
#define TMAC_DB_STORE_H

#include <sqlite3.h>

#include "db/db.h"

struct tmac_db {
    sqlite3 *sqlite; // NULL while the file does not exist
    tmac_db_mode mode;
    char path[TMAC_DB_PATH_BYTES];
};

enum { TMAC_DB_SCHEMA = 1, TMAC_DB_KEY_BYTES = 160, TMAC_DB_CLASS_BYTES = 160 };

// Opens the file for writing if it is not open yet: creates folder, file and schema.
tmac_status tmac_store_ensure(tmac_db *db);

// Translates what SQLite says, with the path and what we were doing.
tmac_status tmac_store_fail(const tmac_db *db, int code, const char *doing);

// Prepares a statement; NULL in *statement when it fails.
tmac_status tmac_store_prepare(const tmac_db *db, const char *sql, sqlite3_stmt **statement);

// A text column, "" for NULL.
const char *tmac_store_text(sqlite3_stmt *statement, int column);

// Adds a record to the index tables, when its kind and version are known. Inside the caller's transaction.
tmac_status tmac_index_record(const tmac_db *db, const char *name, const char *text, size_t bytes);

// The key under which all buckets and thread counts of an input set are found, and back.
void tmac_set_key(const tmac_input_set *set, char key[TMAC_DB_KEY_BYTES]);
bool tmac_set_of_key(const char *key, tmac_input_set *set);

// The host's record, its name, and the two facts that hosts share.
void tmac_host_record(const tmac_host *host, tmac_record *record);
tmac_status tmac_host_name(const tmac_host *host, tmac_db_name *name);
void tmac_host_class(const tmac_record *record, char class[TMAC_DB_CLASS_BYTES]);

#endif

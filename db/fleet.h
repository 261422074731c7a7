// What leaves a database and what enters it: exports, imports, merges, seals, layers, upkeep.
//
//   tmac_db_seal      signs what was measured here with the user's key
//   tmac_db_export    one canonical file: same content, same bytes
//   tmac_db_import    takes over an export or another database: a union of sets of records
//   tmac_db_retrust   decides again what may be used, after keys have changed
//   tmac_db_add_layer looks up another file together with this database
//
// Import stores every record, and uses a trial only when a trusted signer sealed it. What is not used is kept, exported
// and counted; it becomes usable when its signer is trusted. Trust and garbage collection are local: they never travel.
#ifndef TMAC_DB_FLEET_H
#define TMAC_DB_FLEET_H

#include "db/db.h"
#include "db/keys.h"

// Whether trials may be used, and why not.
typedef enum tmac_state {
    TMAC_STATE_USABLE,
    TMAC_STATE_UNSIGNED,
    TMAC_STATE_UNKNOWN_SIGNER,
    TMAC_STATE_REVOKED,
    TMAC_STATE_INEXACT, // its kernel gave wrong results here
    TMAC_STATE_DOUBTED, // its kernel was measured here, and the figure is another
    TMAC_STATES,
} tmac_state;
const char *tmac_state_name(tmac_state state);

// Large bytes beside the records: compiled kernels, named by their SHA-256, which an `artifact` record gives in its field
// `object`. The record is signed (db/keys.h); the bytes are what they are named.
tmac_status tmac_db_put_object(tmac_db *db, const void *bytes, size_t count, tmac_db_name *name);
// malloc'ed, the caller frees; TMAC_NOT_FOUND when there is none, TMAC_BAD_FILE when it is not what its name says.
tmac_status tmac_db_get_object(const tmac_db *db, const char *hex, uint8_t **bytes, size_t *count);

// Seals every run that was measured here and has trials not yet sealed by the user's key, which is made when there is
// something to seal and no key. *sealed counts the trials. Doing it again adds nothing.
tmac_status tmac_db_seal(tmac_db *db, uint64_t *sealed);

typedef struct tmac_db_traffic {
    uint64_t records, objects;         // in the file
    uint64_t new_records, new_objects; // that the database did not have
    uint64_t seals,
        bad_seals; // in the file; bad: the signature does not fit, the seal is worth nothing
    uint64_t trials, states[TMAC_STATES]; // of the whole database after import
    char digest[TMAC_HASH_HEX];           // of an export: the last word of the file
} tmac_db_traffic;

// Writes the whole content to a file ("-": standard output), with compiled kernels or without.
tmac_status tmac_db_export(const tmac_db *db, const char *path, bool objects,
                           tmac_db_traffic *traffic);

// Checks a file completely: form, names, digest, seals; against the keys beside db_path when that is not NULL.
tmac_status tmac_db_verify_export(const char *path, tmac_db_traffic *traffic);

// Checks all of a database: SQLite's own check, names, objects, seals, and that the index says what the records say.
tmac_status tmac_db_verify(const tmac_db *db, tmac_db_traffic *traffic);

// Takes over an export or a database. A file with anything wrong in it is refused before anything is stored. own: the
// user vouches for it (his own databases): trials need no signature, and only a revoked signer keeps them from being
// used. Killed at any moment it leaves whole records, none of them usable before its seal was checked.
tmac_status tmac_db_import(tmac_db *db, const char *path, bool own, tmac_db_traffic *traffic);

// Takes one record or object in; used by import and by hubs. Between _begin and _end.
typedef struct tmac_db_intake {
    tmac_db *db;
    bool own;
    uint64_t pending; // since the last commit
    tmac_db_traffic *traffic;
} tmac_db_intake;
tmac_status tmac_db_intake_begin(tmac_db *db, bool own, tmac_db_traffic *traffic,
                                 tmac_db_intake *intake);
tmac_status tmac_db_intake_record(tmac_db_intake *intake, const char *bytes, size_t count,
                                  const char *hex);
tmac_status tmac_db_intake_object(tmac_db_intake *intake, const void *bytes, size_t count,
                                  const char *hex);
tmac_status tmac_db_intake_end(tmac_db_intake *intake, tmac_status status);

// Hands over every record (or object), ascending by name, each checked against its name.
tmac_status tmac_db_each_item(const tmac_db *db, bool object,
                              tmac_status (*each)(void *into, const char *hex, const void *bytes,
                                                  size_t count),
                              void *into);

// Decides for every trial whether it may be used, from seals and keys as they are now.
tmac_status tmac_db_retrust(tmac_db *db, tmac_db_traffic *traffic);

// Imported trials of a kernel are not used any more: a check on this host failed. state: INEXACT or DOUBTED; problem NULL:
// all problems.
tmac_status tmac_db_refute(tmac_db *db, const tmac_kernel *kernel, const tmac_db_name *problem,
                           tmac_state state);

// Every kernel of this program that imported trials speak for: *kernels is malloc'ed, the caller frees it.
tmac_status tmac_db_imported_kernels(const tmac_db *db, const tmac_kernel ***kernels,
                                     size_t *count);

// Problems that usable imported trials speak about, those of most trials first: *claims is malloc'ed, the caller frees it.
typedef struct tmac_db_claim {
    tmac_db_name problem;
    tmac_input_set set;
    uint32_t threads, bucket;
} tmac_db_claim;
tmac_status tmac_db_imported_problems(const tmac_db *db, tmac_db_claim **claims, size_t *count);

// Looks up an export or a database together with db. optional: an absent file is no error.
tmac_status tmac_db_add_layer(tmac_db *db, const char *path, bool optional);
// The database, the system's ($TMAC_SYSTEM_DB, else /usr/share/tmac/tune.db), and those of `fleet`, separated by ':'.
tmac_status tmac_db_open_layers(const char *path, const char *fleet, tmac_db **db);

// Drops what no lookup can use any more: trials that a better-founded one of the same host, problem and machine code
// replaces, objects that no artifact names, and trials refused by a check here. Records of unknown kinds stay. What is
// dropped comes back when it is imported again.
typedef struct tmac_db_garbage {
    uint64_t superseded, refuted, objects;
    uint64_t bytes_before, bytes_after;
} tmac_db_garbage;
tmac_status tmac_db_collect(tmac_db *db, bool dry, tmac_db_garbage *garbage);

#endif

// Kernels that were compiled on a host, in the database: an `artifact` record for each shared object, signed by who made it,
// and the object's bytes (runtime/kernel_set.h).
//
//   arch, abi, compiler    what it is for, and what made it
//   object                 the SHA-256 of the bytes
//   shapes                 "2560/2560 6912/6912": columns and scale groups
//   kernel0, kernel1 ...   "NAME BINARY_ID"
//   by, signature          db/keys.h
//
// Nothing of an object is executed, and it is not even opened, unless a signer who is trusted here signed its record and
// the bytes are the ones the record names.
#ifndef TMAC_DB_KERNELS_H
#define TMAC_DB_KERNELS_H

#include "db/fleet.h"

enum { TMAC_ARTIFACT_KERNELS = 16 }; // in one object at most

// Opens a shared object that this program has just made or read, checks its table, and adds its kernels to the registry
// under their names with the first digits of their binary ids: "..._k2560_3fa9c1". Kernels that are there already
// are passed over. *added counts. Before threads start.
tmac_status tmac_kernels_open(const void *bytes, size_t count, uint32_t *added);

typedef struct tmac_db_loaded {
    uint32_t kernels;   // added to the registry
    uint32_t untrusted; // objects that nobody trusted here signed: not opened
    uint32_t
        unusable; // objects that are absent, damaged, or do not open: the last reason is in `why`
    char why[160];
    char signer[TMAC_KEY_TEXT]; // of the last untrusted one; "" where nobody signed
} tmac_db_loaded;

// Opens every object of the database and its layers that has kernels for one of these sets, or for any when count is 0.
// What cannot be used is counted and is no error. Call it before the database is asked for a plan, and before
// threads start.
tmac_status tmac_db_load_kernels(const tmac_db *db, const tmac_input_set *sets, uint32_t count,
                                 tmac_db_loaded *loaded);

// Signs and stores an object whose kernels are in the registry.
tmac_status tmac_db_put_kernels(tmac_db *db, const void *bytes, size_t count, const char *compiler);

#endif

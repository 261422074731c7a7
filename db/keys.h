// Ed25519 keys: whose measurements and compiled kernels are believed here.
//
// Two files lie in the folder of a database. They are local: never exported, never merged.
//
//   tmac.key       the user's own secret key, base64 of 64 bytes, one line, mode 0600; made on first use
//   trusted.keys   one signer a line: "trusted KEY NAME" or "revoked KEY NAME"; '#' begins a comment
//
// KEY is the public key, base64 of 32 bytes. The own key is trusted unless the file revokes it.
#ifndef TMAC_DB_KEYS_H
#define TMAC_DB_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "db/record.h"

enum {
    TMAC_KEY_BYTES = 32,
    TMAC_KEY_TEXT = 45, // base64 of a public key, NUL included
    TMAC_SIGNATURE_BYTES = 64,
    TMAC_SIGNATURE_TEXT = 89,
    TMAC_KEY_NAME_BYTES = 64,
};

typedef struct tmac_public_key {
    uint8_t bytes[TMAC_KEY_BYTES];
} tmac_public_key;

typedef struct tmac_key_pair {
    tmac_public_key public_key;
    uint8_t secret[64];
} tmac_key_pair;

void tmac_key_text(const tmac_public_key *key, char text[TMAC_KEY_TEXT]);
// TMAC_USAGE when it is no base64 of 32 bytes.
tmac_status tmac_key_parse(const char *text, tmac_public_key *key);

// The own key that belongs to the database at db_path. create: makes it (and its folder) when there is none; else
// TMAC_NOT_FOUND. A key file that others may read is refused.
tmac_status tmac_key_own(const char *db_path, bool create, tmac_key_pair *pair);

// Makes a new own key although there is one; the old public key stays trusted, its secret is overwritten.
tmac_status tmac_key_renew(const char *db_path, tmac_key_pair *pair);

// ------------------------------------------------------------------------------------------------------------- trust

typedef enum tmac_trust {
    TMAC_TRUST_UNKNOWN,
    TMAC_TRUST_TRUSTED, // listed so
    TMAC_TRUST_OWN,     // the own key
    TMAC_TRUST_REVOKED,
} tmac_trust;
const char *tmac_trust_name(tmac_trust trust);

typedef struct tmac_signer {
    tmac_public_key key;
    tmac_trust trust;
    char name[TMAC_KEY_NAME_BYTES];
} tmac_signer;

typedef struct tmac_keyring {
    tmac_signer *signers;
    size_t count;
} tmac_keyring;

// Reads both files; absent ones count as empty. The caller frees the ring.
tmac_status tmac_keyring_load(const char *db_path, tmac_keyring *ring);
void tmac_keyring_free(tmac_keyring *ring);
tmac_trust tmac_keyring_trust(const tmac_keyring *ring, const tmac_public_key *key);

// Lists a signer as trusted or revoked; name NULL keeps the one that is there. Replaces the file by rename.
tmac_status tmac_keyring_set(const char *db_path, const tmac_public_key *key, tmac_trust trust,
                             const char *name);

// ---------------------------------------------------------------------------------------------------- signed records

// A signed record has the fields `by` (the public key) and `signature`: Ed25519 over "tmac record\n" and the SHA-256
// of its canonical text without the field `signature`. Ed25519 is deterministic: signing twice gives one record.
tmac_status tmac_record_sign(tmac_record *record, const tmac_key_pair *pair);

// Whether the record is signed, and correctly. *key is who signed. TMAC_NOT_FOUND: unsigned; TMAC_BAD_FILE: the signature
// does not fit.
tmac_status tmac_record_signer(const tmac_record *record, tmac_public_key *key);

#endif

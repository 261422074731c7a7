// SHA-256, through libsodium: names of immutable records, checks on files, fingerprints of logits.
#ifndef TMAC_BASE_HASH_H
#define TMAC_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include <sodium/crypto_hash_sha256.h>

enum { TMAC_HASH_BYTES = 32, TMAC_HASH_HEX = 65 };

typedef crypto_hash_sha256_state tmac_hash_state;

void tmac_hash_begin(tmac_hash_state *state);
void tmac_hash_add(tmac_hash_state *state, const void *data, size_t bytes);
void tmac_hash_end(tmac_hash_state *state, uint8_t digest[TMAC_HASH_BYTES]);

// In one call.
void tmac_hash(const void *data, size_t bytes, uint8_t digest[TMAC_HASH_BYTES]);

// Lower-case hexadecimal of a digest, NUL included.
void tmac_hash_hex(const uint8_t digest[TMAC_HASH_BYTES], char hex[TMAC_HASH_HEX]);

#endif

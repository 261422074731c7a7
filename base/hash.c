#include "base/hash.h"

#include <sodium.h>

void tmac_hash_begin(tmac_hash_state *state)
{
    crypto_hash_sha256_init(state);
}

void tmac_hash_add(tmac_hash_state *state, const void *data, size_t bytes)
{
    crypto_hash_sha256_update(state, data, bytes);
}

void tmac_hash_end(tmac_hash_state *state, uint8_t digest[TMAC_HASH_BYTES])
{
    crypto_hash_sha256_final(state, digest);
}

void tmac_hash(const void *data, size_t bytes, uint8_t digest[TMAC_HASH_BYTES])
{
    crypto_hash_sha256(digest, data, bytes);
}

void tmac_hash_hex(const uint8_t digest[TMAC_HASH_BYTES], char hex[TMAC_HASH_HEX])
{
    sodium_bin2hex(hex, TMAC_HASH_HEX, digest, TMAC_HASH_BYTES);
}

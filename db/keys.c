// Keys, trust, signatures: libsodium's Ed25519 and two small text files.
#include "db/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/hash.h"

enum { PATH_BYTES = 1100, LINE_BYTES = 256 };

static tmac_status start_sodium(void)
{
    return sodium_init() < 0 ? tmac_fail(TMAC_INTERNAL, "libsodium does not start") : tmac_ok();
}

// The file beside the database; makes the folder when `create`.
static tmac_status beside(const char *db_path, const char *file, bool create, char path[PATH_BYTES])
{
    const char *slash = strrchr(db_path, '/');
    size_t folder = slash ? (size_t)(slash - db_path) + 1 : 0;
    if (folder + strlen(file) >= PATH_BYTES)
        return tmac_fail(TMAC_USAGE, "the path of the database is too long");
    memcpy(path, db_path, folder);
    if (create) TMAC_TRY(tmac_folder_make_above(db_path, 0755));
    strcpy(path + folder, file);
    return tmac_ok();
}

void tmac_key_text(const tmac_public_key *key, char text[TMAC_KEY_TEXT])
{
    sodium_bin2base64(text, TMAC_KEY_TEXT, key->bytes, TMAC_KEY_BYTES,
                      sodium_base64_VARIANT_ORIGINAL);
}

// Exactly `room` bytes in their one spelling.
static bool decode(const char *text, size_t length, uint8_t *bytes, size_t room)
{
    size_t count = 0;
    const char *end = NULL;
    char again[4 * 64 / 3 + 8];
    if (sodium_base642bin(bytes, room, text, length, NULL, &count, &end,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        count != room || end != text + length)
        return false;
    sodium_bin2base64(again, sizeof again, bytes, room, sodium_base64_VARIANT_ORIGINAL);
    return strlen(again) == length && memcmp(again, text, length) == 0;
}

tmac_status tmac_key_parse(const char *text, tmac_public_key *key)
{
    if (!decode(text, strlen(text), key->bytes, TMAC_KEY_BYTES))
        return tmac_fail(TMAC_USAGE,
                         "'%.60s' is no public key: 44 characters of base64, as `tmac-db key "
                         "list` shows them",
                         text);
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- own key

static tmac_status read_secret(const char *path, tmac_key_pair *pair)
{
    char text[LINE_BYTES];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT
                   ? tmac_fail(TMAC_NOT_FOUND, "%s: no key yet; `tmac-db key new`", path)
                   : tmac_fail(TMAC_IO, "%s: %s", path, strerror(errno));
    struct stat facts;
    ssize_t got = -1;
    if (fstat(file, &facts) == 0) got = read(file, text, sizeof text - 1);
    close(file);
    if (got < 0) return tmac_fail(TMAC_IO, "%s: cannot be read", path);
    if (facts.st_mode & 077)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "%s: a secret key that others may read; chmod 600 it, or make a new one",
                         path);
    while (got > 0 && text[got - 1] == '\n')
        got--;
    bool good = decode(text, (size_t)got, pair->secret, sizeof pair->secret);
    sodium_memzero(text, sizeof text);
    if (!good) return tmac_fail(TMAC_BAD_FILE, "%s: no secret key", path);
    crypto_sign_ed25519_sk_to_pk(pair->public_key.bytes, pair->secret);
    return tmac_ok();
}

// Written beside and linked into place, so that of two who make the first key at once one wins and both use it.
static tmac_status write_secret(const char *path, bool replace, tmac_key_pair *pair)
{
    char temporary[PATH_BYTES + 24], text[LINE_BYTES];
    snprintf(temporary, sizeof temporary, "%s.tmp.%ld", path, (long)getpid());
    crypto_sign_keypair(pair->public_key.bytes, pair->secret);
    sodium_bin2base64(text, sizeof text, pair->secret, sizeof pair->secret,
                      sodium_base64_VARIANT_ORIGINAL);
    size_t length = strlen(text);
    text[length++] = '\n';
    unlink(temporary);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = file >= 0 && write(file, text, length) == (ssize_t)length && fsync(file) == 0;
    int why = errno;
    if (file >= 0) close(file);
    sodium_memzero(text, sizeof text);
    bool taken = false;
    if (good && replace) {
        good = rename(temporary, path) == 0;
        why = errno;
    } else if (good) {
        good = link(temporary, path) == 0;
        why = errno;
        taken = !good && why == EEXIST;
    }
    unlink(temporary);
    if (taken) return read_secret(path, pair);
    return good ? tmac_ok() : tmac_fail(TMAC_IO, "%s: cannot write a key: %s", path, strerror(why));
}

tmac_status tmac_key_own(const char *db_path, bool create, tmac_key_pair *pair)
{
    char path[PATH_BYTES];
    TMAC_TRY(start_sodium());
    TMAC_TRY(beside(db_path, "tmac.key", create, path));
    tmac_status status = read_secret(path, pair);
    return create && status.code == TMAC_NOT_FOUND ? write_secret(path, false, pair) : status;
}

tmac_status tmac_key_renew(const char *db_path, tmac_key_pair *pair)
{
    char path[PATH_BYTES];
    TMAC_TRY(start_sodium());
    TMAC_TRY(beside(db_path, "tmac.key", true, path));
    tmac_key_pair old;
    tmac_status status = read_secret(path, &old);
    if (status.code == TMAC_OK) {
        tmac_keyring ring;
        TMAC_TRY(tmac_keyring_load(db_path, &ring));
        tmac_trust trust = tmac_keyring_trust(&ring, &old.public_key);
        tmac_keyring_free(&ring);
        if (trust == TMAC_TRUST_OWN)
            TMAC_TRY(tmac_keyring_set(db_path, &old.public_key, TMAC_TRUST_TRUSTED,
                                      "an earlier key of this user"));
    } else if (status.code != TMAC_NOT_FOUND) {
        return status;
    }
    return write_secret(path, true, pair);
}

// ------------------------------------------------------------------------------------------------------------ trust

const char *tmac_trust_name(tmac_trust trust)
{
    static const char *const names[] = {"unknown", "trusted", "own", "revoked"};
    return (unsigned)trust < 4 ? names[trust] : "?";
}

static tmac_signer *find(const tmac_keyring *ring, const tmac_public_key *key)
{
    for (size_t i = 0; i < ring->count; i++)
        if (memcmp(&ring->signers[i].key, key, sizeof *key) == 0) return &ring->signers[i];
    return NULL;
}

static tmac_status add(tmac_keyring *ring, const tmac_public_key *key, tmac_trust trust,
                       const char *name)
{
    tmac_signer *signer = find(ring, key);
    if (!signer) {
        tmac_signer *grown = realloc(ring->signers, (ring->count + 1) * sizeof *grown);
        if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu keys", ring->count + 1);
        ring->signers = grown;
        signer = &grown[ring->count++];
        *signer = (tmac_signer){.key = *key};
    }
    signer->trust = trust;
    if (name) snprintf(signer->name, sizeof signer->name, "%s", name);
    return tmac_ok();
}

static tmac_status read_line(const char *path, unsigned number, char *line, tmac_keyring *ring)
{
    char *rest = line, *word = strsep(&rest, " "), *key_text = rest ? strsep(&rest, " ") : NULL;
    tmac_public_key key;
    if (*line == 0 || *line == '#') return tmac_ok();
    bool trusted = strcmp(word, "trusted") == 0;
    if ((!trusted && strcmp(word, "revoked") != 0) || !key_text ||
        tmac_key_parse(key_text, &key).code != TMAC_OK)
        return tmac_fail(TMAC_BAD_FILE, "%s:%u: expected 'trusted KEY NAME' or 'revoked KEY NAME'",
                         path, number);
    return add(ring, &key, trusted ? TMAC_TRUST_TRUSTED : TMAC_TRUST_REVOKED, rest ? rest : "");
}

static tmac_status load_list(const char *db_path, tmac_keyring *ring)
{
    char path[PATH_BYTES], *line = NULL;
    size_t room = 0;
    ssize_t length;
    TMAC_TRY(beside(db_path, "trusted.keys", false, path));
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT ? tmac_ok() : tmac_fail(TMAC_IO, "%s: %s", path, strerror(errno));
    tmac_status status = tmac_ok();
    for (unsigned n = 1; status.code == TMAC_OK && (length = getline(&line, &room, file)) >= 0;
         n++) {
        if (length > 0 && line[length - 1] == '\n') line[length - 1] = 0;
        status = read_line(path, n, line, ring);
    }
    free(line);
    if (status.code == TMAC_OK && ferror(file)) status = tmac_fail(TMAC_IO, "%s: read error", path);
    fclose(file);
    return status;
}

tmac_status tmac_keyring_load(const char *db_path, tmac_keyring *ring)
{
    *ring = (tmac_keyring){0};
    TMAC_TRY(start_sodium());
    tmac_status status = load_list(db_path, ring);
    tmac_key_pair own;
    if (status.code == TMAC_OK) {
        status = tmac_key_own(db_path, false, &own);
        if (status.code == TMAC_OK) {
            // A revoked own key stays revoked.
            const tmac_signer *listed = find(ring, &own.public_key);
            if (!listed || listed->trust != TMAC_TRUST_REVOKED)
                status = add(ring, &own.public_key, TMAC_TRUST_OWN, "this user");
            sodium_memzero(&own, sizeof own);
        } else if (status.code == TMAC_NOT_FOUND) {
            status = tmac_ok();
        }
    }
    if (status.code != TMAC_OK) tmac_keyring_free(ring);
    return status;
}

void tmac_keyring_free(tmac_keyring *ring)
{
    free(ring->signers);
    *ring = (tmac_keyring){0};
}

tmac_trust tmac_keyring_trust(const tmac_keyring *ring, const tmac_public_key *key)
{
    const tmac_signer *signer = find(ring, key);
    return signer ? signer->trust : TMAC_TRUST_UNKNOWN;
}

tmac_status tmac_keyring_set(const char *db_path, const tmac_public_key *key, tmac_trust trust,
                             const char *name)
{
    char path[PATH_BYTES], text[TMAC_KEY_TEXT];
    tmac_keyring ring = {0};
    tmac_output output;
    if (name && (strpbrk(name, "\r\n") || strlen(name) >= TMAC_KEY_NAME_BYTES))
        return tmac_fail(TMAC_USAGE, "the name of a key is one line of less than %d bytes",
                         TMAC_KEY_NAME_BYTES);
    TMAC_TRY(start_sodium());
    TMAC_TRY(beside(db_path, "trusted.keys", true, path));
    tmac_status status = load_list(db_path, &ring);
    if (status.code == TMAC_OK) status = add(&ring, key, trust, name);
    if (status.code == TMAC_OK) status = tmac_output_open(path, &output);
    if (status.code == TMAC_OK) {
        for (size_t i = 0; i < ring.count; i++) {
            char line[LINE_BYTES];
            tmac_key_text(&ring.signers[i].key, text);
            int length =
                snprintf(line, sizeof line, "%s %s %s\n",
                         ring.signers[i].trust == TMAC_TRUST_REVOKED ? "revoked" : "trusted", text,
                         ring.signers[i].name);
            tmac_output_write(&output, line, (size_t)length);
        }
        status = tmac_output_commit(&output);
    }
    tmac_keyring_free(&ring);
    return status;
}

// --------------------------------------------------------------------------------------------------- signed records

static tmac_status message_of(const tmac_record *record, char message[16 + TMAC_HASH_HEX])
{
    static tmac_record const empty;
    tmac_record *bare = malloc(sizeof *bare);
    if (!bare) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a record");
    *bare = empty;
    tmac_record_begin(bare, record->kind, record->version);
    for (uint32_t i = 0; i < record->count; i++)
        if (strcmp(record->fields[i].key, "signature") != 0)
            tmac_record_string(bare, record->fields[i].key, record->fields[i].value);
    char *text, hex[TMAC_HASH_HEX];
    uint8_t digest[TMAC_HASH_BYTES];
    size_t bytes;
    tmac_status status = tmac_record_text(bare, &text, &bytes);
    free(bare);
    if (status.code != TMAC_OK) return status;
    tmac_hash(text, bytes, digest);
    tmac_hash_hex(digest, hex);
    free(text);
    snprintf(message, 16 + TMAC_HASH_HEX, "tmac record\n%s", hex);
    return tmac_ok();
}

tmac_status tmac_record_sign(tmac_record *record, const tmac_key_pair *pair)
{
    char by[TMAC_KEY_TEXT], text[TMAC_SIGNATURE_TEXT], message[16 + TMAC_HASH_HEX];
    uint8_t signature[TMAC_SIGNATURE_BYTES];
    TMAC_TRY(start_sodium());
    tmac_key_text(&pair->public_key, by);
    tmac_record_string(record, "by", by);
    TMAC_TRY(message_of(record, message));
    crypto_sign_detached(signature, NULL, (const uint8_t *)message, strlen(message), pair->secret);
    sodium_bin2base64(text, sizeof text, signature, sizeof signature,
                      sodium_base64_VARIANT_ORIGINAL);
    tmac_record_string(record, "signature", text);
    return record->overflow
               ? tmac_fail(TMAC_INTERNAL, "a %s record has no room to be signed", record->kind)
               : tmac_ok();
}

tmac_status tmac_record_signer(const tmac_record *record, tmac_public_key *key)
{
    const char *by = tmac_record_get(record, "by"), *text = tmac_record_get(record, "signature");
    char message[16 + TMAC_HASH_HEX];
    uint8_t signature[TMAC_SIGNATURE_BYTES];
    if (!*by && !*text)
        return tmac_fail(TMAC_NOT_FOUND, "a %s record without a signature", record->kind);
    TMAC_TRY(start_sodium());
    if (tmac_key_parse(by, key).code != TMAC_OK ||
        !decode(text, strlen(text), signature, sizeof signature))
        return tmac_fail(TMAC_BAD_FILE, "a %s record with a malformed signature", record->kind);
    TMAC_TRY(message_of(record, message));
    if (crypto_sign_verify_detached(signature, (const uint8_t *)message, strlen(message),
                                    key->bytes) != 0)
        return tmac_fail(TMAC_BAD_FILE,
                         "a %s record whose signature by %s does not fit its content", record->kind,
                         by);
    return tmac_ok();
}

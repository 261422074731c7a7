// Which trials may be used: a function of the seals in the database, the keys beside it, where a trial came from, and
// what was found out about its kernel here. It can be computed again at any time, and is after every import and every
// change of keys.
#include "db/store.h"

#include <stdlib.h>
#include <string.h>

#include "db/stream.h"

const char *tmac_state_name(tmac_state state)
{
    static const char *const names[TMAC_STATES] = {"usable",         "unsigned",
                                                   "unknown signer", "revoked signer",
                                                   "inexact here",   "slower here than claimed"};
    return (unsigned)state < TMAC_STATES ? names[state] : "?";
}

// The best word that was given for a trial; ascending.
typedef enum word { WORD_NONE, WORD_STRANGER, WORD_REVOKED, WORD_TRUSTED } word;

// An open-addressing table from names to words; names are hashes already.
typedef struct words {
    struct {
        uint8_t digest[TMAC_HASH_BYTES];
        word given;
    } * slots;
    size_t count, room; // room is a power of two
    word current;       // what the seal being read gives
    bool full;
} words;

static size_t slot_of(const words *w, const uint8_t digest[TMAC_HASH_BYTES])
{
    size_t at = 0;
    memcpy(&at, digest, sizeof at);
    for (at &= w->room - 1; w->slots[at].given != WORD_NONE; at = (at + 1) & (w->room - 1))
        if (memcmp(w->slots[at].digest, digest, TMAC_HASH_BYTES) == 0) break;
    return at;
}

static bool grow(words *w)
{
    words wider = {.room = w->room ? w->room * 2 : 4096};
    wider.slots = calloc(wider.room, sizeof *wider.slots);
    if (!wider.slots) return false;
    for (size_t i = 0; i < w->room; i++)
        if (w->slots[i].given != WORD_NONE)
            wider.slots[slot_of(&wider, w->slots[i].digest)] = w->slots[i];
    free(w->slots);
    w->slots = wider.slots;
    w->room = wider.room;
    return true;
}

static void give(const char *hex, void *into)
{
    words *w = into;
    char text[TMAC_HASH_HEX];
    uint8_t digest[TMAC_HASH_BYTES];
    memcpy(text, hex, TMAC_HASH_HEX - 1);
    text[TMAC_HASH_HEX - 1] = 0;
    if (w->full || !tmac_digest_of_hex(text, digest)) return;
    if (w->count * 2 >= w->room && !grow(w)) {
        w->full = true;
        return;
    }
    size_t at = slot_of(w, digest);
    if (w->slots[at].given == WORD_NONE) {
        memcpy(w->slots[at].digest, digest, sizeof digest);
        w->count++;
    }
    if (w->current > w->slots[at].given) w->slots[at].given = w->current;
}

typedef struct reading {
    words words;
    const tmac_keyring *ring;
    tmac_db_traffic *traffic;
} reading;

static tmac_status read_seal(sqlite3_stmt *row, void *into)
{
    static const word of_trust[] = {[TMAC_TRUST_UNKNOWN] = WORD_STRANGER,
                                    [TMAC_TRUST_TRUSTED] = WORD_TRUSTED,
                                    [TMAC_TRUST_OWN] = WORD_TRUSTED,
                                    [TMAC_TRUST_REVOKED] = WORD_REVOKED};
    reading *r = into;
    tmac_record record;
    tmac_public_key key;
    const char *bytes = sqlite3_column_blob(row, 0);
    r->traffic->seals++;
    if (!bytes ||
        tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(row, 0), &record).code != TMAC_OK ||
        tmac_record_signer(&record, &key).code != TMAC_OK) {
        r->traffic->bad_seals++;
        return tmac_ok();
    }
    r->words.current = of_trust[tmac_keyring_trust(r->ring, &key)];
    tmac_seal_names(&record, give, &r->words);
    return r->words.full ? tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for seals") : tmac_ok();
}

static tmac_state state_of(tmac_origin origin, tmac_state now, word given)
{
    if (now == TMAC_STATE_INEXACT || now == TMAC_STATE_DOUBTED) return now;
    if (origin == TMAC_ORIGIN_HERE || given == WORD_TRUSTED) return TMAC_STATE_USABLE;
    if (given == WORD_REVOKED) return TMAC_STATE_REVOKED;
    if (origin == TMAC_ORIGIN_MERGED) return TMAC_STATE_USABLE;
    return given == WORD_STRANGER ? TMAC_STATE_UNKNOWN_SIGNER : TMAC_STATE_UNSIGNED;
}

static tmac_status judge(tmac_db *db, const words *w)
{
    sqlite3_stmt *q, *update = NULL;
    TMAC_TRY(tmac_store_prepare(db,
                                // In the order of records, which are far larger.
                                "SELECT m.record, r.name, m.origin, m.state, m.problem, m.host FROM"
                                " (SELECT record, origin, state, problem, host FROM measurement"
                                "  NOT INDEXED WHERE origin < 2 ORDER BY record LIMIT -1) m"
                                " CROSS JOIN record r ON r.id = m.record",
                                &q));
    tmac_status status = tmac_store_prepare(
        db, "UPDATE measurement SET state = ? WHERE record = ? AND problem = ? AND host = ?",
        &update);
    int code = SQLITE_DONE;
    while (status.code == TMAC_OK && (code = sqlite3_step(q)) == SQLITE_ROW) {
        uint8_t digest[TMAC_HASH_BYTES];
        word given = WORD_NONE;
        if (w->room && tmac_digest_of_hex(tmac_store_text(q, 1), digest))
            given = w->slots[slot_of(w, digest)].given;
        const tmac_state now = (tmac_state)sqlite3_column_int(q, 3);
        const tmac_state next = state_of((tmac_origin)sqlite3_column_int(q, 2), now, given);
        if (next == now) continue;
        sqlite3_bind_int(update, 1, (int)next);
        sqlite3_bind_int64(update, 2, sqlite3_column_int64(q, 0));
        sqlite3_bind_int64(update, 3, sqlite3_column_int64(q, 4));
        sqlite3_bind_int64(update, 4, sqlite3_column_int64(q, 5));
        int done = sqlite3_step(update);
        sqlite3_reset(update);
        if (done != SQLITE_DONE) status = tmac_store_fail(db, done, "judging trials");
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "judging trials");
    sqlite3_finalize(q);
    sqlite3_finalize(update);
    return status;
}

static tmac_status count_state(sqlite3_stmt *row, void *into)
{
    tmac_db_traffic *traffic = into;
    int state = sqlite3_column_int(row, 0);
    uint64_t count = (uint64_t)sqlite3_column_int64(row, 1);
    if (state >= 0 && state < TMAC_STATES) traffic->states[state] += count;
    traffic->trials += count;
    return tmac_ok();
}

tmac_status tmac_db_retrust(tmac_db *db, tmac_db_traffic *traffic)
{
    tmac_keyring ring;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_keyring_load(db->path, &ring));
    reading r = {.ring = &ring, .traffic = traffic};
    traffic->seals = traffic->bad_seals = traffic->trials = 0;
    memset(traffic->states, 0, sizeof traffic->states);
    tmac_status status = tmac_store_begin(db);
    if (status.code == TMAC_OK) {
        status = tmac_store_each(db, "SELECT bytes FROM record WHERE kind = 'seal' AND version = 1",
                                 read_seal, &r);
        if (status.code == TMAC_OK) status = judge(db, &r.words);
        status = tmac_store_commit(db, status);
    }
    free(r.words.slots);
    tmac_keyring_free(&ring);
    if (status.code != TMAC_OK) return status;
    return tmac_store_each(db, "SELECT state, count(*) FROM measurement GROUP BY state",
                           count_state, traffic);
}

tmac_status tmac_db_refute(tmac_db *db, const tmac_kernel *kernel, const tmac_db_name *problem,
                           tmac_state state)
{
    sqlite3_stmt *q;
    char binary[TMAC_HASH_HEX];
    TMAC_TRY(tmac_store_ensure(db));
    tmac_kernel_binary_id(kernel, binary);
    TMAC_TRY(tmac_store_prepare(
        db,
        "UPDATE measurement SET state = ?1 WHERE origin < 2 AND variant IN"
        " (SELECT id FROM variant WHERE binary_id = ?2 AND kernel = ?3)"
        " AND (?4 IS NULL OR problem = (SELECT id FROM problem WHERE name = ?4))",
        &q));
    sqlite3_bind_int(q, 1, (int)state);
    sqlite3_bind_text(q, 2, binary, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(q, 3, kernel->name, -1, SQLITE_TRANSIENT);
    if (problem) sqlite3_bind_text(q, 4, problem->hex, -1, SQLITE_TRANSIENT);
    int code = sqlite3_step(q);
    sqlite3_finalize(q);
    return code == SQLITE_DONE ? tmac_ok() : tmac_store_fail(db, code, "refusing trials");
}

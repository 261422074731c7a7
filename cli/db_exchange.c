// tmac-db export, import, merge, verify, key, gc.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/db_commands.h"
#include "db/kernels.h"
#include "tune/tune.h"

enum { GATE_MS = 20000 };

static tmac_status show_traffic(const db_context *c, const char *what, const tmac_db_traffic *t)
{
    static const char *const columns[] = {"what", "#count"};
    char number[24];
    db_table table;
    db_table_begin(&table, columns, 2);
    const struct {
        const char *name;
        uint64_t count;
    } rows[] = {
        {"records", t->records}, {"new records", t->new_records},
        {"objects", t->objects}, {"new objects", t->new_objects},
        {"seals", t->seals},     {"seals that do not fit", t->bad_seals},
        {"trials", t->trials},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(number, sizeof number, "%" PRIu64, rows[i].count);
        db_table_row(&table, rows[i].name, number);
    }
    for (int state = 0; state < TMAC_STATES; state++) {
        char name[64];
        snprintf(name, sizeof name, "trials: %s", tmac_state_name((tmac_state)state));
        snprintf(number, sizeof number, "%" PRIu64, t->states[state]);
        if (t->states[state]) db_table_row(&table, name, number);
    }
    if (!c->json && !c->csv) printf("%s\n", what);
    return db_table_end(&table, c);
}

tmac_status db_export(const db_context *c)
{
    tmac_db_traffic traffic;
    uint64_t sealed = 0;
    tmac_db *db;
    TMAC_TRY(tmac_db_open(c->path, c->no_sign ? TMAC_DB_READ : TMAC_DB_WRITE, &db));
    tmac_status status = c->no_sign ? tmac_ok() : tmac_db_seal(db, &sealed);
    if (status.code == TMAC_OK)
        status = tmac_db_export(db, c->operands[0], !c->no_kernels, &traffic);
    tmac_db_close(db);
    if (status.code != TMAC_OK) return status;
    fprintf(stderr,
            "%" PRIu64 " records, %" PRIu64 " objects, %" PRIu64 " trials newly sealed, %s\n",
            traffic.records, traffic.objects, sealed, traffic.digest);
    return tmac_ok();
}

// Kernels that imported trials speak for are proved exact here before anything rests on them; what fails is not used.
static tmac_status check_kernels(const db_context *c, tmac_db *db)
{
    static const tmac_shape shapes[] = {{64, 256, 256}, {7, 172, 172}, {33, 320, 64}};
    const tmac_kernel **kernels;
    size_t count, kept = 0;
    tmac_db_loaded loaded;
    TMAC_TRY(tmac_db_load_kernels(db, NULL, 0, &loaded));
    TMAC_TRY(tmac_db_imported_kernels(db, &kernels, &count));
    for (size_t i = 0; i < count; i++)
        if (tmac_isa_has(c->host.isa, kernels[i]->isa)) kernels[kept++] = kernels[i];
    tmac_gate_result *results = calloc(kept + 1, sizeof *results);
    tmac_status status = results ? tmac_ok() : tmac_fail(TMAC_OUT_OF_MEMORY, "no memory");
    if (status.code == TMAC_OK && kept > 0)
        status =
            tmac_gate(kernels, kept, shapes, sizeof shapes / sizeof shapes[0], GATE_MS, results);
    for (size_t i = 0; i < kept && status.code == TMAC_OK; i++) {
        if (results[i].outcome == TMAC_OUTCOME_OK) continue;
        fprintf(stderr,
                "tmac-db: warning: %s: %s on this host (%s); its imported trials are not used\n",
                kernels[i]->name, tmac_outcome_name(results[i].outcome), results[i].message);
        status = tmac_db_refute(db, kernels[i], NULL, TMAC_STATE_INEXACT);
    }
    if (status.code == TMAC_OK && kept > 0)
        fprintf(stderr, "%zu kernels that imported trials speak for were checked here\n", kept);
    free(results);
    free((void *)kernels);
    return status;
}

static tmac_status take_in(const db_context *c, bool own)
{
    tmac_db *db;
    tmac_db_traffic traffic;
    tmac_status status = tmac_ok();
    TMAC_TRY(tmac_db_open(c->path, TMAC_DB_WRITE, &db));
    for (size_t i = 0; i < c->count && status.code == TMAC_OK; i++) {
        status = tmac_db_import(db, c->operands[i], own, &traffic);
        if (status.code == TMAC_OK && i + 1 == c->count && !own && !c->no_check)
            status = check_kernels(c, db);
        if (status.code == TMAC_OK) status = show_traffic(c, c->operands[i], &traffic);
    }
    tmac_db_close(db);
    return status;
}

tmac_status db_import(const db_context *c)
{
    return take_in(c, false);
}

tmac_status db_merge(const db_context *c)
{
    return take_in(c, true);
}

tmac_status db_verify(const db_context *c)
{
    tmac_db_traffic traffic;
    if (c->count > 0) {
        TMAC_TRY(tmac_db_verify_export(c->operands[0], &traffic));
    } else {
        tmac_db *db;
        TMAC_TRY(tmac_db_open(c->path, TMAC_DB_READ, &db));
        tmac_status status = tmac_db_verify(db, &traffic);
        tmac_db_close(db);
        if (status.code != TMAC_OK) return status;
    }
    TMAC_TRY(show_traffic(c, "everything has the bytes of its name", &traffic));
    return traffic.bad_seals == 0
               ? tmac_ok()
               : tmac_fail(TMAC_BAD_FILE,
                           "%" PRIu64 " seals do not fit what they name; they count for nothing",
                           traffic.bad_seals);
}

// -------------------------------------------------------------------------------------------------------------- keys

static tmac_status list_keys(const db_context *c, const char *path)
{
    static const char *const columns[] = {"trust", "key", "name"};
    tmac_keyring ring;
    db_table table;
    TMAC_TRY(tmac_keyring_load(path, &ring));
    db_table_begin(&table, columns, 3);
    for (size_t i = 0; i < ring.count; i++) {
        char text[TMAC_KEY_TEXT];
        tmac_key_text(&ring.signers[i].key, text);
        db_table_row(&table, tmac_trust_name(ring.signers[i].trust), text, ring.signers[i].name);
    }
    tmac_keyring_free(&ring);
    return db_table_end(&table, c);
}

static tmac_status set_trust(const db_context *c, const char *path, tmac_trust trust)
{
    tmac_public_key key;
    tmac_db *db;
    tmac_db_traffic traffic = {0};
    if (c->count != 2) return tmac_fail(TMAC_USAGE, "key %s wants a public key", c->operands[0]);
    TMAC_TRY(tmac_key_parse(c->operands[1], &key));
    TMAC_TRY(tmac_keyring_set(path, &key, trust, c->name));
    TMAC_TRY(tmac_db_open(c->path, TMAC_DB_WRITE, &db));
    tmac_status status = tmac_db_retrust(db, &traffic);
    tmac_db_close(db);
    if (status.code != TMAC_OK) return status;
    return show_traffic(c, trust == TMAC_TRUST_REVOKED ? "revoked" : "trusted", &traffic);
}

tmac_status db_key(const db_context *c)
{
    char path[TMAC_DB_PATH_BYTES], text[TMAC_KEY_TEXT];
    const char *verb = c->operands[0];
    if (!c->path)
        TMAC_TRY(tmac_db_default_path(path));
    else if ((size_t)snprintf(path, sizeof path, "%s", c->path) >= sizeof path)
        return tmac_fail(TMAC_USAGE, "the path of the database is too long");
    if (strcmp(verb, "list") == 0) return list_keys(c, path);
    if (strcmp(verb, "trust") == 0) return set_trust(c, path, TMAC_TRUST_TRUSTED);
    if (strcmp(verb, "revoke") == 0) return set_trust(c, path, TMAC_TRUST_REVOKED);
    if (strcmp(verb, "new") != 0)
        return tmac_fail(TMAC_USAGE, "unknown 'key %s': new, list, trust or revoke", verb);
    tmac_key_pair pair;
    TMAC_TRY(tmac_key_renew(path, &pair));
    tmac_key_text(&pair.public_key, text);
    memset(&pair, 0, sizeof pair);
    printf("%s\n", text);
    return tmac_ok();
}

tmac_status db_gc(const db_context *c)
{
    tmac_db *db;
    tmac_db_garbage g;
    TMAC_TRY(tmac_db_open(c->path, TMAC_DB_WRITE, &db));
    tmac_status status = tmac_db_collect(db, c->dry_run, &g);
    tmac_db_close(db);
    if (status.code != TMAC_OK) return status;
    printf("%s %" PRIu64 " superseded trials, %" PRIu64 " refused ones, %" PRIu64
           " objects without an artifact",
           c->dry_run ? "would drop" : "dropped", g.superseded, g.refuted, g.objects);
    if (c->dry_run)
        printf("\n");
    else
        printf("; %.1f kB became %.1f kB\n", (double)g.bytes_before / 1e3,
               (double)g.bytes_after / 1e3);
    return tmac_ok();
}

// Screenings: with how many bits a weight a head is screened fastest (runtime/head_screen.c), measured on a model.
//
// How many rows a copy leaves open depends on the weights and not only on their number. So a screening holds for one
// head, named by a hash over its shape and a sample of its rows, which is the same whatever file the head came from.
//
//   screening   NAMES of host and run; measured: Unix time; head: that hash; rows and columns, for people; threads;
//               bits: the fastest; nsB: of the head of one token with B bits
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/store.h"

enum { SAMPLED_ROWS = 32 };

static tmac_status name_head(const tmac_matrix *head, char hex[TMAC_HASH_HEX])
{
    tmac_hash_state state;
    uint8_t digest[TMAC_HASH_BYTES];
    char text[64];
    float *row = calloc(head->columns, sizeof *row);
    if (!row) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a row of the head");
    tmac_hash_begin(&state);
    const int used =
        snprintf(text, sizeof text, "%u x %u, %d\n", head->rows, head->columns, (int)head->number);
    tmac_hash_add(&state, text, (size_t)used);
    for (uint32_t i = 0; i < SAMPLED_ROWS; i++) {
        const uint64_t at = (uint64_t)head->rows * i / SAMPLED_ROWS;
        head->read_float(head, (uint32_t)at, 1, row);
        tmac_hash_add(&state, row, head->columns * sizeof *row);
    }
    free(row);
    tmac_hash_end(&state, digest);
    tmac_hash_hex(digest, hex);
    return tmac_ok();
}

tmac_status tmac_db_put_screening(tmac_db *db, const tmac_db_screening *s)
{
    tmac_record record;
    char hex[TMAC_HASH_HEX], key[16];
    TMAC_TRY(name_head(s->head, hex));
    tmac_record_begin(&record, "screening", 1);
    tmac_record_string(&record, "host", s->host.hex);
    tmac_record_string(&record, "run", s->run.hex);
    tmac_record_number(&record, "measured", s->measured);
    tmac_record_string(&record, "head", hex);
    tmac_record_number(&record, "rows", s->head->rows);
    tmac_record_number(&record, "columns", s->head->columns);
    tmac_record_number(&record, "threads", s->threads);
    tmac_record_number(&record, "bits", s->bits);
    for (uint32_t bits = 0; bits < sizeof s->ns / sizeof s->ns[0]; bits++) {
        if (s->ns[bits] == 0) continue;
        snprintf(key, sizeof key, "ns%u", bits);
        tmac_record_number(&record, key, s->ns[bits]);
    }
    char *text;
    size_t bytes;
    tmac_db_name name;
    TMAC_TRY(tmac_record_text(&record, &text, &bytes));
    tmac_status status = tmac_db_put(db, text, bytes, &name);
    free(text);
    return status;
}

typedef struct search {
    tmac_db_name host;
    char head[TMAC_HASH_HEX];
    uint32_t threads, bits;
    bool exact; // bits was measured with this number of threads
    uint64_t measured;
} search;

// The newest with this number of threads, else the newest: how many threads share the memory changes little.
static tmac_status look(sqlite3_stmt *row, void *into)
{
    search *s = into;
    tmac_record *record = malloc(sizeof *record);
    if (!record) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a record");
    const char *bytes = sqlite3_column_blob(row, 0);
    const bool ours =
        bytes &&
        tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(row, 0), record).code == TMAC_OK &&
        strcmp(tmac_record_get(record, "host"), s->host.hex) == 0 &&
        strcmp(tmac_record_get(record, "head"), s->head) == 0;
    const uint64_t bits = ours ? tmac_record_get_number(record, "bits") : 0;
    if (bits == 4 || bits == 5 || bits == 6 || bits == 8) {
        const uint64_t measured = tmac_record_get_number(record, "measured");
        const bool exact = tmac_record_get_number(record, "threads") == s->threads;
        if (exact > s->exact || (exact == s->exact && measured >= s->measured)) {
            s->bits = (uint32_t)bits;
            s->exact = exact;
            s->measured = measured;
        }
    }
    free(record);
    return tmac_ok();
}

tmac_status tmac_db_screen_bits(const tmac_db *db, const tmac_host *host, const tmac_matrix *head,
                                uint32_t threads, uint32_t *bits)
{
    // The last condition says nothing new, but SQLite uses the index over kinds only where it reads it.
    static const char sql[] =
        "SELECT bytes FROM record WHERE kind = 'screening' AND version = 1 AND kind <> 'trial'";
    search s = {.threads = threads};
    *bits = 0;
    if (!db) return tmac_ok();
    TMAC_TRY(tmac_host_name(host, &s.host));
    TMAC_TRY(name_head(head, s.head));
    if (db->sqlite) TMAC_TRY(tmac_store_each(db, sql, look, &s));
    for (uint32_t i = 0; i < db->layer_count; i++)
        if (db->layers[i]->sqlite) TMAC_TRY(tmac_store_each(db->layers[i], sql, look, &s));
    *bits = s.bits;
    return tmac_ok();
}

// What a database and its layers hold, and whether they are sound: SQLite's own check, and every record against its name.
//
// The counts of a layer come from its index and are added to those of the layers before it. What is in both is then taken
// off again, record by record: layers that have nothing in common cost one look for each record and no memory.
#include "db/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

// Adds a zeroed item of `size` bytes to a list. list, item: where the pointers to its first and to the new item are
// kept, whatever they point to (POSIX: all pointers look alike).
static tmac_status append(void *list, size_t *count, size_t size, void *item)
{
    void *items, *added;
    memcpy(&items, list, sizeof items);
    void *grown = realloc(items, (*count + 1) * size);
    if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a list of %zu", *count + 1);
    added = memset((char *)grown + *count * size, 0, size);
    memcpy(list, &grown, sizeof grown);
    memcpy(item, &added, sizeof added);
    ++*count;
    // cppcheck-suppress memleak; *list owns it
    return tmac_ok();
}

// The layer being read, and where its rows go.
typedef struct reading {
    tmac_db_inventory *inventory;
    tmac_db_layer_row *row;
    const tmac_db *const *earlier; // the layers before it
    uint32_t layer;
} reading;

static tmac_db_kind *find_kind(const tmac_db_inventory *inventory, const char *kind)
{
    for (size_t i = 0; i < inventory->kind_count; i++)
        if (strcmp(inventory->kinds[i].kind, kind) == 0) return &inventory->kinds[i];
    return NULL;
}

static tmac_db_host_row *find_host(const tmac_db_inventory *inventory, const char *hex)
{
    for (size_t i = 0; i < inventory->host_count; i++)
        if (strcmp(inventory->hosts[i].name.hex, hex) == 0) return &inventory->hosts[i];
    return NULL;
}

static tmac_db_problem_row *find_problem(const tmac_db_inventory *inventory,
                                         const tmac_input_set *set, uint32_t threads)
{
    for (size_t i = 0; i < inventory->problem_count; i++)
        if (inventory->problems[i].threads == threads &&
            tmac_input_set_equal(&inventory->problems[i].set, set))
            return &inventory->problems[i];
    return NULL;
}

static tmac_status read_kind(sqlite3_stmt *row, void *into)
{
    const reading *r = into;
    tmac_db_inventory *inventory = r->inventory;
    tmac_db_kind *kind = find_kind(inventory, tmac_store_text(row, 0));
    if (!kind) {
        TMAC_TRY(append(&inventory->kinds, &inventory->kind_count, sizeof *kind, &kind));
        snprintf(kind->kind, sizeof kind->kind, "%s", tmac_store_text(row, 0));
    }
    kind->records += (uint64_t)sqlite3_column_int64(row, 1);
    r->row->records += (uint64_t)sqlite3_column_int64(row, 1);
    return tmac_ok();
}

static tmac_status read_host(sqlite3_stmt *row, void *into)
{
    const reading *r = into;
    tmac_db_inventory *inventory = r->inventory;
    tmac_db_host_row *host = find_host(inventory, tmac_store_text(row, 0));
    if (!host) {
        TMAC_TRY(append(&inventory->hosts, &inventory->host_count, sizeof *host, &host));
        snprintf(host->name.hex, sizeof host->name.hex, "%s", tmac_store_text(row, 0));
        tmac_record record;
        const char *bytes = sqlite3_column_blob(row, 1);
        if (bytes && tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(row, 1), &record).code ==
                         TMAC_OK) {
            snprintf(host->cpu_name, sizeof host->cpu_name, "%.63s",
                     tmac_record_get(&record, "cpu"));
            snprintf(host->isa, sizeof host->isa, "%.79s", tmac_record_get(&record, "isa"));
            snprintf(host->hypervisor, sizeof host->hypervisor, "%.15s",
                     tmac_record_get(&record, "hypervisor"));
        }
    }
    host->trials += (uint64_t)sqlite3_column_int64(row, 2);
    host->failures += (uint64_t)sqlite3_column_int64(row, 3);
    host->layers |= 1u << r->layer;
    return tmac_ok();
}

static tmac_status read_problem(sqlite3_stmt *row, void *into)
{
    const reading *r = into;
    tmac_db_inventory *inventory = r->inventory;
    tmac_input_set set;
    if (!tmac_set_of_key(tmac_store_text(row, 0), &set)) return tmac_ok(); // a form we do not know
    const uint32_t threads = (uint32_t)sqlite3_column_int64(row, 1);
    tmac_db_problem_row *problem = find_problem(inventory, &set, threads);
    if (!problem) {
        TMAC_TRY(
            append(&inventory->problems, &inventory->problem_count, sizeof *problem, &problem));
        problem->set = set;
        problem->threads = threads;
    }
    problem->trials += (uint64_t)sqlite3_column_int64(row, 2);
    problem->layers |= 1u << r->layer;
    return tmac_ok();
}

static tmac_status present(const tmac_db *db, const char *name, bool *found)
{
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_store_cached(db, TMAC_SQL_PRESENT, "SELECT 1 FROM record WHERE name = ?", &q));
    sqlite3_bind_text(q, 1, name, -1, SQLITE_TRANSIENT);
    const int code = sqlite3_step(q);
    *found |= code == SQLITE_ROW;
    sqlite3_reset(q);
    return code == SQLITE_ROW || code == SQLITE_DONE ? tmac_ok()
                                                     : tmac_store_fail(db, code, "reading records");
}

// Takes a record off again that a layer before this one has counted.
static tmac_status forget_twin(sqlite3_stmt *row, void *into)
{
    const reading *r = into;
    bool found = false;
    for (uint32_t i = 0; i < r->layer && !found; i++)
        TMAC_TRY(present(r->earlier[i], tmac_store_text(row, 0), &found));
    if (!found) return tmac_ok();
    tmac_db_kind *kind = find_kind(r->inventory, tmac_store_text(row, 1));
    tmac_db_host_row *host = find_host(r->inventory, tmac_store_text(row, 2));
    tmac_db_problem_row *problem = NULL;
    tmac_input_set set;
    if (tmac_set_of_key(tmac_store_text(row, 4), &set))
        problem = find_problem(r->inventory, &set, (uint32_t)sqlite3_column_int64(row, 5));
    if (kind) kind->records--;
    if (host) {
        host->trials--;
        host->failures -= (uint64_t)sqlite3_column_int64(row, 3);
    }
    if (problem) problem->trials--;
    return tmac_ok();
}

static tmac_status read_schema(sqlite3_stmt *row, void *into)
{
    ((reading *)into)->row->schema = sqlite3_column_int(row, 0);
    return tmac_ok();
}

static tmac_status read_journal(sqlite3_stmt *row, void *into)
{
    tmac_db_layer_row *layer = ((reading *)into)->row;
    snprintf(layer->journal, sizeof layer->journal, "%.15s", tmac_store_text(row, 0));
    return tmac_ok();
}

static tmac_status read_integrity(sqlite3_stmt *row, void *into)
{
    tmac_db_layer_row *layer = ((reading *)into)->row;
    if (!layer->integrity[0])
        snprintf(layer->integrity, sizeof layer->integrity, "%.255s", tmac_store_text(row, 0));
    return tmac_ok();
}

// Only where nothing was found before.
static tmac_status check_name(sqlite3_stmt *row, void *into)
{
    tmac_db_layer_row *layer = ((reading *)into)->row;
    if (strcmp(layer->integrity, "ok") != 0) return tmac_ok();
    uint8_t digest[TMAC_HASH_BYTES];
    char hex[TMAC_HASH_HEX];
    const void *bytes = sqlite3_column_blob(row, 1);
    tmac_hash(bytes ? bytes : "", (size_t)sqlite3_column_bytes(row, 1), digest);
    tmac_hash_hex(digest, hex);
    if (strcmp(hex, tmac_store_text(row, 0)) != 0)
        snprintf(layer->integrity, sizeof layer->integrity,
                 "record %.64s does not have the bytes of its name", tmac_store_text(row, 0));
    return tmac_ok();
}

static tmac_status read_layer(const tmac_db *db, reading *r)
{
    static const struct {
        const char *sql;
        tmac_row_reader reader;
        bool first; // for the first layer too
    } queries[] = {
        {"PRAGMA user_version", read_schema, true},
        {"PRAGMA journal_mode", read_journal, true},
        {"PRAGMA integrity_check", read_integrity, true},
        {"SELECT name, bytes FROM record", check_name, true},
        {"SELECT kind, count(*) FROM record GROUP BY kind ORDER BY kind", read_kind, true},
        {"SELECT h.name, r.bytes, coalesce(n.trials, 0), coalesce(n.failures, 0)"
         " FROM host h JOIN record r ON r.name = h.name LEFT JOIN (SELECT host, count(*) AS trials,"
         "  sum(outcome <> 'ok') AS failures FROM measurement GROUP BY host) n ON n.host = h.id"
         " ORDER BY 3 DESC, 1",
         read_host, true},
        {"SELECT p.set_key, p.threads, sum(t.trials) FROM problem p JOIN tally t ON t.problem = "
         "p.id"
         " WHERE p.set_key IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2",
         read_problem, true},
        // Exactly what the three before have counted: of a host without a record nothing was.
        {"SELECT r.name, r.kind, hr.name, m.outcome <> 'ok', p.set_key, p.threads FROM record r"
         " LEFT JOIN measurement m ON m.record = r.id LEFT JOIN problem p ON p.id = m.problem"
         " LEFT JOIN host h ON h.id = m.host LEFT JOIN record hr ON hr.name = h.name",
         forget_twin, false},
    };
    tmac_status status = tmac_ok();
    for (size_t i = 0; i < sizeof queries / sizeof queries[0] && status.code == TMAC_OK; i++)
        if (r->layer > 0 || queries[i].first)
            status = tmac_store_each(db, queries[i].sql, queries[i].reader, r);
    return status;
}

static int by_kind(const void *a, const void *b)
{
    return strcmp(((const tmac_db_kind *)a)->kind, ((const tmac_db_kind *)b)->kind);
}

static int by_trials(const void *a, const void *b)
{
    const tmac_db_host_row *x = a, *y = b;
    if (x->trials != y->trials) return x->trials > y->trials ? -1 : 1;
    return strcmp(x->name.hex, y->name.hex);
}

static int by_set(const void *a, const void *b)
{
    const tmac_db_problem_row *x = a, *y = b;
    char left[TMAC_DB_KEY_BYTES], right[TMAC_DB_KEY_BYTES];
    tmac_set_key(&x->set, left);
    tmac_set_key(&y->set, right);
    const int order = strcmp(left, right);
    return order ? order : (x->threads > y->threads) - (x->threads < y->threads);
}

tmac_status tmac_db_status(const tmac_db *db, const tmac_host *host, tmac_db_inventory *inventory)
{
    const tmac_db *all[TMAC_DB_LAYERS + 1] = {db};
    tmac_db_name self;
    memset(inventory, 0, sizeof *inventory);
    TMAC_TRY(tmac_host_name(host, &self));
    inventory->layers = calloc(db->layer_count + 1u, sizeof *inventory->layers);
    if (!inventory->layers) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a list of layers");
    inventory->layer_count = db->layer_count + 1u;
    tmac_status status = tmac_ok();
    for (uint32_t i = 0; i <= db->layer_count && status.code == TMAC_OK; i++) {
        tmac_db_layer_row *row = &inventory->layers[i];
        struct stat facts;
        if (i > 0) all[i] = db->layers[i - 1];
        row->path = i > 0 ? all[i]->source : db->path;
        tmac_layer_label(db, i, row->label);
        row->exists = all[i]->sqlite != NULL;
        if (!row->exists) continue;
        if (stat(row->path, &facts) == 0) row->file_bytes = (uint64_t)facts.st_size;
        reading r = {.inventory = inventory, .row = row, .earlier = all, .layer = i};
        status = read_layer(all[i], &r);
        inventory->exists = true;
        if (!inventory->integrity[0] || strcmp(inventory->integrity, "ok") == 0)
            memcpy(inventory->integrity, row->integrity, sizeof inventory->integrity);
    }
    if (status.code != TMAC_OK) {
        tmac_db_inventory_free(inventory);
        return status;
    }
    for (size_t i = 0; i < inventory->host_count; i++)
        inventory->hosts[i].exact = strcmp(inventory->hosts[i].name.hex, self.hex) == 0;
    if (inventory->kind_count > 1)
        qsort(inventory->kinds, inventory->kind_count, sizeof *inventory->kinds, by_kind);
    if (inventory->host_count > 1)
        qsort(inventory->hosts, inventory->host_count, sizeof *inventory->hosts, by_trials);
    if (inventory->problem_count > 1)
        qsort(inventory->problems, inventory->problem_count, sizeof *inventory->problems, by_set);
    return tmac_ok();
}

void tmac_db_inventory_free(tmac_db_inventory *inventory)
{
    free(inventory->layers);
    free(inventory->kinds);
    free(inventory->hosts);
    free(inventory->problems);
    memset(inventory, 0, sizeof *inventory);
}

// What a database holds, and whether it is sound: SQLite's own check, and every record against its name.
#include "db/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void *grow(void *items, size_t count, size_t size, tmac_status *status)
{
    void *grown = realloc(items, (count + 1) * size);
    if (!grown) {
        *status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a list of %zu", count + 1);
        return NULL;
    }
    memset((char *)grown + count * size, 0, size);
    return grown;
}

static tmac_status read_kind(sqlite3_stmt *row, void *into)
{
    tmac_db_inventory *inventory = into;
    tmac_status status = tmac_ok();
    void *grown = grow(inventory->kinds, inventory->kind_count, sizeof *inventory->kinds, &status);
    if (!grown) return status;
    inventory->kinds = grown;
    tmac_db_kind *kind = &inventory->kinds[inventory->kind_count++];
    snprintf(kind->kind, sizeof kind->kind, "%s", tmac_store_text(row, 0));
    kind->records = (uint64_t)sqlite3_column_int64(row, 1);
    return status;
}

static tmac_status read_host(sqlite3_stmt *row, void *into)
{
    tmac_db_inventory *inventory = into;
    tmac_status status = tmac_ok();
    void *grown = grow(inventory->hosts, inventory->host_count, sizeof *inventory->hosts, &status);
    if (!grown) return status;
    inventory->hosts = grown;
    tmac_db_host_row *host = &inventory->hosts[inventory->host_count++];
    snprintf(host->name.hex, sizeof host->name.hex, "%s", tmac_store_text(row, 0));
    tmac_record record;
    const char *bytes = sqlite3_column_blob(row, 1);
    if (bytes &&
        tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(row, 1), &record).code == TMAC_OK) {
        snprintf(host->cpu_name, sizeof host->cpu_name, "%.63s", tmac_record_get(&record, "cpu"));
        snprintf(host->isa, sizeof host->isa, "%.79s", tmac_record_get(&record, "isa"));
        snprintf(host->hypervisor, sizeof host->hypervisor, "%.15s",
                 tmac_record_get(&record, "hypervisor"));
    }
    host->trials = (uint64_t)sqlite3_column_int64(row, 2);
    host->failures = (uint64_t)sqlite3_column_int64(row, 3);
    return status;
}

static tmac_status read_problem(sqlite3_stmt *row, void *into)
{
    tmac_db_inventory *inventory = into;
    tmac_status status = tmac_ok();
    tmac_input_set set;
    if (!tmac_set_of_key(tmac_store_text(row, 0), &set)) return status; // a form we do not know
    void *grown =
        grow(inventory->problems, inventory->problem_count, sizeof *inventory->problems, &status);
    if (!grown) return status;
    inventory->problems = grown;
    inventory->problems[inventory->problem_count++] =
        (tmac_db_problem_row){.set = set,
                              .threads = (uint32_t)sqlite3_column_int64(row, 1),
                              .trials = (uint64_t)sqlite3_column_int64(row, 2)};
    return status;
}

static tmac_status read_number(sqlite3_stmt *row, void *into)
{
    *(int *)into = sqlite3_column_int(row, 0);
    return tmac_ok();
}

static tmac_status read_journal(sqlite3_stmt *row, void *into)
{
    tmac_db_inventory *inventory = into;
    snprintf(inventory->journal, sizeof inventory->journal, "%.15s", tmac_store_text(row, 0));
    return tmac_ok();
}

static tmac_status read_integrity(sqlite3_stmt *row, void *into)
{
    tmac_db_inventory *inventory = into;
    if (!inventory->integrity[0])
        snprintf(inventory->integrity, sizeof inventory->integrity, "%.255s",
                 tmac_store_text(row, 0));
    return tmac_ok();
}

// Only where nothing was found before.
static tmac_status check_name(sqlite3_stmt *row, void *into)
{
    tmac_db_inventory *inventory = into;
    if (strcmp(inventory->integrity, "ok") != 0) return tmac_ok();
    uint8_t digest[TMAC_HASH_BYTES];
    char hex[TMAC_HASH_HEX];
    const void *bytes = sqlite3_column_blob(row, 1);
    tmac_hash(bytes ? bytes : "", (size_t)sqlite3_column_bytes(row, 1), digest);
    tmac_hash_hex(digest, hex);
    if (strcmp(hex, tmac_store_text(row, 0)) != 0)
        snprintf(inventory->integrity, sizeof inventory->integrity,
                 "record %.64s does not have the bytes of its name", tmac_store_text(row, 0));
    return tmac_ok();
}

tmac_status tmac_db_status(const tmac_db *db, const tmac_host *host, tmac_db_inventory *inventory)
{
    memset(inventory, 0, sizeof *inventory);
    if (!db->sqlite) return tmac_ok();
    inventory->exists = true;
    struct stat facts;
    if (stat(db->path, &facts) == 0) inventory->file_bytes = (uint64_t)facts.st_size;
    const struct {
        const char *sql;
        tmac_row_reader reader;
        void *into;
    } queries[] = {
        {"PRAGMA user_version", read_number, &inventory->schema},
        {"PRAGMA journal_mode", read_journal, inventory},
        {"PRAGMA integrity_check", read_integrity, inventory},
        {"SELECT name, bytes FROM record", check_name, inventory},
        {"SELECT kind, count(*) FROM record GROUP BY kind ORDER BY kind", read_kind, inventory},
        {"SELECT h.name, r.bytes, coalesce(n.trials, 0), coalesce(n.failures, 0)"
         " FROM host h JOIN record r ON r.name = h.name LEFT JOIN (SELECT host, count(*) AS trials,"
         "  sum(outcome <> 'ok') AS failures FROM measurement GROUP BY host) n ON n.host = h.id"
         " ORDER BY 3 DESC, 1",
         read_host, inventory},
        {"SELECT p.set_key, p.threads, sum(t.trials) FROM problem p JOIN tally t ON t.problem = "
         "p.id"
         " WHERE p.set_key IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2",
         read_problem, inventory},
    };
    tmac_status status = tmac_ok();
    for (size_t i = 0; i < sizeof queries / sizeof queries[0] && status.code == TMAC_OK; i++)
        status = tmac_store_each(db, queries[i].sql, queries[i].reader, queries[i].into);
    tmac_db_name self;
    if (status.code == TMAC_OK) status = tmac_host_name(host, &self);
    for (size_t i = 0; i < inventory->host_count && status.code == TMAC_OK; i++)
        inventory->hosts[i].exact = strcmp(inventory->hosts[i].name.hex, self.hex) == 0;
    if (status.code != TMAC_OK) tmac_db_inventory_free(inventory);
    return status;
}

void tmac_db_inventory_free(tmac_db_inventory *inventory)
{
    free(inventory->kinds);
    free(inventory->hosts);
    free(inventory->problems);
    memset(inventory, 0, sizeof *inventory);
}

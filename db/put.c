// Records in and out, and the index over them.
//
// The fields of each kind (version 1); times are integer nanoseconds, NAMES are record names:
//
//   host     what tmac_host_probe finds that says whether a figure applies: CPU, caches, memory (GiB), verified
//            instruction sets, hypervisor. Not the kernel's release nor the usable processors: those belong to a run
//   variant  a kernel's machine code: binary_id, source_id, compiler, abi, name, family, parameters, layout, isa, ...
//   problem  input set, bucket of N, threads
//   run      the context of a session: NAME of host, start, rigor, load, bandwidth, ...
//   close    the end of a run: NAME of run, duration, load, steal, noise
//   trial    NAMES of host, variant, problem, run; outcome; the summary of the samples
//
// A record and its index rows are written in one transaction.
#include "db/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const rigors[] = {"noisy", "quick", "measure", "patient", "exhaustive"};
static const char *const outcomes[] = {"ok", "wrong", "crash", "hang"};

const char *tmac_rigor_name(tmac_rigor rigor)
{
    return (unsigned)rigor < TMAC_RIGORS ? rigors[rigor] : "?";
}

tmac_status tmac_rigor_parse(const char *text, tmac_rigor *rigor)
{
    for (int i = TMAC_RIGOR_QUICK; i < TMAC_RIGORS; i++) {
        if (strcmp(text, rigors[i]) != 0) continue;
        *rigor = (tmac_rigor)i;
        return tmac_ok();
    }
    return tmac_fail(TMAC_USAGE, "unknown rigor '%s': quick, measure, patient or exhaustive", text);
}

const char *tmac_outcome_name(tmac_outcome outcome)
{
    return (unsigned)outcome < 4 ? outcomes[outcome] : "?";
}

// ------------------------------------------------------------------------------------------------------------- keys

void tmac_set_key(const tmac_input_set *set, char key[TMAC_DB_KEY_BYTES])
{
    size_t used = (size_t)snprintf(key, TMAC_DB_KEY_BYTES,
                                   "%c group=%" PRIu32 " columns=%" PRIu32 " rows=", set->format,
                                   set->group, set->columns);
    for (uint32_t i = 0; i < set->matrices && i < TMAC_SET_MATRICES; i++)
        used += (size_t)snprintf(key + used, TMAC_DB_KEY_BYTES - used, "%s%" PRIu32, i ? "," : "",
                                 set->rows[i]);
    snprintf(key + used, TMAC_DB_KEY_BYTES - used, " %s",
             set->residency == TMAC_STREAMED ? "streamed" : "resident");
}

bool tmac_set_of_key(const char *key, tmac_input_set *set)
{
    char rows[40], residency[12], again[TMAC_DB_KEY_BYTES];
    memset(set, 0, sizeof *set);
    if (sscanf(key, "%c group=%" SCNu32 " columns=%" SCNu32 " rows=%39s %11s", &set->format,
               &set->group, &set->columns, rows, residency) != 5)
        return false;
    char *save = NULL;
    for (char *row = strtok_r(rows, ",", &save); row; row = strtok_r(NULL, ",", &save)) {
        if (set->matrices == TMAC_SET_MATRICES) return false;
        set->rows[set->matrices++] = (uint32_t)strtoul(row, NULL, 10);
    }
    set->residency = strcmp(residency, "streamed") == 0 ? TMAC_STREAMED : TMAC_RESIDENT;
    tmac_set_key(set, again);
    return strcmp(key, again) == 0;
}

void tmac_host_class(const tmac_record *record, char class[TMAC_DB_CLASS_BYTES])
{
    snprintf(class, TMAC_DB_CLASS_BYTES, "%.70s l1=%.14s l2=%.14s l3=%.14s %.15s",
             tmac_record_get(record, "isa"), tmac_record_get(record, "l1d_bytes"),
             tmac_record_get(record, "l2_bytes"), tmac_record_get(record, "l3_bytes"),
             tmac_record_get(record, "hypervisor"));
}

// ------------------------------------------------------------------------------------------------------------ index

// Which fields of a record fill which statement, in order. '#' marks integers.
static const struct {
    const char *kind, *sql, *fields[12];
} indexes[] = {
    {"variant", "INSERT OR IGNORE INTO variant VALUES(?,?,?)", {"name", "binary_id"}},
    {"run",
     "INSERT OR IGNORE INTO run VALUES(?,?,?,?,?)",
     {"host", "#threads", "#started_ns", "#bandwidth"}},
    {"trial",
     "INSERT OR IGNORE INTO trial VALUES(?,?,?,?,?,?,?,?,?,?,?)",
     {"host", "problem", "variant", "run", "#rigor_level", "outcome", "#passes", "#samples",
      "#median_ns", "#mad_ns"}},
    {"problem", "INSERT OR IGNORE INTO problem VALUES(?,?,?,?)", {"set", "#bucket", "#threads"}},
};

static tmac_status run_index(const tmac_db *db, sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    tmac_status status = code == SQLITE_DONE ? tmac_ok() : tmac_store_fail(db, code, "indexing");
    sqlite3_finalize(statement);
    return status;
}

tmac_status tmac_index_record(const tmac_db *db, const char *name, const char *text, size_t bytes)
{
    tmac_record record;
    // What this program cannot read it does not index; the bytes are kept all the same.
    if (tmac_record_parse(text, bytes, &record).code != TMAC_OK || record.version != 1)
        return tmac_ok();
    sqlite3_stmt *statement;
    if (strcmp(record.kind, "host") == 0) {
        char class[TMAC_DB_CLASS_BYTES];
        tmac_host_class(&record, class);
        TMAC_TRY(tmac_store_prepare(db, "INSERT OR IGNORE INTO host VALUES(?,?,?)", &statement));
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(statement, 2, tmac_record_get(&record, "isa"), -1, SQLITE_TRANSIENT);
        sqlite3_bind_text(statement, 3, class, -1, SQLITE_TRANSIENT);
        return run_index(db, statement);
    }
    for (size_t i = 0; i < sizeof indexes / sizeof indexes[0]; i++) {
        if (strcmp(record.kind, indexes[i].kind) != 0) continue;
        TMAC_TRY(tmac_store_prepare(db, indexes[i].sql, &statement));
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_TRANSIENT);
        for (int f = 0; indexes[i].fields[f]; f++) {
            const char *field = indexes[i].fields[f];
            if (field[0] == '#')
                sqlite3_bind_int64(statement, f + 2,
                                   (sqlite3_int64)tmac_record_get_number(&record, field + 1));
            else
                sqlite3_bind_text(statement, f + 2, tmac_record_get(&record, field), -1,
                                  SQLITE_TRANSIENT);
        }
        return run_index(db, statement);
    }
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- records

static void name_of(const char *bytes, size_t count, tmac_db_name *name)
{
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash(bytes, count, digest);
    tmac_hash_hex(digest, name->hex);
}

static tmac_status insert(const tmac_db *db, const char *bytes, size_t count, const char *kind,
                          uint32_t version, const tmac_db_name *name)
{
    sqlite3_stmt *statement;
    TMAC_TRY(tmac_store_prepare(db, "INSERT OR IGNORE INTO record VALUES(?,?,?,?)", &statement));
    sqlite3_bind_text(statement, 1, name->hex, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(statement, 2, kind, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement, 3, version);
    sqlite3_bind_blob(statement, 4, bytes, (int)count, SQLITE_TRANSIENT);
    TMAC_TRY(run_index(db, statement));
    return tmac_index_record(db, name->hex, bytes, count);
}

tmac_status tmac_db_put(tmac_db *db, const char *bytes, size_t count, tmac_db_name *name)
{
    char kind[TMAC_RECORD_KIND_BYTES];
    uint32_t version;
    if (!tmac_record_canonical(bytes, count, kind, &version))
        return tmac_fail(TMAC_BAD_FILE, "not a canonical record: nothing stored");
    TMAC_TRY(tmac_store_ensure(db));
    name_of(bytes, count, name);
    int code = sqlite3_exec(db->sqlite, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (code != SQLITE_OK) return tmac_store_fail(db, code, "starting a transaction");
    tmac_status status = insert(db, bytes, count, kind, version, name);
    if (status.code == TMAC_OK) {
        code = sqlite3_exec(db->sqlite, "COMMIT", NULL, NULL, NULL);
        if (code != SQLITE_OK) status = tmac_store_fail(db, code, "storing a record");
    }
    if (status.code != TMAC_OK) sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

tmac_status tmac_db_get(const tmac_db *db, const char *hex, char **bytes, size_t *count)
{
    *bytes = NULL;
    *count = 0;
    if (!db->sqlite) return tmac_fail(TMAC_NOT_FOUND, "%s: no record %s", db->path, hex);
    sqlite3_stmt *statement;
    TMAC_TRY(tmac_store_prepare(db, "SELECT bytes FROM record WHERE name=?", &statement));
    sqlite3_bind_text(statement, 1, hex, -1, SQLITE_TRANSIENT);
    int code = sqlite3_step(statement);
    tmac_status status = tmac_ok();
    if (code == SQLITE_ROW) {
        size_t length = (size_t)sqlite3_column_bytes(statement, 0);
        const void *blob = sqlite3_column_blob(statement, 0);
        char *copy = malloc(length + 1);
        if (copy) {
            if (length) memcpy(copy, blob, length);
            copy[length] = 0;
            *bytes = copy;
            *count = length;
        } else {
            status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a record");
        }
    } else if (code == SQLITE_DONE) {
        status = tmac_fail(TMAC_NOT_FOUND, "%s: no record %s", db->path, hex);
    } else {
        status = tmac_store_fail(db, code, "reading a record");
    }
    sqlite3_finalize(statement);
    return status;
}

static tmac_status put_record(tmac_db *db, const tmac_record *record, tmac_db_name *name)
{
    char *text;
    size_t bytes;
    TMAC_TRY(tmac_record_text(record, &text, &bytes));
    tmac_status status = tmac_db_put(db, text, bytes, name);
    free(text);
    return status;
}

// ------------------------------------------------------------------------------------------------------------ kinds

void tmac_host_record(const tmac_host *host, tmac_record *record)
{
    char isa[80] = "";
    size_t used = 0;
    for (int i = 0; i < TMAC_ISA_COUNT; i++)
        if (tmac_isa_has(host->isa, (tmac_isa)i) && used < sizeof isa - 1)
            used += (size_t)snprintf(isa + used, sizeof isa - used, "%s%s", used ? "," : "",
                                     tmac_isa_name((tmac_isa)i));
    tmac_record_begin(record, "host", 1);
    tmac_record_string(record, "cpu", host->cpu_name);
    tmac_record_string(record, "vendor", host->vendor);
    tmac_record_number(record, "family", host->family);
    tmac_record_number(record, "model", host->model);
    tmac_record_number(record, "stepping", host->stepping);
    tmac_record_string(record, "microcode", host->microcode);
    tmac_record_string(record, "hypervisor", host->hypervisor);
    tmac_record_number(record, "l1d_bytes", host->l1d_bytes);
    tmac_record_number(record, "l2_bytes", host->l2_bytes);
    tmac_record_number(record, "l3_bytes", host->l3_bytes);
    // Rounded: what the kernel keeps for itself changes from boot to boot.
    tmac_record_number(record, "memory_gib", (host->memory_bytes + (1u << 29)) >> 30);
    tmac_record_string(record, "isa", isa);
}

tmac_status tmac_host_name(const tmac_host *host, tmac_db_name *name)
{
    tmac_record record;
    char *text;
    size_t bytes;
    tmac_host_record(host, &record);
    TMAC_TRY(tmac_record_text(&record, &text, &bytes));
    name_of(text, bytes, name);
    free(text);
    return tmac_ok();
}

tmac_status tmac_db_put_host(tmac_db *db, const tmac_host *host, tmac_db_name *name)
{
    tmac_record record;
    tmac_host_record(host, &record);
    return put_record(db, &record, name);
}

tmac_status tmac_db_put_variant(tmac_db *db, const tmac_kernel *kernel, tmac_db_name *name)
{
    tmac_record record;
    char binary[TMAC_HASH_HEX];
    tmac_kernel_binary_id(kernel, binary);
    tmac_record_begin(&record, "variant", 1);
    tmac_record_string(&record, "name", kernel->name);
    tmac_record_string(&record, "family", kernel->family);
    tmac_record_string(&record, "parameters", kernel->parameters);
    tmac_record_string(&record, "source_id", kernel->source_id);
    tmac_record_string(&record, "compiler", kernel->compiler);
    tmac_record_number(&record, "abi", TMAC_KERNEL_ABI);
    tmac_record_string(&record, "binary_id", binary);
    tmac_record_string(&record, "isa", tmac_isa_name(kernel->isa));
    tmac_record_string(&record, "layout", kernel->layout->name);
    tmac_record_number(&record, "row_tile", kernel->layout->row_tile);
    tmac_record_number(&record, "token_block", kernel->token_block);
    tmac_record_string(&record, "preparation", kernel->preparation);
    return put_record(db, &record, name);
}

tmac_status tmac_db_put_problem(tmac_db *db, const tmac_input_set *set, uint32_t bucket,
                                uint32_t threads, tmac_db_name *name)
{
    tmac_record record;
    char key[TMAC_DB_KEY_BYTES];
    tmac_set_key(set, key);
    tmac_record_begin(&record, "problem", 1);
    tmac_record_string(&record, "set", key);
    tmac_record_number(&record, "bucket", bucket);
    tmac_record_number(&record, "tokens", tmac_bucket_typical(bucket));
    tmac_record_number(&record, "threads", threads);
    return put_record(db, &record, name);
}

tmac_status tmac_db_put_run(tmac_db *db, const tmac_db_run *run, tmac_db_name *name)
{
    tmac_record record;
    tmac_record_begin(&record, "run", 1);
    tmac_record_string(&record, "host", run->host.hex);
    tmac_record_number(&record, "started_ns", run->started);
    tmac_record_string(&record, "rigor", tmac_rigor_name(run->rigor));
    tmac_record_number(&record, "threads", run->threads);
    tmac_record_string(&record, "model", run->model);
    tmac_record_string(&record, "kernel", run->kernel);
    tmac_record_number(&record, "logical_cpus", run->logical_cpus);
    tmac_record_number(&record, "load_hundredths", run->load_hundredths);
    tmac_record_number(&record, "bandwidth", run->bandwidth);
    tmac_record_number(&record, "seed", run->seed);
    return put_record(db, &record, name);
}

tmac_status tmac_db_put_close(tmac_db *db, const tmac_db_close_of_run *end)
{
    tmac_record record;
    tmac_db_name name;
    tmac_record_begin(&record, "close", 1);
    tmac_record_string(&record, "run", end->run.hex);
    tmac_record_number(&record, "duration_ns", end->duration_ns);
    tmac_record_number(&record, "load_hundredths", end->load_hundredths);
    tmac_record_number(&record, "steal_thousandths", end->steal_thousandths);
    tmac_record_number(&record, "noise_thousandths", end->noise_thousandths);
    tmac_record_number(&record, "measured", end->measured);
    tmac_record_number(&record, "failed", end->failed);
    return put_record(db, &record, &name);
}

tmac_status tmac_db_put_trial(tmac_db *db, const tmac_db_trial *trial)
{
    tmac_record record;
    tmac_db_name name;
    tmac_record_begin(&record, "trial", 1);
    tmac_record_string(&record, "host", trial->host.hex);
    tmac_record_string(&record, "variant", trial->variant.hex);
    tmac_record_string(&record, "problem", trial->problem.hex);
    tmac_record_string(&record, "run", trial->run.hex);
    tmac_record_string(&record, "rigor", tmac_rigor_name(trial->rigor));
    tmac_record_number(&record, "rigor_level", (uint64_t)trial->rigor);
    tmac_record_string(&record, "outcome", tmac_outcome_name(trial->outcome));
    tmac_record_number(&record, "detail", trial->detail);
    tmac_record_number(&record, "passes", trial->passes);
    tmac_record_number(&record, "samples", trial->samples);
    tmac_record_number(&record, "median_ns", trial->median_ns);
    tmac_record_number(&record, "mad_ns", trial->mad_ns);
    tmac_record_number(&record, "min_ns", trial->min_ns);
    tmac_record_number(&record, "p95_ns", trial->p95_ns);
    return put_record(db, &record, &name);
}

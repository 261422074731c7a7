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

// ---------------------------------------------------------------------------------------------------------- records

static void name_of(const char *bytes, size_t count, tmac_db_name *name)
{
    tmac_record_name(bytes, count, name->hex);
}

tmac_status tmac_db_put(tmac_db *db, const char *bytes, size_t count, tmac_db_name *name)
{
    char kind[TMAC_RECORD_KIND_BYTES];
    uint32_t version;
    if (!tmac_record_canonical(bytes, count, kind, &version))
        return tmac_fail(TMAC_BAD_FILE, "not a canonical record: nothing stored");
    TMAC_TRY(tmac_store_ensure(db));
    name_of(bytes, count, name);
    TMAC_TRY(tmac_store_begin(db));
    bool added;
    return tmac_store_commit(db, tmac_store_record(db, name->hex, kind, version, bytes, count,
                                                   TMAC_ORIGIN_HERE, &added));
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

// Judgements: which of several whole plans was fastest on a model, end to end.
//
// A trial tells the time of a kernel by itself; a judgement corrects what the trials of one host add up to. It names the
// plan that the trials gave when it was made, by a hash over layouts, kernels and their machine code, and holds for that
// plan alone: once other trials give another plan, it has nothing to say. So judgements are records like others:
// immutable, merged by union, the newest of those that apply counts.
//
//   judgement   NAMES of host and run; judged: Unix time; trials: hash of the plan that was corrected; plan: hash of the
//               plan chosen; entryN: its input sets, "KEY|LAYOUT|KERNEL|..." with one kernel per bucket; decode_ns and
//               prefill_ns: of a token; samples; by, signature: db/keys.h
//
// It decides what runs, as a trial does, so it counts only where its signer is trusted: whoever tunes signs with his own
// key. What the system's database says, root has put there.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/keys.h"
#include "db/store.h"

// A plan's name: what it runs, to the machine code.
static void hash_plan(const tmac_plan *plan, char hex[TMAC_HASH_HEX])
{
    tmac_hash_state state;
    uint8_t digest[TMAC_HASH_BYTES];
    char text[TMAC_DB_KEY_BYTES + TMAC_NAME_BYTES + 16];
    tmac_hash_begin(&state);
    for (uint32_t i = 0; i < plan->entry_count && i < TMAC_PLAN_ENTRIES; i++) {
        const tmac_plan_entry *entry = &plan->entries[i];
        char key[TMAC_DB_KEY_BYTES];
        tmac_set_key(&entry->set, key);
        int used =
            snprintf(text, sizeof text, "%" PRIu32 "|%s|%s\n", plan->threads, key, entry->layout);
        tmac_hash_add(&state, text, (size_t)used);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            char binary[TMAC_HASH_HEX] = "";
            const tmac_kernel *kernel = tmac_kernel_find(entry->kernel[bucket]);
            if (kernel) tmac_kernel_binary_id(kernel, binary);
            tmac_hash_add(&state, binary, strlen(binary));
        }
    }
    tmac_hash_end(&state, digest);
    tmac_hash_hex(digest, hex);
}

// "KEY|LAYOUT|KERNEL|..." and back.
enum { ENTRY_BYTES = TMAC_DB_KEY_BYTES + (TMAC_BUCKETS + 1) * TMAC_NAME_BYTES };

static void write_entry(const tmac_plan_entry *entry, char text[ENTRY_BYTES])
{
    char key[TMAC_DB_KEY_BYTES];
    tmac_set_key(&entry->set, key);
    int used = snprintf(text, ENTRY_BYTES, "%s|%s", key, entry->layout);
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        used += snprintf(text + used, ENTRY_BYTES - (size_t)used, "|%s", entry->kernel[bucket]);
}

static bool read_name(const char **at, char name[TMAC_NAME_BYTES])
{
    size_t length = strcspn(*at, "|");
    if (length == 0 || length >= TMAC_NAME_BYTES) return false;
    memset(name, 0, TMAC_NAME_BYTES);
    memcpy(name, *at, length);
    *at += length + ((*at)[length] == '|');
    return true;
}

// Takes over layout and kernels, when they are of this set and this program and within `isa`.
static bool read_entry(const char *text, tmac_isa_set isa, tmac_plan_entry *entry)
{
    char key[TMAC_DB_KEY_BYTES];
    tmac_set_key(&entry->set, key);
    size_t length = strlen(key);
    if (strncmp(text, key, length) != 0 || text[length] != '|') return false;
    const char *at = text + length + 1;
    if (!read_name(&at, entry->layout)) return false;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        if (!read_name(&at, entry->kernel[bucket])) return false;
        const tmac_kernel *kernel = tmac_kernel_find(entry->kernel[bucket]);
        if (!kernel || !tmac_isa_has(isa, kernel->isa) ||
            strcmp(kernel->layout->name, entry->layout) != 0)
            return false;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------------- writing

tmac_status tmac_db_put_judgement(tmac_db *db, const tmac_db_judgement *j)
{
    tmac_record record;
    char hex[TMAC_HASH_HEX], key[16], entry[ENTRY_BYTES];
    tmac_record_begin(&record, "judgement", 1);
    tmac_record_string(&record, "host", j->host.hex);
    tmac_record_string(&record, "run", j->run.hex);
    tmac_record_number(&record, "judged", j->judged);
    tmac_record_number(&record, "threads", j->chosen->threads);
    hash_plan(j->trials, hex);
    tmac_record_string(&record, "trials", hex);
    hash_plan(j->chosen, hex);
    tmac_record_string(&record, "plan", hex);
    for (uint32_t i = 0; i < j->chosen->entry_count && i < TMAC_PLAN_ENTRIES; i++) {
        snprintf(key, sizeof key, "entry%" PRIu32, i);
        write_entry(&j->chosen->entries[i], entry);
        tmac_record_string(&record, key, entry);
    }
    tmac_record_number(&record, "decode_ns", j->decode_ns);
    tmac_record_number(&record, "prefill_ns", j->prefill_ns);
    tmac_record_number(&record, "samples", j->samples);
    tmac_key_pair pair;
    TMAC_TRY(tmac_key_own(db->path, true, &pair));
    tmac_status status = tmac_record_sign(&record, &pair);
    explicit_bzero(&pair, sizeof pair);
    TMAC_TRY(status);
    char *text;
    size_t bytes;
    tmac_db_name name;
    TMAC_TRY(tmac_record_text(&record, &text, &bytes));
    status = tmac_db_put(db, text, bytes, &name);
    free(text);
    return status;
}

// ---------------------------------------------------------------------------------------------------------- reading

// Whether a judgement corrects this plan; if so *corrected is what it says instead.
static bool applies(const tmac_record *record, const char *self, const char *trials,
                    tmac_isa_set isa, const tmac_plan *plan, tmac_plan *corrected)
{
    if (strcmp(tmac_record_get(record, "host"), self) != 0 ||
        strcmp(tmac_record_get(record, "trials"), trials) != 0)
        return false;
    *corrected = *plan;
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        char key[16];
        snprintf(key, sizeof key, "entry%" PRIu32, i);
        if (!read_entry(tmac_record_get(record, key), isa, &corrected->entries[i])) return false;
    }
    char hex[TMAC_HASH_HEX];
    hash_plan(corrected, hex); // the machine code that was judged
    return strcmp(hex, tmac_record_get(record, "plan")) == 0;
}

// Whether its signer is trusted by the keys beside the database at `path`.
static bool believed(const tmac_record *record, const char *path)
{
    tmac_public_key key;
    tmac_keyring ring;
    if (tmac_record_signer(record, &key).code != TMAC_OK ||
        tmac_keyring_load(path, &ring).code != TMAC_OK)
        return false;
    const tmac_trust trust = tmac_keyring_trust(&ring, &key);
    tmac_keyring_free(&ring);
    return trust == TMAC_TRUST_OWN || trust == TMAC_TRUST_TRUSTED;
}

// What is asked of each layer, and the newest answer so far.
typedef struct question {
    const char *path; // whose keys count
    const char *self, *trials;
    tmac_isa_set isa;
    const tmac_plan *plan;
    tmac_record *record; // room to read into
    int64_t judged;      // of the answer; -1: none yet
    tmac_plan answer;
} question;

static tmac_status consult(const tmac_db *db, question *ask)
{
    sqlite3_stmt *q;
    int code;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_store_cached(db, TMAC_SQL_JUDGEMENTS,
                               "SELECT r.bytes, j.judged FROM judgement j JOIN record r ON"
                               " r.id = j.record WHERE j.host = ? AND j.trials = ?"
                               " ORDER BY j.judged DESC, r.name",
                               &q));
    sqlite3_bind_text(q, 1, ask->self, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(q, 2, ask->trials, -1, SQLITE_TRANSIENT);
    while ((code = sqlite3_step(q)) == SQLITE_ROW && sqlite3_column_int64(q, 1) > ask->judged) {
        tmac_plan corrected;
        const char *bytes = sqlite3_column_blob(q, 0);
        if (!bytes ||
            tmac_record_parse(bytes, (size_t)sqlite3_column_bytes(q, 0), ask->record).code !=
                TMAC_OK ||
            ask->record->version != 1 ||
            !applies(ask->record, ask->self, ask->trials, ask->isa, ask->plan, &corrected) ||
            !(db->system || believed(ask->record, ask->path)))
            continue;
        ask->answer = corrected;
        ask->judged = sqlite3_column_int64(q, 1);
    }
    const tmac_status status = code == SQLITE_ROW || code == SQLITE_DONE
                                   ? tmac_ok()
                                   : tmac_store_fail(db, code, "reading judgements");
    sqlite3_reset(q);
    return status;
}

tmac_status tmac_db_plan(const tmac_db *db, const tmac_host *host, const tmac_input_set *sets,
                         uint32_t count, uint32_t threads, tmac_isa_set isa, tmac_plan *plan)
{
    TMAC_TRY(tmac_db_plan_of_trials(db, host, sets, count, threads, isa, plan));
    if (!db || plan->entry_count == 0) return tmac_ok();
    for (uint32_t i = 0; i < plan->entry_count; i++)
        if (plan->entries[i].rung != TMAC_RUNG_HOST) return tmac_ok();
    tmac_db_name self;
    char trials[TMAC_HASH_HEX];
    TMAC_TRY(tmac_host_name(host, &self));
    hash_plan(plan, trials);
    question q = {.path = db->path,
                  .self = self.hex,
                  .trials = trials,
                  .isa = isa | 1u << TMAC_ISA_SCALAR,
                  .plan = plan,
                  .judged = -1};
    q.record = malloc(sizeof *q.record);
    if (!q.record) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a judgement");
    tmac_status status = consult(db, &q);
    for (uint32_t i = 0; i < db->layer_count && status.code == TMAC_OK; i++)
        status = consult(db->layers[i], &q);
    free(q.record);
    if (status.code == TMAC_OK && q.judged >= 0) *plan = q.answer;
    return status;
}

// What leaves a database and enters it: seals and trust, damage, unions of sets, older schemas, judgements.
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/random.h"
#include "db/fleet.h"
#include "tests/unit/scratch.h"

enum { PATH_BYTES = 160 };
static char folder[64];

static void set_up(void)
{
    scratch_make("fleet", folder);
}

static void tear_down(void)
{
    scratch_remove(folder);
}

TestSuite(fleet, .init = set_up, .fini = tear_down);

static const tmac_input_set the_set = {'t', 256, 256, 2, {512, 128}, TMAC_STREAMED};

// A database has a folder of its own, because its keys lie beside it.
static const char *at(const char *name, const char *file)
{
    static char paths[4][PATH_BYTES];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_BYTES, "%s/%s", folder, name);
    mkdir(path, 0755); // or it is there
    snprintf(path, PATH_BYTES, "%s/%s/%s", folder, name, file);
    return path;
}

static tmac_db *open_db(const char *name)
{
    tmac_db *db;
    OK(tmac_db_open(at(name, "tune.db"), TMAC_DB_WRITE, &db));
    return db;
}

static tmac_host the_host(uint32_t stepping)
{
    return (tmac_host){.cpu_name = "A", .stepping = stepping, .isa = 0xf, .logical_cpus = 2};
}

static const tmac_kernel *scalar_kernel(size_t number)
{
    size_t count;
    const tmac_kernel *const *all = tmac_kernels(&count);
    for (size_t i = 0; i < count; i++)
        if (all[i]->isa == TMAC_ISA_SCALAR && tmac_layout_holds(all[i]->layout, &the_set) &&
            number-- == 0)
            return all[i];
    cr_assert_fail("too few kernels");
    return NULL;
}

static void put_trial(tmac_db *db, uint32_t stepping, size_t kernel, uint64_t median)
{
    const tmac_host host = the_host(stepping);
    tmac_db_trial trial = {.rigor = TMAC_RIGOR_MEASURE,
                           .passes = 10,
                           .samples = 16,
                           .median_ns = median,
                           .mad_ns = 1,
                           .min_ns = median,
                           .p95_ns = median};
    OK(tmac_db_put_host(db, &host, &trial.host));
    tmac_db_run run = {.host = trial.host,
                       .started = 7,
                       .rigor = TMAC_RIGOR_MEASURE,
                       .threads = 2,
                       .model = "m",
                       .kernel = "k"};
    OK(tmac_db_put_run(db, &run, &trial.run));
    OK(tmac_db_put_variant(db, scalar_kernel(kernel), &trial.variant));
    OK(tmac_db_put_problem(db, &the_set, 0, 2, &trial.problem));
    OK(tmac_db_put_trial(db, &trial));
}

static tmac_db_traffic import(const char *name, const char *path, bool own)
{
    tmac_db *db = open_db(name);
    tmac_db_traffic traffic;
    OK(tmac_db_import(db, path, own, &traffic));
    tmac_db_close(db);
    return traffic;
}

static void export_db(const char *name, bool seal)
{
    tmac_db *db = open_db(name);
    tmac_db_traffic traffic;
    uint64_t sealed;
    if (seal) OK(tmac_db_seal(db, &sealed));
    OK(tmac_db_export(db, at(name, "export"), true, &traffic));
    tmac_db_close(db);
}

static char *read_whole(const char *path, size_t *count)
{
    FILE *file = fopen(path, "rb");
    cr_assert(file, "%s", path);
    char *bytes = malloc(1 << 20);
    cr_assert(bytes);
    *count = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_whole(const char *path, const char *bytes, size_t count)
{
    FILE *file = fopen(path, "wb");
    cr_assert(file);
    cr_assert_eq(fwrite(bytes, 1, count, file), count);
    fclose(file);
}

static void execute(const char *name, const char *sql)
{
    sqlite3 *sqlite;
    cr_assert_eq(sqlite3_open(at(name, "tune.db"), &sqlite), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK, "%s",
                 sqlite3_errmsg(sqlite));
    sqlite3_close(sqlite);
}

static tmac_db_traffic verify(const char *name)
{
    tmac_db *db;
    tmac_db_traffic traffic;
    OK(tmac_db_open(at(name, "tune.db"), TMAC_DB_READ, &db));
    OK(tmac_db_verify(db, &traffic));
    tmac_db_close(db);
    return traffic;
}

Test(fleet, a_trial_goes_through_all_states_of_trust)
{
    tmac_db *db = open_db("a");
    tmac_db_traffic traffic;
    tmac_key_pair pair;
    put_trial(db, 1, 0, 1000);
    put_trial(db, 1, 1, 2000);
    tmac_db_close(db);
    export_db("a", false);
    cr_assert_eq(import("b", at("a", "export"), false).states[TMAC_STATE_UNSIGNED], 2);
    export_db("a", true);
    cr_assert_eq(import("b", at("a", "export"), false).states[TMAC_STATE_UNKNOWN_SIGNER], 2);
    OK(tmac_key_own(at("a", "tune.db"), false, &pair));
    OK(tmac_keyring_set(at("b", "tune.db"), &pair.public_key, TMAC_TRUST_TRUSTED, "a"));
    cr_assert_eq(import("b", at("a", "export"), false).states[TMAC_STATE_USABLE], 2);

    tmac_db_claim *claims;
    const tmac_kernel **kernels;
    size_t count;
    db = open_db("b");
    OK(tmac_db_imported_problems(db, &claims, &count));
    cr_assert_eq(count, 1);
    cr_assert_eq(claims[0].threads, 2);
    cr_assert_eq(claims[0].bucket, 0);
    cr_assert_eq(claims[0].set.rows[0], 512);
    OK(tmac_db_imported_kernels(db, &kernels, &count));
    cr_assert_eq(count, 2);
    free((void *)kernels);
    OK(tmac_db_refute(db, scalar_kernel(0), &claims[0].problem, TMAC_STATE_DOUBTED));
    free(claims);
    OK(tmac_db_retrust(db, &traffic));
    cr_assert_eq(traffic.states[TMAC_STATE_DOUBTED], 1, "trust does not undo what was found here");
    tmac_db_close(db);
    OK(tmac_keyring_set(at("b", "tune.db"), &pair.public_key, TMAC_TRUST_REVOKED, NULL));
    traffic = import("b", at("a", "export"), true);
    cr_assert_eq(traffic.states[TMAC_STATE_REVOKED], 1, "not even when the user vouches for it");
    cr_assert_eq(traffic.states[TMAC_STATE_DOUBTED], 1);

    // What was measured here needs nobody's word, whoever else has it.
    db = open_db("b");
    put_trial(db, 1, 1, 2000);
    OK(tmac_db_retrust(db, &traffic));
    cr_assert_eq(traffic.states[TMAC_STATE_USABLE], 1);
    tmac_db_close(db);
}

Test(fleet, a_file_with_any_bit_changed_or_any_end_missing_is_refused)
{
    tmac_db *db = open_db("a");
    tmac_db_name object;
    tmac_db_traffic traffic;
    put_trial(db, 1, 0, 1000);
    OK(tmac_db_put_object(db, "code", 4, &object));
    tmac_db_close(db);
    export_db("a", true);
    OK(tmac_db_verify_export(at("a", "export"), &traffic));
    cr_assert_eq(traffic.seals, 1);
    cr_assert_eq(traffic.objects, 1);
    size_t count;
    char *bytes = read_whole(at("a", "export"), &count);
    // Every bit: of head, lengths, names, keys, values, newlines, signature, object, digest.
    for (size_t i = 0; i < 8 * count; i++) {
        const char was = bytes[i / 8];
        bytes[i / 8] = (char)(was ^ (1 << i % 8));
        write_whole(at("a", "bad"), bytes, count);
        bytes[i / 8] = was;
        cr_assert_neq(tmac_db_verify_export(at("a", "bad"), &traffic).code, TMAC_OK,
                      "bit %zu of byte %zu of %zu", i % 8, i / 8, count);
    }
    for (size_t i = 0; i < count; i += 13) {
        write_whole(at("a", "bad"), bytes, i);
        cr_assert_neq(tmac_db_verify_export(at("a", "bad"), &traffic).code, TMAC_OK,
                      "the first %zu bytes of %zu", i, count);
    }
    // Refused as a whole: the database that met it is as it was.
    export_db("b", false);
    size_t before, after;
    char *old = read_whole(at("b", "export"), &before);
    db = open_db("b");
    cr_assert_neq(tmac_db_import(db, at("a", "bad"), false, &traffic).code, TMAC_OK);
    tmac_db_close(db);
    export_db("b", false);
    char *new = read_whole(at("b", "export"), &after);
    cr_assert_eq(before, after);
    cr_assert_arr_eq(old, new, before);
    free(old);
    free(new);
    free(bytes);
}

Test(fleet, a_signature_fits_its_record_alone)
{
    tmac_record record, other;
    tmac_key_pair pair;
    tmac_public_key key;
    OK(tmac_key_own(at("a", "tune.db"), true, &pair));
    tmac_record_begin(&record, "seal", 1);
    tmac_record_string(&record, "what", "this");
    cr_assert_eq(tmac_record_signer(&record, &key).code, TMAC_NOT_FOUND);
    OK(tmac_record_sign(&record, &pair));
    OK(tmac_record_signer(&record, &key));
    cr_assert_arr_eq(key.bytes, pair.public_key.bytes, sizeof key.bytes);
    tmac_record_begin(&other, "seal", 1);
    tmac_record_string(&other, "what", "that");
    tmac_record_string(&other, "by", tmac_record_get(&record, "by"));
    tmac_record_string(&other, "signature", tmac_record_get(&record, "signature"));
    cr_assert_eq(tmac_record_signer(&other, &key).code, TMAC_BAD_FILE);
}

// A random part of a world of trials and of records from other programs.
static void fill(const char *name, tmac_random *random)
{
    tmac_db *db = open_db(name);
    for (uint32_t i = 0; i < 24; i++) {
        const uint64_t dice = tmac_random_next(random);
        if (dice % 2) put_trial(db, i % 3, i % 4, 1000 + i);
        if (dice % 5 == 0) {
            char text[64];
            tmac_db_name unused;
            const int length =
                snprintf(text, sizeof text, "tmac hologram %u\ncolour %u\n", 1 + i % 2, i);
            OK(tmac_db_put(db, text, (size_t)length, &unused));
        }
    }
    tmac_db_close(db);
    export_db(name, false);
}

static void same_exports(const char *a, const char *b)
{
    size_t m, n;
    export_db(a, false);
    export_db(b, false);
    char *x = read_whole(at(a, "export"), &m), *y = read_whole(at(b, "export"), &n);
    cr_assert_eq(m, n, "%s has %zu bytes, %s %zu", a, m, b, n);
    cr_assert_arr_eq(x, y, m);
    free(x);
    free(y);
}

Test(fleet, merging_is_a_union_of_sets)
{
    static const char *const parts[] = {"p", "q", "r"};
    for (uint64_t seed = 1; seed <= 4; seed++) {
        tmac_random random = {seed};
        for (int i = 0; i < 3; i++)
            fill(parts[i], &random);
        // (p + q) + r, r + (q + p), p + p + q + r + q; as exports and as databases.
        import("left", at("p", "export"), true);
        import("left", at("q", "export"), true);
        import("left", at("r", "export"), true);
        import("inner", at("q", "tune.db"), true);
        import("inner", at("p", "tune.db"), false);
        import("right", at("r", "tune.db"), true);
        import("right", at("inner", "tune.db"), true);
        for (int i = 0; i < 5; i++)
            import("often", at(parts[(i * 7 + 1) % 3], "export"), i % 2);
        same_exports("left", "right");
        same_exports("left", "often");
        cr_assert_eq(import("left", at("right", "export"), true).new_records, 0);
        verify("left");
    }
}

// What the database of schema 3 was in schema 2.
static const char into_schema_2[] =
    "DROP VIEW winner; DROP VIEW trial; DROP TABLE judgement;"
    "ALTER TABLE measurement RENAME TO newer;"
    "CREATE TABLE measurement(record INTEGER PRIMARY KEY, host INTEGER NOT NULL,"
    "  problem INTEGER NOT NULL, variant INTEGER NOT NULL, run INTEGER NOT NULL, rigor INTEGER,"
    "  outcome TEXT, passes INTEGER, samples INTEGER, median_ns INTEGER, mad_ns INTEGER,"
    "  origin INTEGER NOT NULL, state INTEGER NOT NULL);"
    "INSERT INTO measurement SELECT record, host, problem, variant, run, rigor, outcome, passes,"
    "  samples, median_ns, mad_ns, origin, state FROM newer; DROP TABLE newer;"
    "CREATE INDEX measurement_by_problem ON measurement(problem, host);"
    "CREATE VIEW trial AS SELECT 1; CREATE VIEW winner AS SELECT 1; PRAGMA user_version = 2;";

// In schema 1 records had no numbers, and the index had names.
static const char into_schema_1[] =
    "DROP VIEW winner; DROP VIEW trial; DROP TABLE judgement; DROP TABLE measurement;"
    "DROP TABLE tally; DROP TABLE run; DROP TABLE problem; DROP TABLE variant; DROP TABLE host;"
    "ALTER TABLE record RENAME TO newer;"
    "CREATE TABLE record(name TEXT PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL,"
    "  bytes BLOB NOT NULL) WITHOUT ROWID;"
    "INSERT INTO record SELECT name, kind, version, bytes FROM newer; DROP TABLE newer;"
    "CREATE TABLE trial(name TEXT PRIMARY KEY); CREATE TABLE host(name TEXT PRIMARY KEY);"
    "CREATE TABLE variant(name TEXT); CREATE TABLE problem(name TEXT); CREATE TABLE run(name TEXT);"
    "CREATE VIEW winner AS SELECT name FROM trial; PRAGMA user_version = 1;";

Test(fleet, older_schemas_are_renewed_and_trust_nobody_more_than_before)
{
    tmac_db *db = open_db("stranger");
    put_trial(db, 1, 0, 1000);
    tmac_db_close(db);
    export_db("stranger", true);
    db = open_db("a");
    put_trial(db, 2, 1, 2000);
    tmac_db_close(db);
    import("a", at("stranger", "export"), false);
    export_db("a", false);
    size_t count, again;
    char *before = read_whole(at("a", "export"), &count);
    for (int schema = 1; schema <= 2; schema++) {
        if (schema == 2) {
            import("b", at("a", "tune.db"), false);
            execute("b", into_schema_2);
        } else {
            execute("a", into_schema_1);
        }
        const char *name = schema == 2 ? "b" : "a";
        // Read without being changed first, then renewed.
        const tmac_db_traffic read = verify(name);
        cr_assert_eq(read.trials, 2);
        export_db(name, false);
        char *after = read_whole(at(name, "export"), &again);
        cr_assert_eq(count, again);
        cr_assert_arr_eq(before, after, count);
        free(after);
        const tmac_db_traffic renewed = verify(name);
        for (int state = 0; state < TMAC_STATES; state++)
            cr_assert_eq(renewed.states[state], read.states[state]);
        // Schema 1 had no strangers.
        cr_assert_eq(renewed.states[TMAC_STATE_USABLE], schema == 1 ? 2 : 0);
    }
    free(before);
}

// Trials of the host, the plan they give, and a plan of another kernel.
static void put_rivals(tmac_db *db, tmac_plan *trials, tmac_plan *plan)
{
    const tmac_host host = the_host(1);
    put_trial(db, 1, 0, 1000);
    put_trial(db, 1, 1, 900000);
    OK(tmac_db_plan_of_trials(db, &host, &the_set, 1, 2, 0xf, trials));
    cr_assert_eq(trials->entries[0].rung, TMAC_RUNG_HOST);
    *plan = *trials;
    const tmac_kernel *other = scalar_kernel(0);
    if (strcmp(other->layout->name, trials->entries[0].layout) == 0) other = scalar_kernel(1);
    snprintf(plan->entries[0].layout, TMAC_NAME_BYTES, "%s", other->layout->name);
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        snprintf(plan->entries[0].kernel[bucket], TMAC_NAME_BYTES, "%s", other->name);
}

Test(fleet, the_newest_judgement_of_this_very_plan_counts)
{
    tmac_db *db = open_db("a");
    const tmac_host host = the_host(1);
    tmac_plan trials, plan, found;
    put_rivals(db, &trials, &plan);
    tmac_db_judgement judgement = {.judged = 5, .trials = &trials, .chosen = &plan, .samples = 1};
    OK(tmac_db_put_host(db, &host, &judgement.host));
    judgement.run = judgement.host;
    OK(tmac_db_put_judgement(db, &judgement));
    OK(tmac_db_plan(db, &host, &the_set, 1, 2, 0xf, &found));
    cr_assert_str_eq(found.entries[0].kernel[0], plan.entries[0].kernel[0]);
    judgement.judged = 6;
    judgement.chosen = &trials;
    OK(tmac_db_put_judgement(db, &judgement));
    OK(tmac_db_plan(db, &host, &the_set, 1, 2, 0xf, &found));
    cr_assert_str_eq(found.entries[0].kernel[0], trials.entries[0].kernel[0]);
    judgement.judged = 7;
    judgement.trials = judgement.chosen = &plan; // of another plan
    OK(tmac_db_put_judgement(db, &judgement));
    OK(tmac_db_plan(db, &host, &the_set, 1, 2, 0xf, &found));
    cr_assert_str_eq(found.entries[0].kernel[0], trials.entries[0].kernel[0]);
    tmac_db_close(db);
}

// The kernel that would run for one token: by the database of this name, and a layer of the fleet or the system's.
static const char *runs_by(const char *name, const char *fleet, const char *system)
{
    static tmac_plan found;
    tmac_db *db;
    const tmac_host host = the_host(1);
    cr_assert_eq(setenv("TMAC_SYSTEM_DB", system, 1), 0);
    OK(tmac_db_open_layers(at(name, "tune.db"), fleet, &db));
    OK(tmac_db_plan(db, &host, &the_set, 1, 2, 0xf, &found));
    tmac_db_close(db);
    return found.entries[0].kernel[0];
}

Test(fleet, a_judgement_of_any_layer_counts_when_its_signer_is_trusted)
{
    tmac_db *db = open_db("a");
    const tmac_host host = the_host(1);
    tmac_plan trials, plan;
    tmac_key_pair pair;
    put_rivals(db, &trials, &plan);
    tmac_db_judgement judgement = {.judged = 5, .trials = &trials, .chosen = &plan, .samples = 1};
    OK(tmac_db_put_host(db, &host, &judgement.host));
    judgement.run = judgement.host;
    OK(tmac_db_put_judgement(db, &judgement));
    tmac_db_close(db);
    export_db("a", true);
    import("b", at("a", "export"),
           true); // the user vouches for its trials; a judgement needs a signer
    char tuned[PATH_BYTES], nothing[PATH_BYTES];
    snprintf(tuned, sizeof tuned, "%s", at("a", "tune.db"));
    snprintf(nothing, sizeof nothing, "%s", at("none", "tune.db"));
    const char *judged = plan.entries[0].kernel[0], *measured = trials.entries[0].kernel[0];
    cr_assert_str_eq(runs_by("a", "", nothing), judged, "its own");
    cr_assert_str_eq(runs_by("b", "", nothing), measured, "a stranger's, taken over");
    cr_assert_str_eq(runs_by("c", tuned, nothing), measured, "a stranger's, in a layer");
    cr_assert_str_eq(runs_by("c", "", tuned), judged, "the system's");
    OK(tmac_key_own(tuned, false, &pair));
    OK(tmac_keyring_set(at("b", "tune.db"), &pair.public_key, TMAC_TRUST_TRUSTED, "a"));
    OK(tmac_keyring_set(at("c", "tune.db"), &pair.public_key, TMAC_TRUST_TRUSTED, "a"));
    cr_assert_str_eq(runs_by("b", "", nothing), judged, "a friend's, taken over");
    cr_assert_str_eq(runs_by("c", tuned, nothing), judged, "a friend's, in a layer");
    cr_assert_str_eq(runs_by("c", at("a", "export"), nothing), judged, "a friend's, in an export");
    OK(tmac_keyring_set(at("c", "tune.db"), &pair.public_key, TMAC_TRUST_REVOKED, NULL));
    cr_assert_str_eq(runs_by("c", tuned, nothing), measured, "a former friend's");
}

// Two layers that overlap: a trial in both, one in each alone, by two hosts.
Test(fleet, layers_are_listed_together_and_twins_count_once)
{
    tmac_db *db = open_db("a"), *other = open_db("b");
    put_trial(db, 1, 0, 1000);
    put_trial(db, 1, 1, 2000);
    put_trial(other, 1, 1, 2000);
    put_trial(other, 1, 1, 500);
    put_trial(other, 2, 0, 4000);
    tmac_db_close(other);
    tmac_db_close(db);
    char both[2 * PATH_BYTES];
    snprintf(both, sizeof both, "%s:%s", at("a", "tune.db"), at("b", "tune.db"));
    cr_assert_eq(setenv("TMAC_SYSTEM_DB", at("none", "tune.db"), 1), 0);
    OK(tmac_db_open_layers(at("c", "tune.db"), both, &db));
    const tmac_host host = the_host(1);
    tmac_db_inventory v;
    OK(tmac_db_status(db, &host, &v));
    cr_assert_eq(v.layer_count, 3);
    cr_assert(v.exists && !v.layers[0].exists && v.layers[1].exists && v.layers[2].exists);
    cr_assert_str_eq(v.layers[0].label, "own");
    cr_assert_str_eq(v.layers[2].label, "fleet2");
    cr_assert_str_eq(v.layers[2].path, at("b", "tune.db"));
    cr_assert_str_eq(v.integrity, "ok");
    uint64_t trials = 0, hosts = 0;
    for (size_t i = 0; i < v.kind_count; i++) {
        if (strcmp(v.kinds[i].kind, "trial") == 0) trials = v.kinds[i].records;
        if (strcmp(v.kinds[i].kind, "host") == 0) hosts = v.kinds[i].records;
    }
    cr_assert_eq(trials, 4);
    cr_assert_eq(hosts, 2);
    cr_assert_eq(v.host_count, 2);
    cr_assert(v.hosts[0].exact && v.hosts[0].trials == 3 && v.hosts[0].layers == 6);
    cr_assert(!v.hosts[1].exact && v.hosts[1].trials == 1 && v.hosts[1].layers == 4);
    cr_assert_eq(v.problem_count, 1);
    cr_assert(v.problems[0].trials == 4 && v.problems[0].layers == 6);

    tmac_db_winner *winners;
    size_t count;
    OK(tmac_db_winners(db, &v.hosts[0].name, &winners, &count));
    cr_assert_eq(count, 1);
    cr_assert(winners[0].ns == 50 && winners[0].layers == 4);
    cr_assert_str_eq(winners[0].kernel, scalar_kernel(1)->name);
    free(winners);
    tmac_db_figure *figures;
    OK(tmac_db_figures(db, &host, &the_set, 0, 2, &figures, &count));
    cr_assert_eq(count, 2);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(figures[i].layers, figures[i].kernel == scalar_kernel(0) ? 2 : 4);
    free(figures);
    tmac_db_inventory_free(&v);
    tmac_db_close(db);
}

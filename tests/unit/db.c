// The tuning database: canonical records, identities, the ladder, the judgement, what it refuses.
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/db.h"
#include "tests/unit/scratch.h"

static char folder[64], path[128];

static void set_up(void)
{
    scratch_make("db", folder);
    snprintf(path, sizeof path, "%s/deep/er/tune.db", folder);
}

static void tear_down(void)
{
    scratch_remove(folder);
}

TestSuite(db, .init = set_up, .fini = tear_down);

static tmac_host host_like(const char *name, uint32_t stepping, uint64_t l2)
{
    tmac_host host = {.stepping = stepping, .l2_bytes = l2, .isa = 0xf, .logical_cpus = 2};
    snprintf(host.cpu_name, sizeof host.cpu_name, "%s", name);
    return host;
}

static const tmac_input_set the_set = {'t', 256, 256, 2, {512, 128}, TMAC_STREAMED};

static void put(tmac_db *db, const tmac_host *host, const tmac_kernel *kernel, uint32_t bucket,
                uint64_t median, uint64_t mad, tmac_outcome outcome, tmac_rigor rigor,
                uint64_t bandwidth)
{
    tmac_db_trial trial = {.rigor = rigor,
                           .outcome = outcome,
                           .passes = 10,
                           .samples = 16,
                           .median_ns = median,
                           .mad_ns = mad,
                           .min_ns = median,
                           .p95_ns = median};
    OK(tmac_db_put_host(db, host, &trial.host));
    tmac_db_run run = {.host = trial.host,
                       .started = median,
                       .rigor = rigor,
                       .threads = 2,
                       .model = "m",
                       .kernel = "k",
                       .bandwidth = bandwidth};
    OK(tmac_db_put_run(db, &run, &trial.run));
    OK(tmac_db_put_variant(db, kernel, &trial.variant));
    OK(tmac_db_put_problem(db, &the_set, bucket, 2, &trial.problem));
    OK(tmac_db_put_trial(db, &trial));
}

// Two kernels of different layouts that are not the rule's choice, and the rule's own.
static void kernels(const tmac_kernel **a, const tmac_kernel **b, const tmac_kernel **rule)
{
    size_t count;
    const tmac_kernel *const *all = tmac_kernels(&count);
    tmac_plan_entry entry = tmac_plan_rule(&the_set, 2, 0xf);
    *rule = tmac_kernel_find(entry.kernel[0]);
    *a = *b = NULL;
    for (size_t i = 0; i < count; i++) {
        if (all[i]->layout == (*rule)->layout || all[i]->isa != TMAC_ISA_SCALAR) continue;
        if (!*a)
            *a = all[i];
        else if (!*b && all[i]->layout != (*a)->layout)
            *b = all[i];
    }
    cr_assert(*a && *b && *rule);
}

static tmac_plan plan_of(const tmac_db *db, const tmac_host *host, tmac_isa_set isa)
{
    tmac_plan plan;
    OK(tmac_db_plan(db, host, &the_set, 1, 2, isa, &plan));
    cr_assert_eq(plan.entry_count, 1);
    return plan;
}

Test(db, canonical_text_is_sorted_escaped_and_read_back)
{
    tmac_record record, back;
    char *text, kind[TMAC_RECORD_KIND_BYTES];
    size_t bytes;
    uint32_t version;
    tmac_record_begin(&record, "thing", 3);
    tmac_record_string(&record, "zebra", "50 %\nnext");
    tmac_record_number(&record, "ant", UINT64_MAX);
    tmac_record_string(&record, "empty", "");
    OK(tmac_record_text(&record, &text, &bytes));
    cr_assert_str_eq(text, "tmac thing 3\nant 18446744073709551615\nempty \nzebra 50 %25%0Anext\n");
    cr_assert(tmac_record_canonical(text, bytes, kind, &version));
    cr_assert_str_eq(kind, "thing");
    cr_assert_eq(version, 3);
    OK(tmac_record_parse(text, bytes, &back));
    cr_assert_str_eq(tmac_record_get(&back, "zebra"), "50 %\nnext");
    cr_assert_eq(tmac_record_get_number(&back, "ant"), UINT64_MAX);
    free(text);
    tmac_record_string(&record, "ant", "twice");
    cr_assert_eq(tmac_record_text(&record, &text, &bytes).code, TMAC_INTERNAL);
}

Test(db, other_spellings_of_a_record_are_refused)
{
    static const char *const bad[] = {
        "",
        "tmac",
        "tmac thing 1",
        "tmac thing 01\na b\n",
        "tmac thing 4294967296\n",
        "tmac Thing 1\n",
        "tmac thing 1\nb 1\na 1\n",
        "tmac thing 1\na 1\na 1\n",
        "tmac thing 1\na 1",
        "tmac thing 1\na\n",
        "tmac thing 1\na %41\n",
        "tmac thing 1\na %0a\n",
        "tmac thing 1\na %0\n",
        "tmac thing 1\na \tb\n",
        "tmac thing 1\n\n",
    };
    char kind[TMAC_RECORD_KIND_BYTES];
    uint32_t version;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(tmac_record_canonical(bad[i], strlen(bad[i]), kind, &version), "%zu", i);
}

Test(db, absent_database_reads_as_empty_and_is_not_created)
{
    tmac_db *db;
    const tmac_host host = host_like("a", 1, 1);
    OK(tmac_db_open(path, TMAC_DB_READ, &db));
    cr_assert_eq(plan_of(db, &host, 0xf).entries[0].rung, TMAC_RUNG_RULE);
    cr_assert_neq(access(path, F_OK), 0);
    tmac_db_close(db);
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    cr_assert_neq(access(path, F_OK), 0, "created before the first write");
    tmac_db_close(db);
}

Test(db, unknown_records_are_kept_byte_for_byte)
{
    static const char future[] = "tmac trial 9\nspin up\nvariant x\n",
                      alien[] = "tmac hologram 1\ncolour %0Ablue\n";
    tmac_db *db;
    tmac_db_name name, again;
    char *bytes;
    size_t count;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    OK(tmac_db_put(db, alien, strlen(alien), &again));
    OK(tmac_db_put(db, future, strlen(future), &name));
    OK(tmac_db_put(db, future, strlen(future), &again));
    cr_assert_str_eq(name.hex, again.hex);
    cr_assert_neq(tmac_db_put(db, "tmac x 1\nb", 10, &again).code, TMAC_OK);
    tmac_db_close(db);
    OK(tmac_db_open(path, TMAC_DB_READ, &db));
    OK(tmac_db_get(db, name.hex, &bytes, &count));
    cr_assert_eq(count, strlen(future));
    cr_assert_arr_eq(bytes, future, count);
    free(bytes);
    tmac_db_inventory inventory;
    const tmac_host host = host_like("a", 1, 1);
    OK(tmac_db_status(db, &host, &inventory));
    cr_assert_str_eq(inventory.integrity, "ok");
    cr_assert_eq(inventory.kind_count, 2);
    cr_assert_eq(inventory.problem_count, 0);
    tmac_db_inventory_free(&inventory);
    tmac_db_close(db);
}

static void execute(const char *sql)
{
    sqlite3 *sqlite;
    cr_assert_eq(sqlite3_open(path, &sqlite), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(sqlite, sql, NULL, NULL, NULL), SQLITE_OK, "%s",
                 sqlite3_errmsg(sqlite));
    sqlite3_close(sqlite);
}

Test(db, newer_schemas_and_strangers_are_refused_and_damage_is_named)
{
    tmac_db *db;
    const tmac_host host = host_like("a", 1, 1);
    tmac_db_name name;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    OK(tmac_db_put_host(db, &host, &name));
    tmac_db_close(db);
    execute("UPDATE record SET bytes = bytes || 'x'");
    tmac_db_inventory inventory;
    OK(tmac_db_open(path, TMAC_DB_READ, &db));
    OK(tmac_db_status(db, &host, &inventory));
    cr_assert(strstr(inventory.integrity, name.hex));
    tmac_db_inventory_free(&inventory);
    tmac_db_close(db);
    execute("PRAGMA user_version = 99");
    for (int mode = TMAC_DB_READ; mode <= TMAC_DB_WRITE; mode++) {
        tmac_status status = tmac_db_open(path, (tmac_db_mode)mode, &db);
        cr_assert_eq(status.code, TMAC_UNSUPPORTED);
        cr_assert(strstr(status.message, "newer") && strstr(status.message, path));
        cr_assert_null(db);
    }
    execute("PRAGMA application_id = 7");
    cr_assert_eq(tmac_db_open(path, TMAC_DB_WRITE, &db).code, TMAC_BAD_FILE);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    for (int i = 0; i < 100; i++)
        fputs("not a database, whatever its name says\n", file);
    fclose(file);
    cr_assert_eq(tmac_db_open(path, TMAC_DB_READ, &db).code, TMAC_BAD_FILE);
    cr_assert_eq(tmac_db_open(folder, TMAC_DB_READ, &db).code, TMAC_BAD_FILE);
}

Test(db, an_older_schema_is_migrated_and_its_records_indexed)
{
    // Schema 0: records alone. The index follows from them.
    tmac_db *db;
    const tmac_host host = host_like("a", 1, 1);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    put(db, &host, a, 0, 1000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    tmac_db_close(db);
    execute("DROP VIEW winner; DROP VIEW trial; DROP TABLE measurement; DROP TABLE judgement; DROP "
            "TABLE tally; DROP "
            "TABLE run;"
            "DROP TABLE problem; DROP TABLE variant; DROP TABLE host; PRAGMA user_version = 0; "
            "PRAGMA application_id = 0;");
    cr_assert_eq(tmac_db_open(path, TMAC_DB_WRITE, &db).code, TMAC_BAD_FILE,
                 "tables, but not marked as ours");
    execute("PRAGMA application_id = 1953325411");
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    tmac_plan_entry entry = plan_of(db, &host, 0xf).entries[0];
    cr_assert_eq(entry.rung, TMAC_RUNG_HOST);
    cr_assert_str_eq(entry.kernel[0], a->name);
    tmac_db_close(db);
}

Test(db, network_file_systems_get_no_write_ahead_log)
{
    cr_assert_not(tmac_db_wants_wal(0x6969));
    cr_assert_not(tmac_db_wants_wal((long)0xff534d42));
    cr_assert_not(tmac_db_wants_wal((long)(int)0xff534d42));
    cr_assert(tmac_db_wants_wal(0xef53));
}

Test(db, ladder_goes_from_host_to_class_to_isa_to_rule)
{
    const tmac_host here = host_like("here", 1, 100), twin = host_like("twin", 2, 100),
                    cousin = host_like("cousin", 3, 7);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    cr_assert_eq(plan_of(db, &here, 0xf).entries[0].rung, TMAC_RUNG_RULE);

    put(db, &cousin, b, 0, 1000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 1000);
    tmac_plan_entry entry = plan_of(db, &here, 0xf).entries[0];
    cr_assert_eq(entry.rung, TMAC_RUNG_ISA);
    cr_assert_str_eq(entry.kernel[0], b->name);
    cr_assert_str_eq(entry.kernel[5], tmac_plan_rule_kernel(b->layout->name, 5, 0xf));

    // A twin whose bandwidth is not known to be ours is of no class of ours; it has the same instruction sets.
    put(db, &twin, a, 0, 1000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 1000);
    cr_assert_eq(plan_of(db, &here, 0xf).entries[0].rung, TMAC_RUNG_ISA);
    tmac_db_run run = {.started = 1,
                       .rigor = TMAC_RIGOR_QUICK,
                       .threads = 2,
                       .model = "",
                       .kernel = "",
                       .bandwidth = 2000};
    tmac_db_name name;
    OK(tmac_db_put_host(db, &here, &run.host));
    OK(tmac_db_put_run(db, &run, &name));
    cr_assert_eq(plan_of(db, &here, 0xf).entries[0].rung, TMAC_RUNG_ISA,
                 "twice the bandwidth is another class");
    run.started = 2;
    run.bandwidth = 1100;
    OK(tmac_db_put_run(db, &run, &name));
    entry = plan_of(db, &here, 0xf).entries[0];
    cr_assert_eq(entry.rung, TMAC_RUNG_CLASS);
    cr_assert_str_eq(entry.kernel[0], a->name);

    put(db, &here, b, 0, 1000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 1100);
    entry = plan_of(db, &here, 0xf).entries[0];
    cr_assert_eq(entry.rung, TMAC_RUNG_HOST);
    cr_assert_str_eq(entry.kernel[0], b->name);
    tmac_host other = here;
    other.isa = 0x1;
    cr_assert_eq(plan_of(db, &other, 0xf).entries[0].rung, TMAC_RUNG_RULE,
                 "other instruction sets");
    tmac_plan plan;
    OK(tmac_db_plan(db, &here, &the_set, 1, 1, 0xf, &plan));
    cr_assert_eq(plan.entries[0].rung, TMAC_RUNG_RULE, "other threads");
    tmac_db_close(db);
}

Test(db, a_winner_beats_the_incumbent_by_more_than_the_noise)
{
    const tmac_host here = host_like("here", 1, 100);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    put(db, &here, rule, 0, 100000, 3000, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, a, 0, 97000, 3000, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].kernel[0], rule->name);
    put(db, &here, a, 0, 80000, 3000, TMAC_OUTCOME_OK, TMAC_RIGOR_MEASURE, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].kernel[0], a->name,
                     "more rigor counts, and the gain is clear");
    put(db, &here, a, 0, 99999, 3000, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].kernel[0], a->name,
                     "less rigor does not count");
    put(db, &here, b, 0, 10, 0, TMAC_OUTCOME_OK, TMAC_RIGOR_MEASURE, 0);
    put(db, &here, b, 0, 0, 0, TMAC_OUTCOME_WRONG, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].kernel[0], a->name,
                     "a kernel that failed never runs");
    tmac_db_close(db);
}

// What was measured before a kernel was made says nothing against it; once it was tried, well or not, figures decide.
Test(db, a_kernel_newer_than_the_figures_serves_large_batches)
{
    const tmac_host here = host_like("here", 1, 100);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    const char *usual = tmac_plan_rule_kernel(a->layout->name, 5, 0xf);
    cr_assert(usual && strcmp(usual, a->name) != 0);
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    put(db, &here, a, 0, 100, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, a, 5, 12800, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    tmac_plan_entry entry = plan_of(db, &here, 0xf).entries[0];
    cr_assert_str_eq(entry.layout, a->layout->name);
    cr_assert_str_eq(entry.kernel[0], a->name);
    cr_assert_str_eq(entry.kernel[5], usual);
    put(db, &here, tmac_kernel_find(usual), 5, 25600, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].kernel[5], a->name, "slower");
    tmac_db_close(db);
}

Test(db, a_kernel_that_failed_is_not_taken_for_newer)
{
    const tmac_host here = host_like("here", 1, 100);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    const char *usual = tmac_plan_rule_kernel(a->layout->name, 5, 0xf);
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    put(db, &here, a, 0, 100, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, a, 5, 12800, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, tmac_kernel_find(usual), 3, 0, 0, TMAC_OUTCOME_WRONG, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].kernel[5], a->name);
    tmac_db_close(db);
}

Test(db, a_layout_is_judged_over_all_buckets)
{
    const tmac_host here = host_like("here", 1, 100);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    // b decodes a tenth faster, a prefills (128 tokens) ten times faster.
    put(db, &here, a, 0, 100000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, b, 0, 90000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].layout, b->layout->name);
    put(db, &here, a, 5, 1280000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].layout, a->layout->name,
                     "b is charged its time at N = 1");
    put(db, &here, b, 5, 1400000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].layout, b->layout->name,
                     "now it has its own");
    tmac_db_close(db);
}

// Where many tokens at once are dearer than one by one, what was never measured with many would look cheapest.
Test(db, a_layout_gains_nothing_by_what_was_not_measured)
{
    const tmac_host here = host_like("here", 1, 100);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    put(db, &here, rule, 0, 120000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, rule, 5, 128 * 120000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, a, 0, 100000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, a, 5, 128 * 110000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    put(db, &here, b, 0, 101000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].layout, a->layout->name,
                     "b is charged what 128 tokens cost the dearest");
    put(db, &here, b, 5, 128 * 102000, 1, TMAC_OUTCOME_OK, TMAC_RIGOR_QUICK, 0);
    cr_assert_str_eq(plan_of(db, &here, 0xf).entries[0].layout, b->layout->name,
                     "now it has its own");
    tmac_db_close(db);
}

Test(db, machine_code_of_another_build_is_passed_over)
{
    const tmac_host here = host_like("here", 1, 100);
    const tmac_kernel *a, *b, *rule;
    kernels(&a, &b, &rule);
    tmac_kernel other = *a;
    other.compiler = "another compiler";
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    put(db, &here, &other, 0, 10, 0, TMAC_OUTCOME_OK, TMAC_RIGOR_MEASURE, 0);
    cr_assert_eq(plan_of(db, &here, 0xf).entries[0].rung, TMAC_RUNG_RULE);
    tmac_db_close(db);
}

Test(db, the_rule_serves_every_valid_set)
{
    static const tmac_input_set sets[] = {
        {'t', 1, 1, 1, {1}, TMAC_RESIDENT},
        {'t', 32, 172, 3, {64, 7, 7}, TMAC_RESIDENT},
        {'t', 6912, 6912, 1, {2560}, TMAC_STREAMED},
    };
    for (tmac_isa_set isa = 0; isa < 16; isa++) {
        for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
            tmac_plan_entry entry = tmac_plan_rule(&sets[i], 1, isa);
            for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
                const tmac_kernel *kernel = tmac_kernel_find(entry.kernel[bucket]);
                cr_assert(kernel);
                cr_assert_str_eq(kernel->layout->name, entry.layout);
                cr_assert(tmac_isa_has(isa | 1, kernel->isa));
                cr_assert(tmac_layout_holds(kernel->layout, &sets[i]));
            }
        }
    }
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
        cr_assert_eq(tmac_bucket_of(tmac_bucket_typical(bucket)), bucket);
    cr_assert_eq(tmac_bucket_of(65), 5);
    cr_assert_eq(tmac_bucket_of(64), 4);
}

static void read_value(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    for (uint32_t i = 0; i < count * matrix->columns; i++)
        values[i] = (float)(matrix->detail + first + i);
}

// The width of a screened head holds for one head on one host; of several, the newest with the number of threads counts.
Test(db, a_screening_holds_for_its_head_and_host)
{
    const tmac_host here = host_like("here", 1, 100), there = host_like("there", 1, 100);
    const tmac_matrix head = {
        .number = TMAC_F32, .rows = 40, .columns = 3, .read_float = read_value};
    tmac_matrix other = head;
    other.detail = 1;
    static const struct {
        uint32_t threads, bits;
        uint64_t measured;
    } known[] = {{1, 4, 10}, {2, 5, 30}, {2, 8, 20}};
    tmac_db *db;
    OK(tmac_db_open(path, TMAC_DB_WRITE, &db));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        tmac_db_screening s = {.head = &head,
                               .threads = known[i].threads,
                               .bits = known[i].bits,
                               .measured = known[i].measured};
        s.ns[s.bits] = 1;
        OK(tmac_db_put_host(db, &here, &s.host));
        OK(tmac_db_put_screening(db, &s));
    }
    static const struct {
        uint32_t threads, bits;
    } asked[] = {{1, 4}, {2, 5}, {3, 5}};
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        uint32_t bits;
        OK(tmac_db_screen_bits(db, &here, &head, asked[i].threads, &bits));
        cr_assert_eq(bits, asked[i].bits, "%u threads: %u", asked[i].threads, bits);
        OK(tmac_db_screen_bits(db, &here, &other, asked[i].threads, &bits));
        cr_assert_eq(bits, 0);
        OK(tmac_db_screen_bits(db, &there, &head, asked[i].threads, &bits));
        cr_assert_eq(bits, 0);
    }
    tmac_db_close(db);
}

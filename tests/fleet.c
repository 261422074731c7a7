// A tool for tests of large and busy databases.
//
//   fleet generate DB HOSTS TRIALS SEED   fills a database with invented measurements of this program's kernels, as
//                                         tuning three models on each host would leave them
//   fleet lookup DB                       microseconds of a lookup: opening and the first, then of known and of unknown
//                                         hosts, one input set at a time and a model's four
//   fleet lie DB                          trials of a host with this one's instruction sets: the scalar kernel is said to
//                                         be a hundred times faster than the rule's; exit status 3 where that is scalar
//   fleet writers DB PROCESSES SECONDS    that many processes store trials; checks that none is lost or told to wait
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "db/db.h"
#include "db/fleet.h"

enum { MODELS = 3, SETS_OF_MODEL = 4, SETS = MODELS * SETS_OF_MODEL, THREADS = 2, LOOKUPS = 500 };
static const uint32_t thread_counts[THREADS] = {4, 8};

static tmac_host invent_host(uint64_t number)
{
    static const tmac_isa best[] = {TMAC_ISA_AVX2, TMAC_ISA_AVX512VNNI, TMAC_ISA_AVX512GFNI};
    tmac_host host = {.stepping = (uint32_t)number,
                      .family = 6,
                      .l1d_bytes = 32768,
                      .l2_bytes = 1u << 20,
                      .l3_bytes = (uint64_t)(8 + number % 4) << 20,
                      .isa = tmac_isa_contained(best[number % 3]),
                      .logical_cpus = 8};
    snprintf(host.cpu_name, sizeof host.cpu_name, "Invented %" PRIu64, number);
    return host;
}

// What a layer of a model multiplies: queries, keys and values; the attention's output; gate and up; down.
static tmac_input_set invent_set(uint32_t number)
{
    static const uint32_t shapes[MODELS][3] = {
        {2560, 640, 6912}, {1536, 1536, 4096}, {3200, 3200, 8640}};
    const uint32_t *m = shapes[number / SETS_OF_MODEL % MODELS];
    const tmac_input_set sets[SETS_OF_MODEL] = {
        {'t', m[0], m[0], 3, {m[0], m[1], m[1]}, TMAC_STREAMED},
        {'t', m[0], m[0], 1, {m[0]}, TMAC_STREAMED},
        {'t', m[0], m[0], 2, {m[2], m[2]}, TMAC_STREAMED},
        {'t', m[2], m[2], 1, {m[0]}, TMAC_STREAMED},
    };
    return sets[number % SETS_OF_MODEL];
}

static tmac_status take(tmac_db_intake *in, const tmac_record *record, tmac_db_name *name)
{
    char *text;
    size_t bytes;
    uint8_t digest[TMAC_HASH_BYTES];
    TMAC_TRY(tmac_record_text(record, &text, &bytes));
    tmac_hash(text, bytes, digest);
    tmac_hash_hex(digest, name->hex);
    tmac_status status = tmac_db_intake_record(in, text, bytes, name->hex);
    free(text);
    return status;
}

// The names of what trials refer to, stored one by one.
typedef struct cast {
    tmac_db_name *hosts, *runs, *variants;
    tmac_db_name problems[SETS][TMAC_BUCKETS][THREADS];
    size_t kernels;
} cast;

static tmac_status introduce(tmac_db *db, cast *c, uint64_t hosts)
{
    const tmac_kernel *const *all = tmac_kernels(&c->kernels);
    c->hosts = calloc(hosts, sizeof *c->hosts);
    c->runs = calloc(hosts, sizeof *c->runs);
    c->variants = calloc(c->kernels, sizeof *c->variants);
    if (!c->hosts || !c->runs || !c->variants) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory");
    for (size_t i = 0; i < c->kernels; i++)
        TMAC_TRY(tmac_db_put_variant(db, all[i], &c->variants[i]));
    for (uint32_t s = 0; s < SETS; s++)
        for (uint32_t b = 0; b < TMAC_BUCKETS; b++)
            for (uint32_t t = 0; t < THREADS; t++) {
                const tmac_input_set set = invent_set(s);
                TMAC_TRY(tmac_db_put_problem(db, &set, b, thread_counts[t], &c->problems[s][b][t]));
            }
    for (uint64_t h = 0; h < hosts; h++) {
        const tmac_host host = invent_host(h);
        TMAC_TRY(tmac_db_put_host(db, &host, &c->hosts[h]));
        const tmac_db_run run = {.host = c->hosts[h],
                                 .started = 1700000000000000000u + h,
                                 .rigor = TMAC_RIGOR_MEASURE,
                                 .threads = 4,
                                 .model = "invented",
                                 .kernel = "6.1",
                                 .bandwidth = 20000000000u};
        TMAC_TRY(tmac_db_put_run(db, &run, &c->runs[h]));
    }
    return tmac_ok();
}

// The kernels that a host measures at a problem: all it can run at one token; at more, of every layout one, so that no
// layout has a gap, and a quarter of the rest.
static size_t contenders(const tmac_host *host, const tmac_input_set *set, uint32_t bucket,
                         size_t *chosen)
{
    size_t all, count = 0, fit = 0;
    const tmac_kernel *const *kernels = tmac_kernels(&all);
    for (size_t i = 0; i < all; i++) {
        if (!tmac_isa_has(host->isa, kernels[i]->isa) ||
            !tmac_layout_holds(kernels[i]->layout, set))
            continue;
        bool first = true;
        for (size_t k = 0; k < count && first; k++)
            first = kernels[chosen[k]]->layout != kernels[i]->layout;
        if (bucket == 0 || first || fit % 4 == 0) chosen[count++] = i;
        fit++;
    }
    return count;
}

typedef struct filling {
    tmac_db_intake in;
    const cast *c;
    tmac_random random;
    uint64_t left, serial;
} filling;

static tmac_status add_trial(filling *f, uint64_t host, size_t kernel, uint32_t set,
                             uint32_t bucket, uint32_t threads, uint32_t round)
{
    tmac_record r;
    tmac_db_name name;
    // A kernel has a speed at a problem, a little different on each host, and every measurement some noise. One kernel
    // of each host crashes.
    tmac_random nature = {kernel * 1009 + set * 31 + bucket};
    const uint64_t own = 100000 + tmac_random_next(&nature) % 300000;
    const uint64_t median = (own + own * (host % 7) / 40) * tmac_bucket_typical(bucket) / 2 +
                            tmac_random_next(&f->random) % (own / 200);
    const bool crash = kernel == host && bucket == 0;
    const tmac_rigor rigor = round % 2 ? TMAC_RIGOR_MEASURE : TMAC_RIGOR_QUICK;
    tmac_record_begin(&r, "trial", 1);
    tmac_record_string(&r, "host", f->c->hosts[host].hex);
    tmac_record_string(&r, "variant", f->c->variants[kernel].hex);
    tmac_record_string(&r, "problem", f->c->problems[set][bucket][threads].hex);
    tmac_record_string(&r, "run", f->c->runs[host].hex);
    tmac_record_string(&r, "rigor", tmac_rigor_name(rigor));
    tmac_record_number(&r, "rigor_level", rigor);
    tmac_record_string(&r, "outcome",
                       tmac_outcome_name(crash ? TMAC_OUTCOME_CRASH : TMAC_OUTCOME_OK));
    tmac_record_number(&r, "detail", crash ? 11 : f->serial); // no two trials alike
    tmac_record_number(&r, "passes", crash ? 0 : 10);
    tmac_record_number(&r, "samples", crash ? 0 : median % 2 ? 4 : 16);
    tmac_record_number(&r, "median_ns", crash ? 0 : median);
    tmac_record_number(&r, "mad_ns", crash ? 0 : median / 200);
    tmac_record_number(&r, "min_ns", crash ? 0 : median - median / 100);
    tmac_record_number(&r, "p95_ns", crash ? f->serial : median + median / 50);
    f->serial++;
    f->left--;
    return take(&f->in, &r, &name);
}

// One more tuning of everything on every host, as far as trials are left.
static tmac_status add_round(filling *f, uint64_t hosts, uint32_t round, size_t *chosen)
{
    tmac_status status = tmac_ok();
    for (uint64_t h = 0; h < hosts; h++) {
        const tmac_host host = invent_host(h);
        for (uint32_t problem = 0; problem < SETS * TMAC_BUCKETS * THREADS; problem++) {
            const uint32_t s = problem / TMAC_BUCKETS % SETS, bucket = problem % TMAC_BUCKETS;
            const tmac_input_set set = invent_set(s);
            const size_t count = contenders(&host, &set, bucket, chosen);
            for (size_t k = 0; k < count && f->left > 0 && status.code == TMAC_OK; k++)
                status =
                    add_trial(f, h, chosen[k], s, bucket, problem / TMAC_BUCKETS / SETS, round);
        }
    }
    return status;
}

// Every host judged its plan of every model.
static tmac_status judge(tmac_db *db, const cast *c, uint64_t hosts)
{
    for (uint64_t h = 0; h < hosts; h++) {
        const tmac_host host = invent_host(h);
        for (uint32_t model = 0; model < MODELS; model++) {
            tmac_input_set sets[SETS_OF_MODEL];
            tmac_plan plan;
            for (uint32_t i = 0; i < SETS_OF_MODEL; i++)
                sets[i] = invent_set(model * SETS_OF_MODEL + i);
            TMAC_TRY(tmac_db_plan_of_trials(db, &host, sets, SETS_OF_MODEL, 4, host.isa, &plan));
            const tmac_db_judgement judgement = {.host = c->hosts[h],
                                                 .run = c->runs[h],
                                                 .judged = 1700000000000000000u + h,
                                                 .trials = &plan,
                                                 .chosen = &plan,
                                                 .decode_ns = 20000000,
                                                 .samples = 16};
            TMAC_TRY(tmac_db_put_judgement(db, &judgement));
        }
    }
    return tmac_ok();
}

// What is measured here is what an export seals: so this was.
static tmac_status adopt(const char *path)
{
    sqlite3 *sqlite;
    int code = sqlite3_open(path, &sqlite);
    if (code == SQLITE_OK)
        code = sqlite3_exec(sqlite, "UPDATE measurement SET origin = 2", NULL, NULL, NULL);
    sqlite3_close(sqlite);
    return code == SQLITE_OK ? tmac_ok() : tmac_fail(TMAC_IO, "%s: %s", path, sqlite3_errstr(code));
}

static tmac_status generate(const char *path, uint64_t hosts, uint64_t trials, uint64_t seed)
{
    tmac_db *db;
    cast c = {0};
    tmac_db_traffic traffic = {0};
    filling f = {.c = &c, .random = {seed}, .left = trials};
    TMAC_TRY(tmac_db_open(path, TMAC_DB_WRITE, &db));
    tmac_status status = introduce(db, &c, hosts);
    size_t *chosen = calloc(c.kernels + 1, sizeof *chosen);
    if (status.code == TMAC_OK && !chosen) status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory");
    if (status.code == TMAC_OK) status = tmac_db_intake_begin(db, true, &traffic, &f.in);
    if (status.code == TMAC_OK) {
        for (uint32_t round = 0; f.left > 0 && status.code == TMAC_OK; round++)
            status = add_round(&f, hosts, round, chosen);
        status = tmac_db_intake_end(&f.in, status);
    }
    if (status.code == TMAC_OK) status = judge(db, &c, hosts);
    free(chosen);
    free(c.hosts);
    free(c.runs);
    free(c.variants);
    tmac_db_close(db);
    return status.code == TMAC_OK ? adopt(path) : status;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Times lookups of `count` sets at once, by hosts whose numbers begin at `first`.
static tmac_status time_lookups(const tmac_db *db, const char *what, uint64_t first, uint32_t count)
{
    static uint64_t ns[LOOKUPS];
    int measured = 0;
    for (int i = 0; i < LOOKUPS; i++) {
        tmac_plan plan;
        const tmac_host host = invent_host(first + (uint64_t)(i % 100));
        tmac_input_set sets[SETS_OF_MODEL];
        for (uint32_t s = 0; s < count; s++)
            sets[s] = invent_set((uint32_t)i % SETS / count * count + s);
        const uint64_t begin = tmac_now_ns();
        TMAC_TRY(tmac_db_plan(db, &host, sets, count, 4, host.isa, &plan));
        ns[i] = tmac_now_ns() - begin;
        measured += plan.entries[0].rung != TMAC_RUNG_RULE;
    }
    qsort(ns, LOOKUPS, sizeof ns[0], ascending);
    const size_t middle = LOOKUPS / 2, nearly_all = LOOKUPS * 99 / 100;
    printf("lookup_us %s: median %.1f, 99 %% below %.1f, slowest %.1f, %d of %d measured\n", what,
           (double)ns[middle] / 1e3, (double)ns[nearly_all] / 1e3, (double)ns[LOOKUPS - 1] / 1e3,
           measured, LOOKUPS);
    return tmac_ok();
}

static tmac_status lookup(const char *path)
{
    tmac_db *db;
    const tmac_host host = invent_host(0);
    const tmac_input_set set = invent_set(0);
    tmac_plan plan;
    const uint64_t begin = tmac_now_ns();
    TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, &db));
    tmac_status status = tmac_db_plan(db, &host, &set, 1, 4, host.isa, &plan);
    printf("lookup_us opening and the first: %.1f\n", (double)(tmac_now_ns() - begin) / 1e3);
    if (status.code == TMAC_OK) status = time_lookups(db, "known host", 0, 1);
    if (status.code == TMAC_OK) status = time_lookups(db, "unknown host", 9000, 1);
    if (status.code == TMAC_OK) status = time_lookups(db, "a model's four sets", 0, SETS_OF_MODEL);
    tmac_db_close(db);
    return status;
}

static tmac_status lie(const char *path, bool *possible)
{
    tmac_host host;
    tmac_host_probe(&host);
    const tmac_input_set set = {'t', 2560, 2560, 1, {2560}, TMAC_RESIDENT};
    const tmac_plan_entry rule = tmac_plan_rule(&set, 1, host.isa);
    const tmac_plan_entry scalar = tmac_plan_rule(&set, 1, 1u << TMAC_ISA_SCALAR);
    const char *const kernels[] = {scalar.kernel[0], rule.kernel[0]};
    *possible = strcmp(kernels[0], kernels[1]) != 0;
    if (!*possible) return tmac_ok();
    host.stepping += 1;
    tmac_db *db;
    TMAC_TRY(tmac_db_open(path, TMAC_DB_WRITE, &db));
    tmac_db_trial trial = {.rigor = TMAC_RIGOR_MEASURE, .passes = 1, .samples = 16};
    tmac_status status = tmac_db_put_host(db, &host, &trial.host);
    const tmac_db_run run = {.host = trial.host,
                             .started = 1,
                             .rigor = TMAC_RIGOR_MEASURE,
                             .threads = 1,
                             .model = "",
                             .kernel = ""};
    if (status.code == TMAC_OK) status = tmac_db_put_run(db, &run, &trial.run);
    if (status.code == TMAC_OK) status = tmac_db_put_problem(db, &set, 0, 1, &trial.problem);
    for (int i = 0; i < 2 && status.code == TMAC_OK; i++) {
        trial.median_ns = i == 0 ? 10000 : 1000000;
        status = tmac_db_put_variant(db, tmac_kernel_find(kernels[i]), &trial.variant);
        if (status.code == TMAC_OK) status = tmac_db_put_trial(db, &trial);
    }
    tmac_db_close(db);
    return status;
}

// Stores trials until the time is over; writes the number it stored to the pipe.
static tmac_status write_trials(const char *path, uint64_t writer, uint64_t seconds, int report)
{
    const uint64_t end = tmac_now_ns() + seconds * 1000000000u;
    const tmac_host host = invent_host(0);
    const tmac_input_set set = invent_set(0);
    size_t kernels;
    uint64_t stored = 0;
    tmac_db *db;
    TMAC_TRY(tmac_db_open(path, TMAC_DB_WRITE, &db));
    tmac_db_trial trial = {.rigor = TMAC_RIGOR_QUICK, .passes = 1, .samples = 1, .median_ns = 1};
    tmac_status status = tmac_db_put_host(db, &host, &trial.host);
    tmac_db_run run = {.host = trial.host,
                       .started = writer,
                       .rigor = TMAC_RIGOR_QUICK,
                       .model = "",
                       .kernel = ""};
    if (status.code == TMAC_OK) status = tmac_db_put_run(db, &run, &trial.run);
    if (status.code == TMAC_OK)
        status = tmac_db_put_variant(db, tmac_kernels(&kernels)[0], &trial.variant);
    if (status.code == TMAC_OK) status = tmac_db_put_problem(db, &set, 0, 4, &trial.problem);
    while (status.code == TMAC_OK && tmac_now_ns() < end) {
        trial.p95_ns = ++stored;
        status = tmac_db_put_trial(db, &trial);
    }
    tmac_db_close(db);
    if (status.code == TMAC_OK && write(report, &stored, sizeof stored) != sizeof stored)
        status = tmac_fail(TMAC_IO, "cannot report");
    return status;
}

static tmac_status writers(const char *path, uint64_t processes, uint64_t seconds)
{
    int ends[2];
    uint64_t stored, total = 0, found = 0;
    if (pipe(ends) != 0) return tmac_fail(TMAC_IO, "no pipe");
    for (uint64_t i = 0; i < processes; i++) {
        if (fork() != 0) continue;
        const tmac_status status = write_trials(path, i, seconds, ends[1]);
        if (status.code != TMAC_OK) fprintf(stderr, "writer %" PRIu64 ": %s\n", i, status.message);
        _exit(status.code == TMAC_OK ? 0 : 1);
    }
    bool good = true;
    for (uint64_t i = 0; i < processes; i++) {
        int how;
        good &= wait(&how) > 0 && WIFEXITED(how) && WEXITSTATUS(how) == 0;
    }
    close(ends[1]);
    while (read(ends[0], &stored, sizeof stored) == sizeof stored)
        total += stored;
    close(ends[0]);
    tmac_db *db;
    tmac_db_traffic traffic;
    TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, &db));
    tmac_status status = tmac_db_verify(db, &traffic);
    tmac_db_close(db);
    if (status.code != TMAC_OK) return status;
    found = traffic.trials;
    printf("%" PRIu64 " processes stored %" PRIu64 " trials, %" PRIu64 " are there\n", processes,
           total, found);
    return good && found == total ? tmac_ok() : tmac_fail(TMAC_INTERNAL, "trials were lost");
}

int main(int argc, char **argv)
{
    uint64_t numbers[3] = {0};
    bool possible = true;
    for (int i = 3; i < argc && i < 6; i++)
        numbers[i - 3] = strtoull(argv[i], NULL, 10);
    tmac_status status = tmac_fail(TMAC_USAGE, "usage: fleet generate|lookup|lie|writers DB ...");
    if (argc == 6 && strcmp(argv[1], "generate") == 0 && numbers[0] > 0)
        status = generate(argv[2], numbers[0], numbers[1], numbers[2]);
    else if (argc == 3 && strcmp(argv[1], "lookup") == 0)
        status = lookup(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "lie") == 0)
        status = lie(argv[2], &possible);
    else if (argc == 5 && strcmp(argv[1], "writers") == 0)
        status = writers(argv[2], numbers[0], numbers[1]);
    if (status.code == TMAC_OK) return possible ? 0 : 3;
    fprintf(stderr, "fleet: %s\n", status.message);
    return tmac_exit_status(status.code);
}

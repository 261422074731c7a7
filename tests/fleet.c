// A tool for tests of large and busy databases.
//
//   fleet generate DB HOSTS TRIALS SEED   fills a database with invented measurements of this program's kernels
//   fleet lookup DB                       microseconds of one lookup of an input set: the median and the slowest of 500
//   fleet writers DB PROCESSES SECONDS    that many processes store trials; checks that none is lost or told to wait
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "db/db.h"
#include "db/fleet.h"

enum { SETS = 8, THREADS = 2, LOOKUPS = 500 };

static tmac_host invent_host(uint64_t number)
{
    tmac_host host = {.stepping = (uint32_t)number,
                      .family = 6,
                      .l1d_bytes = 32768,
                      .l2_bytes = 1u << 20,
                      .l3_bytes = (uint64_t)(8 + number % 4) << 20,
                      .isa = number % 3 ? 0xff : 0xf,
                      .logical_cpus = 8};
    snprintf(host.cpu_name, sizeof host.cpu_name, "Invented %" PRIu64, number);
    return host;
}

static tmac_input_set invent_set(uint32_t number)
{
    const tmac_input_set set = {'t', 2560, 2560, 1, {640 + 640 * number}, TMAC_STREAMED};
    return set;
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
                TMAC_TRY(tmac_db_put_problem(db, &set, b, 4 + 4 * t, &c->problems[s][b][t]));
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

static tmac_status generate(const char *path, uint64_t hosts, uint64_t trials, uint64_t seed)
{
    tmac_db *db;
    cast c = {0};
    tmac_db_traffic traffic = {0};
    tmac_db_intake in;
    tmac_random random = {seed};
    TMAC_TRY(tmac_db_open(path, TMAC_DB_WRITE, &db));
    TMAC_TRY(introduce(db, &c, hosts));
    TMAC_TRY(tmac_db_intake_begin(db, true, &traffic, &in));
    tmac_status status = tmac_ok();
    for (uint64_t i = 0; i < trials && status.code == TMAC_OK; i++) {
        tmac_record r;
        tmac_db_name name;
        // Hosts in turn, then kernels, buckets, thread counts and sets: every host measures the same things.
        uint64_t rest = i / hosts;
        const size_t kernel = rest % c.kernels;
        rest /= c.kernels;
        const uint32_t bucket = (uint32_t)(rest % TMAC_BUCKETS);
        rest /= TMAC_BUCKETS;
        const uint64_t median = 100000 + tmac_random_next(&random) % 900000;
        tmac_record_begin(&r, "trial", 1);
        tmac_record_string(&r, "host", c.hosts[i % hosts].hex);
        tmac_record_string(&r, "variant", c.variants[kernel].hex);
        tmac_record_string(&r, "problem",
                           c.problems[rest / THREADS % SETS][bucket][rest % THREADS].hex);
        tmac_record_string(&r, "run", c.runs[i % hosts].hex);
        tmac_record_string(&r, "rigor", "measure");
        tmac_record_number(&r, "rigor_level", TMAC_RIGOR_MEASURE);
        tmac_record_string(&r, "outcome", "ok");
        tmac_record_number(&r, "detail", i); // no two trials alike
        tmac_record_number(&r, "passes", 10);
        tmac_record_number(&r, "samples", 16);
        tmac_record_number(&r, "median_ns", median);
        tmac_record_number(&r, "mad_ns", median / 200);
        tmac_record_number(&r, "min_ns", median - median / 100);
        tmac_record_number(&r, "p95_ns", median + median / 50);
        status = take(&in, &r, &name);
    }
    status = tmac_db_intake_end(&in, status);
    free(c.hosts);
    free(c.runs);
    free(c.variants);
    tmac_db_close(db);
    return status;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static tmac_status lookup(const char *path)
{
    static uint64_t ns[LOOKUPS];
    tmac_db *db;
    int measured = 0;
    TMAC_TRY(tmac_db_open(path, TMAC_DB_READ, &db));
    tmac_status status = tmac_ok();
    for (int i = 0; i < LOOKUPS && status.code == TMAC_OK; i++) {
        tmac_plan plan;
        const tmac_host host = invent_host((uint64_t)(i % 100));
        const tmac_input_set set = invent_set((uint32_t)(i % SETS));
        const uint64_t begin = tmac_now_ns();
        status = tmac_db_plan(db, &host, &set, 1, 4, host.isa, &plan);
        ns[i] = tmac_now_ns() - begin;
        measured += plan.entries[0].rung != TMAC_RUNG_RULE;
    }
    tmac_db_close(db);
    qsort(ns, LOOKUPS, sizeof ns[0], ascending);
    printf("lookup_us median %.1f slowest %.1f, %d of %d measured\n", (double)ns[LOOKUPS / 2] / 1e3,
           (double)ns[LOOKUPS - 1] / 1e3, measured, LOOKUPS);
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
    for (int i = 3; i < argc && i < 6; i++)
        numbers[i - 3] = strtoull(argv[i], NULL, 10);
    tmac_status status = tmac_fail(TMAC_USAGE, "usage: fleet generate|lookup|writers DB ...");
    if (argc == 6 && strcmp(argv[1], "generate") == 0 && numbers[0] > 0)
        status = generate(argv[2], numbers[0], numbers[1], numbers[2]);
    else if (argc == 3 && strcmp(argv[1], "lookup") == 0)
        status = lookup(argv[2]);
    else if (argc == 5 && strcmp(argv[1], "writers") == 0)
        status = writers(argv[2], numbers[0], numbers[1]);
    if (status.code == TMAC_OK) return 0;
    fprintf(stderr, "fleet: %s\n", status.message);
    return tmac_exit_status(status.code);
}

// What imported trials say is checked here before anything rests on it.
//
// Every kernel they speak for is proved exact, and a few of the winners they bring are timed against the kernels that
// would run without them: at one token, where threads and instruction sets are this host's, those of most trials first.
// What fails is not used, and stays so when the file is imported again.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/db_commands.h"
#include "db/kernels.h"
#include "tune/spot.h"
#include "tune/tune.h"

enum { GATE_MS = 20000, SPOTS = 6 };
static const double spot_seconds = 3;

typedef struct checks {
    const tmac_kernel **kernels; // that imported trials speak for, and this host can run
    size_t count;
    tmac_gate_result *results;
    tmac_spot spots[SPOTS];
    tmac_db_name problems[SPOTS];
    size_t spot_count;
} checks;

// The winner of a problem where it is not what the rule would run.
static tmac_status add_spot(const db_context *c, const tmac_db *db, const tmac_db_claim *claim,
                            checks *k)
{
    tmac_plan plan;
    if (claim->bucket != 0 || claim->threads == 0 || claim->threads > c->host.logical_cpus)
        return tmac_ok();
    TMAC_TRY(
        tmac_db_plan_of_trials(db, &c->host, &claim->set, 1, claim->threads, c->host.isa, &plan));
    const tmac_plan_entry rule = tmac_plan_rule(&claim->set, claim->threads, c->host.isa);
    tmac_spot *spot = &k->spots[k->spot_count];
    *spot = (tmac_spot){.set = claim->set,
                        .threads = claim->threads,
                        .claimed = tmac_kernel_find(plan.entries[0].kernel[0]),
                        .incumbent = tmac_kernel_find(rule.kernel[0])};
    if (!spot->claimed || !spot->incumbent || spot->claimed == spot->incumbent) return tmac_ok();
    k->problems[k->spot_count++] = claim->problem;
    return tmac_ok();
}

// The database is closed again before anything is measured: no handle crosses a fork.
static tmac_status collect(const db_context *c, checks *k)
{
    tmac_db *db;
    tmac_db_claim *claims = NULL;
    size_t count = 0, kept = 0;
    TMAC_TRY(tmac_db_open(c->path, TMAC_DB_READ, &db));
    tmac_db_loaded loaded;
    tmac_status status = tmac_db_load_kernels(db, NULL, 0, &loaded);
    if (status.code == TMAC_OK) status = tmac_db_imported_kernels(db, &k->kernels, &k->count);
    if (status.code == TMAC_OK) status = tmac_db_imported_problems(db, &claims, &count);
    for (size_t i = 0; i < count && status.code == TMAC_OK && k->spot_count < SPOTS; i++)
        status = add_spot(c, db, &claims[i], k);
    free(claims);
    tmac_db_close(db);
    if (status.code != TMAC_OK) return status;
    for (size_t i = 0; i < k->count; i++)
        if (tmac_isa_has(c->host.isa, k->kernels[i]->isa)) k->kernels[kept++] = k->kernels[i];
    k->count = kept;
    k->results = calloc(kept + 1, sizeof *k->results);
    return k->results ? tmac_ok() : tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu checks", kept);
}

static tmac_status prove(checks *k)
{
    static const tmac_shape shapes[] = {{64, 256, 256}, {7, 172, 172}, {33, 320, 64}};
    if (k->count == 0) return tmac_ok();
    TMAC_TRY(tmac_gate(k->kernels, k->count, shapes, sizeof shapes / sizeof shapes[0], GATE_MS,
                       k->results));
    for (size_t i = 0; i < k->count; i++) {
        if (k->results[i].outcome == TMAC_OUTCOME_OK) continue;
        fprintf(stderr,
                "tmac-db: warning: %s: %s on this host (%s); its imported trials are not used\n",
                k->kernels[i]->name, tmac_outcome_name(k->results[i].outcome),
                k->results[i].message);
        // What is not exact is not timed.
        for (size_t s = 0; s < k->spot_count; s++) {
            if (k->spots[s].claimed != k->kernels[i]) continue;
            k->spot_count--;
            k->spots[s] = k->spots[k->spot_count];
            k->problems[s--] = k->problems[k->spot_count];
        }
    }
    fprintf(stderr, "%zu kernels that imported trials speak for were checked here\n", k->count);
    return tmac_ok();
}

static tmac_status time_winners(const db_context *c, checks *k)
{
    size_t timed = 0;
    const uint64_t begin = tmac_now_ns();
    TMAC_TRY(tmac_spot_check(&c->host, k->spots, k->spot_count, spot_seconds));
    for (size_t i = 0; i < k->spot_count; i++) {
        const tmac_spot *spot = &k->spots[i];
        char set[80];
        timed += spot->timed;
        if (!spot->refuted) continue;
        db_describe_set(&spot->set, set);
        if (spot->outcome == TMAC_OUTCOME_OK)
            fprintf(stderr,
                    "tmac-db: warning: %s: said to be fastest for %s with %" PRIu32
                    " threads, takes %.1f us here where %s takes %.1f us; these trials are not "
                    "used\n",
                    spot->claimed->name, set, spot->threads, spot->claimed_ns / 1e3,
                    spot->incumbent->name, spot->incumbent_ns / 1e3);
        else
            fprintf(stderr,
                    "tmac-db: warning: %s: %s while it was timed for %s; its trials are not used\n",
                    spot->claimed->name, tmac_outcome_name(spot->outcome), set);
    }
    if (k->spot_count > 0)
        fprintf(stderr, "%zu of %zu winners that differ from the rule were timed in %.1f s\n",
                timed, k->spot_count, (double)(tmac_now_ns() - begin) / 1e9);
    return tmac_ok();
}

// *refuted: how many were found wrong.
static tmac_status refute(const db_context *c, const checks *k, size_t *refuted,
                          tmac_db_traffic *traffic)
{
    tmac_db *db;
    *refuted = 0;
    for (size_t i = 0; i < k->count; i++)
        *refuted += k->results[i].outcome != TMAC_OUTCOME_OK;
    for (size_t i = 0; i < k->spot_count; i++)
        *refuted += k->spots[i].refuted;
    if (*refuted == 0) return tmac_ok();
    TMAC_TRY(tmac_db_open(c->path, TMAC_DB_WRITE, &db));
    tmac_status status = tmac_ok();
    for (size_t i = 0; i < k->count && status.code == TMAC_OK; i++)
        if (k->results[i].outcome != TMAC_OUTCOME_OK)
            status = tmac_db_refute(db, k->kernels[i], NULL, TMAC_STATE_INEXACT);
    for (size_t i = 0; i < k->spot_count && status.code == TMAC_OK; i++)
        if (k->spots[i].refuted)
            status = tmac_db_refute(db, k->spots[i].claimed,
                                    k->spots[i].outcome == TMAC_OUTCOME_OK ? &k->problems[i] : NULL,
                                    k->spots[i].outcome == TMAC_OUTCOME_OK ? TMAC_STATE_DOUBTED
                                                                           : TMAC_STATE_INEXACT);
    if (status.code == TMAC_OK) status = tmac_db_retrust(db, traffic);
    tmac_db_close(db);
    return status;
}

tmac_status db_check_imports(const db_context *c, tmac_db_traffic *traffic)
{
    checks k = {0};
    size_t refuted;
    tmac_status status = collect(c, &k);
    if (status.code == TMAC_OK) status = prove(&k);
    if (status.code == TMAC_OK) status = time_winners(c, &k);
    if (status.code == TMAC_OK) status = refute(c, &k, &refuted, traffic);
    free(k.results);
    free((void *)k.kernels);
    return status;
}

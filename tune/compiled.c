// Kernels compiled for the shapes of the model, in a tuning session.
//
// What to compile is known once the kernels of this program have been measured: the fastest of the problems in which a token
// spends most time, with that problem's columns and scale group as constants, and, where they fetch ahead by software,
// with a neighbouring distance. Measuring is interrupted for it: the compiler would disturb it, and no handle of the
// database may be open while children are started. The new kernels then compete with the ones they came from, which
// are measured again beside them, because minutes-old figures are no fair opponents.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tune/session.h"
#include "tune/specialise.h"

enum { WANTED_MAX = 16 };

typedef struct problem {
    uint32_t set, bucket;
    double share;
} problem;

typedef struct compiled {
    problem problems[TMAC_PLAN_ENTRIES * TMAC_BUCKETS];
    uint32_t problem_count;
    tmac_specialisation wanted[WANTED_MAX];
    uint32_t wanted_count;
} compiled;

// Hottest first. Of the larger buckets only that of whole batches.
static void find_problems(const tmac_tuning *t, uint32_t most, compiled *c)
{
    static const uint32_t buckets[] = {0, TMAC_BUCKETS - 1};
    for (uint32_t i = 0; i < t->work->count; i++)
        for (size_t b = 0; b < sizeof buckets / sizeof buckets[0]; b++) {
            problem each = {i, buckets[b], tmac_problem_share(t, i, buckets[b])};
            uint32_t at = c->problem_count++;
            for (; at > 0 && c->problems[at - 1].share < each.share; at--)
                c->problems[at] = c->problems[at - 1];
            c->problems[at] = each;
        }
    if (c->problem_count > most) c->problem_count = most;
}

static bool is_known(const compiled *c, const tmac_specialisation *wanted)
{
    for (uint32_t i = 0; i < c->wanted_count; i++)
        if (strcmp(c->wanted[i].kernel, wanted->kernel) == 0 &&
            c->wanted[i].columns == wanted->columns && c->wanted[i].group == wanted->group &&
            c->wanted[i].prefetch == wanted->prefetch)
            return true;
    return false;
}

static void want(compiled *c, const tmac_kernel *kernel, const tmac_input_set *set,
                 uint32_t prefetch)
{
    tmac_specialisation wanted = {
        .columns = set->columns, .group = set->group, .prefetch = prefetch};
    snprintf(wanted.kernel, sizeof wanted.kernel, "%.63s", kernel->name);
    if (c->wanted_count < WANTED_MAX && !is_known(c, &wanted))
        c->wanted[c->wanted_count++] = wanted;
}

// The candidate's number; the count when it is none.
static size_t number_of(const tmac_tuning *t, const tmac_kernel *kernel)
{
    size_t i = 0;
    while (i < t->candidate_count && t->candidates[i] != kernel)
        i++;
    return i;
}

// The fastest kernels of the program at a problem become bases: to be compiled, and to be measured again.
static tmac_status want_fastest(tmac_tuning *t, const problem *p, uint32_t most, compiled *c)
{
    const tmac_input_set *set = &t->work->sets[p->set];
    tmac_db_figure *figures;
    size_t count;
    TMAC_TRY(tmac_db_figures(t->db, &t->host, set, p->bucket, t->threads, &figures, &count));
    for (uint32_t taken = 0; taken < most; taken++) {
        tmac_db_figure *next = NULL;
        for (size_t i = 0; i < count; i++)
            if (figures[i].outcome == TMAC_OUTCOME_OK && figures[i].ns > 0 &&
                !tmac_kernel_is_added(figures[i].kernel) &&
                figures[i].kernel->isa != TMAC_ISA_SCALAR &&
                number_of(t, figures[i].kernel) < t->candidate_count &&
                (!next || figures[i].ns < next->ns))
                next = &figures[i];
        if (!next) break;
        want(c, next->kernel, set, TMAC_PREFETCH_OWN);
        // Between the table's steps; only for single tokens does the distance matter.
        const char *distance = strstr(next->kernel->parameters, "prefetch=");
        const unsigned long bytes = distance ? strtoul(distance + 9, NULL, 10) : 0;
        if (p->bucket == 0 && taken == 0 && bytes >= 4096)
            want(c, next->kernel, set, (uint32_t)(bytes == 4096 ? 8192 : bytes / 2));
        t->rematch[number_of(t, next->kernel)] = true;
        next->ns = 0; // taken
    }
    free(figures);
    return tmac_ok();
}

// Kernels that the registry has from an earlier session are candidates already.
static void drop_known(const tmac_tuning *t, compiled *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->wanted_count; i++) {
        char start[TMAC_NAME_BYTES], base[TMAC_NAME_BYTES];
        const tmac_specialisation *w = &c->wanted[i];
        bool known = false;
        snprintf(base, sizeof base, "%.63s", w->kernel);
        char *distance = strstr(base, "_p");
        for (char *next = distance; next && (next = strstr(next + 1, "_p"));)
            distance = next;
        if (distance && w->prefetch != TMAC_PREFETCH_OWN)
            snprintf(distance, sizeof base - (size_t)(distance - base), "_p%u", w->prefetch);
        snprintf(start, sizeof start, "%.48s_k%u", base, w->columns);
        for (size_t k = 0; k < t->candidate_count && !known; k++) {
            uint32_t columns, group;
            known = tmac_kernel_shape(t->candidates[k], &columns, &group) && group == w->group &&
                    strncmp(t->candidates[k]->name, start, strlen(start)) == 0;
        }
        if (!known) c->wanted[kept++] = *w;
    }
    c->wanted_count = kept;
}

// Without measuring process and database. What the compiler says against it is no failure of the session.
static tmac_status compile_and_prove(tmac_tuning *t, const compiled *c)
{
    tmac_compiler compiler;
    uint32_t added = 0;
    size_t before, all;
    (void)tmac_kernels(&before);
    tmac_status status = tmac_compiler_find(&compiler);
    if (status.code == TMAC_OK)
        status =
            tmac_add_specialised(&compiler, t->options->db, c->wanted, c->wanted_count, &added);
    if (status.code != TMAC_OK)
        snprintf(t->report->compiling, sizeof t->report->compiling, "%.159s", status.message);
    const tmac_kernel *const *kernels = tmac_kernels(&all);
    for (size_t i = before; i < all; i++) {
        tmac_gate_result result;
        size_t at = t->candidate_count;
        TMAC_TRY(tmac_pass_gate_late(t, kernels[i], &result));
        if (result.outcome == TMAC_OUTCOME_OK && t->candidate_count > at) {
            t->rematch[at] = true;
            t->report->compiled++;
        } else if (result.outcome != TMAC_OUTCOME_OK) {
            tmac_db_close(t->db);
            TMAC_TRY(tmac_db_open(t->options->db, TMAC_DB_WRITE, &t->db));
            TMAC_TRY(tmac_record_failure(t, kernels[i], &result));
            tmac_db_close(t->db);
            t->db = NULL;
        }
    }
    return tmac_ok();
}

static tmac_status compete(tmac_tuning *t, const compiled *c)
{
    uint16_t *contenders = calloc(t->candidate_count + 1, sizeof *contenders);
    if (!contenders) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the candidates");
    double left = 0;
    for (uint32_t i = 0; i < c->problem_count; i++)
        left += c->problems[i].share;
    const bool complete = t->report->complete;
    tmac_status status = tmac_ok();
    for (uint32_t i = 0; i < c->problem_count && status.code == TMAC_OK; i++) {
        const problem *p = &c->problems[i];
        status = tmac_measure_problem(t, p->set, p->bucket, p->share / left, contenders);
        left -= p->share;
    }
    t->report->complete = complete;
    free(contenders);
    return status;
}

tmac_status tmac_measure_specialised(tmac_tuning *t)
{
    const tmac_spending *spending = tmac_spending_of(t->rigor);
    compiled *c = calloc(1, sizeof *c);
    if (!c) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the kernels to compile");
    find_problems(t, spending->compiled_problems, c);
    tmac_status status = tmac_ok();
    for (uint32_t i = 0; i < c->problem_count && status.code == TMAC_OK; i++)
        status = want_fastest(t, &c->problems[i], spending->compiled_kernels, c);
    drop_known(t, c);
    if (status.code == TMAC_OK && c->wanted_count > 0) {
        tmac_measurer_stop(&t->measurer);
        tmac_db_close(t->db);
        t->db = NULL;
        t->set = c->problems[0].set;
        t->bucket = c->problems[0].bucket;
        status = compile_and_prove(t, c);
        if (status.code == TMAC_OK) status = tmac_measurer_start(&t->measurer);
        if (status.code == TMAC_OK) {
            tmac_sentinel_child(&t->sentinel, t->measurer.child);
            status = tmac_db_open(t->options->db, TMAC_DB_WRITE, &t->db);
        }
        if (status.code == TMAC_OK && t->report->compiled > 0) status = compete(t, c);
    }
    memset(t->rematch, 0, t->candidate_room * sizeof *t->rematch);
    free(c);
    return status;
}

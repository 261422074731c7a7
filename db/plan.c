// From trials to a plan.
//
// For one input set the rungs are tried in order. A rung gives figures of one donor host: this host itself, or, of the
// hosts that share what the rung asks for, the one with most trials of the set. Figures of different machines are never
// compared with each other.
//
// The layout serves all N, so it is judged over all of them: the time of one decoded token plus one prefilled token,
// the latter spread over the buckets as `workload` says. A layout without trials in a bucket is charged the time per
// token of its next smaller bucket, and where tokens at once are dearer for layouts that have trials there, as they are
// on slow builds and for kernels without blocks of tokens, more by the greatest such factor. So it errs against it: a
// layout that is no faster at N = 1 than one measured everywhere never takes its place by what was not measured.
#include "db/figures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A rung asks DONORS_MAX hosts at most: whether the ninth has usable figures where eight had none is not worth the wait.
enum { MEASURED_RUNGS = 3, DONORS_MAX = 8 };

static const double workload[TMAC_BUCKETS] = {1.0, 0.05, 0.05, 0.1, 0.3, 0.5};

// Bandwidths measured on hosts of one class differ by a quarter at most.
static const double bandwidth_ratio = 1.25;

// -------------------------------------------------------------------------------------------------------- judgement

bool tmac_db_faster(const tmac_db_figure *a, const tmac_db_figure *b)
{
    return a->ns + 2 * a->error < b->ns - 2 * b->error && a->ns < 0.995 * b->ns;
}

// The figures of one layout in one bucket: the fastest, and the kernel named `incumbent`.
static void best_in(const tmac_figures *list, const tmac_layout *layout, uint32_t bucket,
                    const char *incumbent, const tmac_db_figure **best,
                    const tmac_db_figure **sentinel)
{
    *best = *sentinel = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const tmac_figure *item = &list->items[i];
        if (item->bucket != bucket || item->f.kernel->layout != layout) continue;
        if (!*best || item->f.ns < (*best)->ns ||
            (item->f.ns == (*best)->ns && strcmp(item->f.kernel->name, (*best)->kernel->name) < 0))
            *best = &item->f;
        if (incumbent && strcmp(item->f.kernel->name, incumbent) == 0) *sentinel = &item->f;
    }
}

// A layout's fastest figure of each bucket, per token; infinite where there is none.
typedef struct priced {
    const tmac_layout *layout;
    tmac_db_figure token[TMAC_BUCKETS];
} priced;

// The layouts of all figures, as many as there are; rows has room for one of each figure.
static size_t price(const tmac_figures *list, priced *rows)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        const tmac_figure *item = &list->items[i];
        size_t at = 0;
        while (at < count && rows[at].layout != item->f.kernel->layout)
            at++;
        if (at == count) {
            rows[count++].layout = item->f.kernel->layout;
            for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
                rows[at].token[bucket] = (tmac_db_figure){.ns = INFINITY};
        }
        tmac_db_figure *best = &rows[at].token[item->bucket];
        const double tokens = tmac_bucket_typical(item->bucket), ns = item->f.ns / tokens,
                     error = item->f.error / tokens;
        // Which of two equal ones comes first depends on the order in which records arrived: the answer does not.
        if (ns < best->ns || (ns <= best->ns && error < best->error))
            *best = (tmac_db_figure){.ns = ns, .error = error};
    }
    return count;
}

// Fills the gaps, as the top of this file says.
static void charge(priced *rows, size_t count)
{
    for (uint32_t bucket = 1; bucket < TMAC_BUCKETS; bucket++) {
        double growth = 1;
        for (size_t i = 0; i < count; i++) {
            const tmac_db_figure *token = &rows[i].token[bucket];
            if (isfinite(token->ns) && token->ns > growth * token[-1].ns)
                growth = token->ns / token[-1].ns;
        }
        for (size_t i = 0; i < count; i++) {
            tmac_db_figure *token = &rows[i].token[bucket];
            if (isfinite(token->ns)) continue;
            token->ns = growth * token[-1].ns;
            token->error = growth * token[-1].error;
        }
    }
}

// The time of the workload in one layout, in a figure, so that layouts are compared as kernels are.
static tmac_db_figure layout_cost(const priced *row, const bool measured[TMAC_BUCKETS])
{
    double ns = 0, variance = 0;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        if (!measured[bucket]) continue;
        const double error = workload[bucket] * row->token[bucket].error;
        ns += workload[bucket] * row->token[bucket].ns;
        variance += error * error;
    }
    return (tmac_db_figure){.ns = ns, .error = sqrt(variance)};
}

// There is a figure at least. incumbent may be NULL.
static tmac_status choose_layout(const tmac_figures *list, const tmac_layout *incumbent,
                                 const tmac_layout **chosen)
{
    bool measured[TMAC_BUCKETS] = {false};
    for (size_t i = 0; i < list->count; i++)
        measured[list->items[i].bucket] = true;
    priced *rows = calloc(list->count, sizeof *rows);
    if (!rows) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu layouts", list->count);
    const size_t count = price(list, rows);
    charge(rows, count);
    const tmac_layout *best = NULL;
    tmac_db_figure best_cost = {.ns = INFINITY}, stay = {.ns = INFINITY};
    for (size_t i = 0; i < count; i++) {
        const tmac_layout *layout = rows[i].layout;
        tmac_db_figure cost = layout_cost(&rows[i], measured);
        if (layout == incumbent) stay = cost;
        if (!best || cost.ns < best_cost.ns ||
            (cost.ns == best_cost.ns && strcmp(layout->name, best->name) < 0)) {
            best = layout;
            best_cost = cost;
        }
    }
    *chosen = isfinite(stay.ns) && !tmac_db_faster(&best_cost, &stay) ? incumbent : best;
    free(rows);
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------------ rungs

static uint64_t layer_bandwidth(const tmac_db *db, const tmac_db_name *host, uint32_t threads,
                                int64_t *started)
{
    sqlite3_stmt *q;
    uint64_t bandwidth = 0;
    if (!db->sqlite ||
        tmac_store_cached(db, TMAC_SQL_BANDWIDTH,
                          "SELECT bandwidth, started FROM run WHERE host=? AND threads=? "
                          "AND bandwidth>0 ORDER BY started DESC LIMIT 1",
                          &q)
                .code != TMAC_OK)
        return 0;
    sqlite3_bind_text(q, 1, host->hex, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 2, threads);
    if (sqlite3_step(q) == SQLITE_ROW) {
        bandwidth = (uint64_t)sqlite3_column_int64(q, 0);
        *started = sqlite3_column_int64(q, 1);
    }
    sqlite3_reset(q);
    return bandwidth;
}

uint64_t tmac_db_bandwidth(const tmac_db *db, const tmac_db_name *host, uint32_t threads)
{
    int64_t newest = 0;
    uint64_t bandwidth = layer_bandwidth(db, host, threads, &newest);
    for (uint32_t i = 0; i < db->layer_count; i++) {
        int64_t started = 0;
        uint64_t theirs = layer_bandwidth(db->layers[i], host, threads, &started);
        if (theirs == 0 || (bandwidth != 0 && started <= newest)) continue;
        bandwidth = theirs;
        newest = started;
    }
    return bandwidth;
}

typedef struct lookup {
    const tmac_db *db;
    tmac_db_name self;
    tmac_record host;
    uint32_t threads;
    uint64_t
        bandwidth; // this host's own; 0: not known, and then no other host is known to be of its class
    tmac_isa_set isa;
} lookup;

static bool same_bandwidth(const lookup *l, const char *host)
{
    tmac_db_name name;
    snprintf(name.hex, sizeof name.hex, "%s", host);
    double theirs = (double)tmac_db_bandwidth(l->db, &name, l->threads),
           ours = (double)l->bandwidth;
    return theirs > 0 && ours > 0 && theirs <= ours * bandwidth_ratio &&
           ours <= theirs * bandwidth_ratio;
}

typedef struct donor {
    char name[TMAC_HASH_HEX];
    bool same_class;
    int64_t trials;
} donor;

typedef struct donors {
    bool known; // looked for already
    donor *items;
    size_t count;
} donors;

// Adds the other hosts of one layer that have this host's instruction sets, and trials of a set in any of these buckets.
static tmac_status add_donors(const lookup *l, const tmac_db *db, const char *key, uint32_t buckets,
                              donors *list)
{
    char class[TMAC_DB_CLASS_BYTES];
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    tmac_host_class(&l->host, class);
    TMAC_TRY(tmac_store_cached(
        db, TMAC_SQL_DONORS,
        "SELECT h.name, h.class = ?3, sum(t.trials) FROM host h CROSS JOIN problem p CROSS JOIN"
        " tally t ON t.problem = p.id AND t.host = h.id WHERE h.isa = ?5 AND h.name <> ?4"
        " AND p.set_key = ?1 AND p.threads = ?2 AND ?6 >> p.bucket & 1 GROUP BY h.id",
        &q));
    sqlite3_bind_text(q, 1, key, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 2, l->threads);
    sqlite3_bind_text(q, 3, class, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(q, 4, l->self.hex, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(q, 5, tmac_record_get(&l->host, "isa"), -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 6, buckets);
    tmac_status status = tmac_ok();
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        const char *name = tmac_store_text(q, 0);
        size_t at = 0;
        while (at < list->count && strcmp(list->items[at].name, name) != 0)
            at++;
        if (at == list->count) {
            donor *grown = realloc(list->items, (at + 1) * sizeof *grown);
            if (!grown) {
                status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu hosts", at + 1);
                break;
            }
            list->items = grown;
            grown[list->count++] = (donor){.same_class = sqlite3_column_int(q, 1) != 0};
            snprintf(grown[at].name, sizeof grown[at].name, "%s", name);
        }
        list->items[at].trials += sqlite3_column_int64(q, 2);
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "looking for like hosts");
    sqlite3_reset(q);
    return status;
}

static int by_trials(const void *a, const void *b)
{
    const donor *x = a, *y = b;
    if (x->trials != y->trials) return x->trials < y->trials ? 1 : -1;
    return strcmp(x->name, y->name);
}

// Those of all layers, most trials first.
static tmac_status find_donors(const lookup *l, const tmac_input_set *set, uint32_t buckets,
                               donors *list)
{
    char key[TMAC_DB_KEY_BYTES];
    tmac_set_key(set, key);
    tmac_status status = add_donors(l, l->db, key, buckets, list);
    for (uint32_t i = 0; i < l->db->layer_count && status.code == TMAC_OK; i++)
        status = add_donors(l, l->db->layers[i], key, buckets, list);
    if (list->count > 0) qsort(list->items, list->count, sizeof *list->items, by_trials);
    list->known = true;
    return status;
}

// A kernel that this host has tried.
typedef struct attempt {
    const tmac_kernel *kernel;
    uint32_t bucket;
    bool failed;
} attempt;

typedef struct attempts {
    attempt *items;
    size_t count;
} attempts;

static tmac_status note_attempts(const tmac_figures *list, attempts *tried)
{
    tried->items = calloc(list->count + 1, sizeof *tried->items);
    if (!tried->items)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu figures", list->count);
    for (size_t i = 0; i < list->count; i++) {
        const tmac_figure *item = &list->items[i];
        tried->items[tried->count++] =
            (attempt){item->f.kernel, item->bucket, item->f.outcome != TMAC_OUTCOME_OK};
    }
    return tmac_ok();
}

// Figures of the first donor of a rung that has usable ones; an empty list when there is none. tried: filled by the rung of
// this host; the caller frees its items.
static tmac_status load_rung(const lookup *l, const tmac_input_set *set, tmac_rung rung,
                             uint32_t buckets, donors *hosts, tmac_figures *list, attempts *tried)
{
    uint32_t asked = 0;
    list->count = 0;
    if (rung == TMAC_RUNG_HOST) {
        TMAC_TRY(tmac_figures_load(l->db, l->self.hex, set, l->threads, buckets, list));
        TMAC_TRY(note_attempts(list, tried));
        tmac_figures_keep_usable(list, l->isa);
        return tmac_ok();
    }
    if (rung == TMAC_RUNG_CLASS && l->bandwidth == 0) return tmac_ok();
    // The buckets of a lower rung are among those of the one above it.
    if (!hosts->known) TMAC_TRY(find_donors(l, set, buckets, hosts));
    for (size_t i = 0; i < hosts->count && list->count == 0; i++) {
        const donor *host = &hosts->items[i];
        if (rung == TMAC_RUNG_CLASS && !(host->same_class && same_bandwidth(l, host->name)))
            continue;
        if (asked++ == DONORS_MAX) break;
        TMAC_TRY(tmac_figures_load(l->db, host->name, set, l->threads, buckets, list));
        tmac_figures_keep_usable(list, l->isa);
    }
    return tmac_ok();
}

static void set_name(char to[TMAC_NAME_BYTES], const char *name)
{
    size_t length = strlen(name);
    if (length >= TMAC_NAME_BYTES) length = TMAC_NAME_BYTES - 1;
    memmove(to, name, length);
    memset(to + length, 0, TMAC_NAME_BYTES - length);
}

// The buckets that have no figure in the layout on any of the first `count` rungs: one bit each.
static uint32_t gaps(const tmac_figures *rungs, int count, const tmac_layout *layout)
{
    uint32_t missing = 0;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        const tmac_db_figure *best = NULL, *unused;
        for (int r = 0; r < count && !best; r++)
            best_in(&rungs[r], layout, bucket, NULL, &best, &unused);
        if (!best) missing |= 1u << bucket;
    }
    return missing;
}

// Tuning measures a layout's usual kernel first in the larger buckets. A host that has figures of others there and none of it,
// nor a failure of it anywhere, took them before this kernel was made: then they are no reason against it.
static bool is_newer(const attempts *tried, const char *kernel, uint32_t bucket)
{
    if (bucket == 0 || !kernel) return false;
    for (size_t i = 0; i < tried->count; i++) {
        const attempt *one = &tried->items[i];
        if ((one->bucket == bucket || one->failed) && strcmp(one->kernel->name, kernel) == 0)
            return false;
    }
    return true;
}

static tmac_status plan_entry(const lookup *l, tmac_plan_entry *entry)
{
    tmac_figures rungs[MEASURED_RUNGS] = {{0}};
    attempts tried = {0};
    donors hosts = {0};
    tmac_status status = tmac_ok();
    const tmac_layout *const rule = tmac_layout_find(entry->layout), *layout = NULL;
    for (int r = 0; r < MEASURED_RUNGS && status.code == TMAC_OK; r++) {
        // Lower rungs are asked for what higher ones left open, and only then.
        const uint32_t open = layout ? gaps(rungs, r, layout) : TMAC_FIGURES_ALL;
        if (open == 0) break;
        status = load_rung(l, &entry->set, (tmac_rung)r, open, &hosts, &rungs[r], &tried);
        if (status.code != TMAC_OK || layout || rungs[r].count == 0) continue;
        status = choose_layout(&rungs[r], rule, &layout);
        if (status.code != TMAC_OK) continue;
        set_name(entry->layout, layout->name);
        entry->rung = (tmac_rung)r;
    }
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS && layout && status.code == TMAC_OK; bucket++) {
        const char *kernel = layout == rule ? entry->kernel[bucket]
                                            : tmac_plan_rule_kernel(layout->name, bucket, l->isa);
        for (int r = 0; r < MEASURED_RUNGS; r++) {
            const tmac_db_figure *best, *sentinel;
            best_in(&rungs[r], layout, bucket, kernel, &best, &sentinel);
            if (!best) continue;
            const bool keep = sentinel ? !tmac_db_faster(best, sentinel)
                                       : r == TMAC_RUNG_HOST && is_newer(&tried, kernel, bucket);
            if (!keep) kernel = best->kernel->name;
            break;
        }
        set_name(entry->kernel[bucket], kernel ? kernel : "");
    }
    for (int r = 0; r < MEASURED_RUNGS; r++)
        free(rungs[r].items);
    free(hosts.items);
    free(tried.items);
    return status;
}

tmac_status tmac_db_plan_of_trials(const tmac_db *db, const tmac_host *host,
                                   const tmac_input_set *sets, uint32_t count, uint32_t threads,
                                   tmac_isa_set isa, tmac_plan *plan)
{
    if (count > TMAC_PLAN_ENTRIES)
        return tmac_fail(TMAC_UNSUPPORTED, "a plan has %d input sets at most, asked for %u",
                         TMAC_PLAN_ENTRIES, count);
    isa |= 1u << TMAC_ISA_SCALAR;
    *plan = tmac_plan_default(sets, count, threads, isa);
    if (!db || (!db->sqlite && db->layer_count == 0)) return tmac_ok();
    lookup l = {.db = db, .threads = threads, .isa = isa};
    TMAC_TRY(tmac_host_name(host, &l.self));
    tmac_host_record(host, &l.host);
    l.bandwidth = tmac_db_bandwidth(db, &l.self, threads);
    for (uint32_t i = 0; i < plan->entry_count; i++)
        TMAC_TRY(plan_entry(&l, &plan->entries[i]));
    return tmac_ok();
}

// From trials to a plan.
//
// For one input set the rungs are tried in order. A rung gives figures of one donor host: this host itself, or, of the
// hosts that share what the rung asks for, the one with most trials of the set. Figures of different machines are never
// compared with each other.
//
// The layout serves all N, so it is judged over all of them: the time of one decoded token plus one prefilled token,
// the latter spread over the buckets as `workload` says. A layout without trials in a bucket is charged the time per
// token of its next smaller bucket: more tokens at once are never dearer per token, so this errs against it.
#include "db/store.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A rung asks DONORS_MAX hosts at most: whether the ninth has usable figures where eight had none is not worth the wait.
enum { MEASURED_RUNGS = 3, DONORS_MAX = 8 };

static const double workload[TMAC_BUCKETS] = {1.0, 0.05, 0.05, 0.1, 0.3, 0.5};

// Bandwidths measured on hosts of one class differ by a quarter at most.
static const double bandwidth_ratio = 1.25;

typedef struct figure {
    tmac_db_figure f;
    uint32_t bucket;
    int64_t started; // of its run
} figure;

typedef struct figures {
    figure *items;
    size_t count, room;
} figures;

static bool add_figure(figures *list, const figure *item)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        figure *grown = realloc(list->items, room * sizeof *grown);
        if (!grown) return false;
        list->items = grown;
        list->room = room;
    }
    list->items[list->count++] = *item;
    return true;
}

// -------------------------------------------------------------------------------------------------------- judgement

bool tmac_db_faster(const tmac_db_figure *a, const tmac_db_figure *b)
{
    return a->ns + 2 * a->error < b->ns - 2 * b->error && a->ns < 0.995 * b->ns;
}

static int by_binary_id(const void *a, const void *b)
{
    return strcmp(((const struct tmac_machine_code *)a)->binary_id,
                  ((const struct tmac_machine_code *)b)->binary_id);
}

// The number of this program's kernel of this name and machine code among caches->codes; code_count when there is none.
static size_t usable_code(const tmac_db *db, const char *name, const char *binary_id)
{
    size_t count;
    const tmac_kernel *const *all = tmac_kernels(&count);
    tmac_caches *caches = db->caches;
    if (caches->code_count != count) {
        struct tmac_machine_code *codes = realloc(caches->codes, count * sizeof *codes);
        if (!codes) return caches->code_count;
        for (size_t i = 0; i < count; i++) {
            codes[i].kernel = all[i];
            tmac_kernel_binary_id(all[i], codes[i].binary_id);
        }
        qsort(codes, count, sizeof *codes, by_binary_id);
        caches->codes = codes;
        caches->code_count = count;
        memset(caches->variants, 0, sizeof caches->variants);
    }
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(caches->codes[middle].binary_id, binary_id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && strcmp(caches->codes[low].binary_id, binary_id) == 0; low++)
        if (strcmp(caches->codes[low].kernel->name, name) == 0) return low;
    return count;
}

const tmac_kernel *tmac_usable_kernel(const tmac_db *db, const char *name, const char *binary_id)
{
    const size_t at = usable_code(db, name, binary_id);
    return at < db->caches->code_count ? db->caches->codes[at].kernel : NULL;
}

// The same of a row of the table of variants, remembered: most rows of most lookups are of the same few.
static tmac_status code_of_variant(const tmac_db *db, int64_t variant, size_t *number)
{
    const size_t slot = (size_t)variant % TMAC_DB_VARIANT_CACHE;
    size_t kernels;
    tmac_kernels(&kernels);
    if (db->caches->variants[slot].variant != variant || db->caches->code_count != kernels) {
        sqlite3_stmt *q;
        TMAC_TRY(tmac_store_cached(db, TMAC_SQL_VARIANT_OF,
                                   "SELECT kernel, binary_id FROM variant WHERE id = ?", &q));
        sqlite3_bind_int64(q, 1, variant);
        const int code = sqlite3_step(q);
        // A row that has a name alone may get the rest later: not remembered.
        const bool known = code == SQLITE_ROW && sqlite3_column_type(q, 0) != SQLITE_NULL;
        *number = db->caches->code_count;
        if (known) *number = usable_code(db, tmac_store_text(q, 0), tmac_store_text(q, 1));
        db->caches->variants[slot].variant = known ? variant : 0;
        db->caches->variants[slot].place = *number < db->caches->code_count ? *number + 1 : 0;
        sqlite3_reset(q);
        return code == SQLITE_ROW || code == SQLITE_DONE
                   ? tmac_ok()
                   : tmac_store_fail(db, code, "reading variants");
    }
    const size_t place = db->caches->variants[slot].place;
    *number = place ? place - 1 : db->caches->code_count;
    return tmac_ok();
}

static tmac_outcome parse_outcome(const char *text)
{
    for (int i = TMAC_OUTCOME_OK; i <= TMAC_OUTCOME_HANG; i++)
        if (strcmp(text, tmac_outcome_name((tmac_outcome)i)) == 0) return (tmac_outcome)i;
    return TMAC_OUTCOME_WRONG; // a code from the future: not a success we know
}

// Whether a is better founded than b: more rigor, then newer. What is equal in both is ordered by what it says, so that
// the answer does not depend on the order in which records arrived.
static bool better_founded(const figure *a, const figure *b)
{
    if (a->f.rigor != b->f.rigor) return a->f.rigor > b->f.rigor;
    if (a->started != b->started) return a->started > b->started;
    if (a->f.ns != b->f.ns) return a->f.ns < b->f.ns;
    return a->f.error < b->f.error;
}

// Of a kernel in a bucket the best-founded success and the best-founded failure are kept: `places` says where in the
// list they are, one more than their index, 0 for none.
// The same measurement met in another layer is one.
static bool keep(figures *list, const figure *item, uint32_t *place)
{
    if (*place == 0) {
        if (!add_figure(list, item)) return false;
        *place = (uint32_t)list->count;
    } else if (better_founded(item, &list->items[*place - 1])) {
        list->items[*place - 1] = *item;
    } else if (!better_founded(&list->items[*place - 1], item)) {
        list->items[*place - 1].f.layers |= item->f.layers;
    }
    return true;
}

static bool read_figure(sqlite3_stmt *q, const tmac_kernel *kernel, figure *item)
{
    double passes = (double)sqlite3_column_int64(q, 4),
           samples = (double)sqlite3_column_int64(q, 5);
    double median = (double)sqlite3_column_int64(q, 6), mad = (double)sqlite3_column_int64(q, 7);
    *item = (figure){.bucket = (uint32_t)sqlite3_column_int64(q, 0),
                     .started = sqlite3_column_int64(q, 8)};
    item->f.kernel = kernel;
    item->f.outcome = parse_outcome(tmac_store_text(q, 2));
    item->f.rigor = (tmac_rigor)sqlite3_column_int(q, 3);
    item->f.samples = (uint32_t)sqlite3_column_int64(q, 5);
    if (item->f.outcome != TMAC_OUTCOME_OK) return true;
    if (passes < 1 || samples < 1 || median <= 0) return false;
    item->f.ns = median / passes;
    // MAD to standard deviation of a normal distribution, that to the standard error of a median.
    item->f.error = 1.4826 * 1.2533 * mad / passes / sqrt(samples);
    return true;
}

static tmac_status load_layer(const tmac_db *db, uint32_t layer, const char *host, const char *key,
                              uint32_t threads, figures *list, uint32_t *places, size_t kernels)
{
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_store_cached(
        db, TMAC_SQL_FIGURES,
        "SELECT p.bucket, t.variant, t.outcome, t.rigor, t.passes, t.samples, t.median_ns,"
        " t.mad_ns, r.started FROM problem p CROSS JOIN measurement t ON t.problem = p.id"
        " AND t.host = (SELECT id FROM host WHERE name = ?3) LEFT JOIN run r ON r.id = t.run"
        " WHERE p.set_key = ?1 AND p.threads = ?2 AND t.state = 0",
        &q));
    sqlite3_bind_text(q, 1, key, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 2, threads);
    sqlite3_bind_text(q, 3, host, -1, SQLITE_TRANSIENT);
    tmac_status status = tmac_ok();
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        size_t number = 0;
        figure item;
        status = code_of_variant(db, sqlite3_column_int64(q, 1), &number);
        if (status.code != TMAC_OK) break;
        if (number >= kernels || number >= db->caches->code_count ||
            !read_figure(q, db->caches->codes[number].kernel, &item) || item.bucket >= TMAC_BUCKETS)
            continue;
        item.f.layers = 1u << layer;
        uint32_t *place = &places[(number * TMAC_BUCKETS + item.bucket) * 2 +
                                  (item.f.outcome == TMAC_OUTCOME_OK ? 0 : 1)];
        if (keep(list, &item, place)) continue;
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu trials", list->count);
        break;
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "reading trials");
    sqlite3_reset(q);
    return status;
}

// What a host measured for a set, in this database and its layers together.
static tmac_status load_figures(const tmac_db *db, const char *host, const tmac_input_set *set,
                                uint32_t threads, figures *list)
{
    char key[TMAC_DB_KEY_BYTES];
    size_t kernels;
    tmac_kernels(&kernels);
    uint32_t *places = calloc(kernels * TMAC_BUCKETS * 2, sizeof *places);
    if (!places) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the figures of a problem");
    list->count = 0;
    tmac_set_key(set, key);
    tmac_status status = load_layer(db, 0, host, key, threads, list, places, kernels);
    for (uint32_t i = 0; i < db->layer_count && status.code == TMAC_OK; i++)
        status = load_layer(db->layers[i], i + 1, host, key, threads, list, places, kernels);
    free(places);
    return status;
}

// Drops what this call may not use: kernels that failed anywhere on the donor, those outside `isa`, and figures taken in
// noise where the bucket has any taken in quiet: noise never replaces a winner.
static void keep_usable(figures *list, tmac_isa_set isa)
{
    size_t kept = 0, failures = 0;
    bool quiet[TMAC_BUCKETS] = {false};
    for (size_t i = 0; i < list->count; i++) {
        const figure *item = &list->items[i];
        failures += item->f.outcome != TMAC_OUTCOME_OK;
        if (item->f.outcome == TMAC_OUTCOME_OK && item->f.rigor > TMAC_RIGOR_NOISY)
            quiet[item->bucket] = true;
    }
    for (size_t i = 0; i < list->count; i++) {
        bool usable = tmac_isa_has(isa, list->items[i].f.kernel->isa);
        for (size_t j = 0; failures > 0 && j < list->count && usable; j++)
            usable = list->items[j].f.kernel != list->items[i].f.kernel ||
                     list->items[j].f.outcome == TMAC_OUTCOME_OK;
        if (list->items[i].f.rigor <= TMAC_RIGOR_NOISY && quiet[list->items[i].bucket])
            usable = false;
        // Marked first, moved after: the inner loop needs the whole list.
        list->items[i].f.samples = usable ? list->items[i].f.samples : 0;
    }
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].f.samples > 0) list->items[kept++] = list->items[i];
    list->count = kept;
}

// The figures of one layout in one bucket: the fastest, and the kernel named `incumbent`.
static void best_in(const figures *list, const char *layout, uint32_t bucket, const char *incumbent,
                    const tmac_db_figure **best, const tmac_db_figure **sentinel)
{
    *best = *sentinel = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const figure *item = &list->items[i];
        if (item->bucket != bucket || strcmp(item->f.kernel->layout->name, layout) != 0) continue;
        if (!*best || item->f.ns < (*best)->ns) *best = &item->f;
        if (incumbent && strcmp(item->f.kernel->name, incumbent) == 0) *sentinel = &item->f;
    }
}

// The time of the workload in one layout; infinite when there is nothing to judge it by. Carried in a figure, so that
// layouts are compared as kernels are.
static tmac_db_figure layout_cost(const figures *list, const char *layout,
                                  const bool measured[TMAC_BUCKETS])
{
    double ns = 0, variance = 0, last = INFINITY, last_error = 0;
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        const tmac_db_figure *best, *unused;
        best_in(list, layout, bucket, NULL, &best, &unused);
        if (best) {
            last = best->ns / tmac_bucket_typical(bucket);
            last_error = best->error / tmac_bucket_typical(bucket);
        }
        if (!measured[bucket]) continue;
        ns += workload[bucket] * last;
        variance += workload[bucket] * last_error * workload[bucket] * last_error;
    }
    return (tmac_db_figure){.ns = ns, .error = sqrt(variance)};
}

static const char *choose_layout(const figures *list, const char *incumbent)
{
    bool measured[TMAC_BUCKETS] = {false};
    for (size_t i = 0; i < list->count; i++)
        measured[list->items[i].bucket] = true;
    const char *best = NULL;
    tmac_db_figure best_cost = {.ns = INFINITY};
    for (size_t i = 0; i < list->count; i++) {
        const char *layout = list->items[i].f.kernel->layout->name;
        bool judged = false;
        for (size_t j = 0; j < i && !judged; j++)
            judged = list->items[j].f.kernel->layout->name == layout;
        if (judged) continue;
        tmac_db_figure cost = layout_cost(list, layout, measured);
        if (!best || cost.ns < best_cost.ns ||
            (cost.ns == best_cost.ns && strcmp(layout, best) < 0)) {
            best = layout;
            best_cost = cost;
        }
    }
    tmac_db_figure stay = layout_cost(list, incumbent, measured);
    if (best && isfinite(stay.ns) && !tmac_db_faster(&best_cost, &stay)) return incumbent;
    return best;
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
    int64_t trials;
} donor;

typedef struct donors {
    donor *items;
    size_t count;
} donors;

// Adds the hosts of one layer that share what the rung asks for.
static tmac_status add_donors(const lookup *l, const tmac_db *db, const char *key, tmac_rung rung,
                              donors *list)
{
    char class[TMAC_DB_CLASS_BYTES];
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    tmac_host_class(&l->host, class);
    TMAC_TRY(tmac_store_cached(
        db, TMAC_SQL_DONORS,
        "SELECT h.name, sum(t.trials) FROM problem p JOIN tally t ON t.problem = p.id"
        " JOIN host h ON h.id = t.host WHERE p.set_key = ?1 AND p.threads = ?2 AND h.name <> ?4"
        " AND h.isa = ?5 AND (?3 IS NULL OR h.class = ?3) GROUP BY h.id",
        &q));
    sqlite3_clear_bindings(q);
    sqlite3_bind_text(q, 1, key, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 2, l->threads);
    if (rung == TMAC_RUNG_CLASS) sqlite3_bind_text(q, 3, class, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(q, 4, l->self.hex, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(q, 5, tmac_record_get(&l->host, "isa"), -1, SQLITE_TRANSIENT);
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
            grown[list->count++] = (donor){.trials = 0};
            snprintf(grown[at].name, sizeof grown[at].name, "%s", name);
        }
        list->items[at].trials += sqlite3_column_int64(q, 1);
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

// Figures of the first donor of a rung that has usable ones; an empty list when there is none.
static tmac_status load_rung(const lookup *l, const tmac_input_set *set, tmac_rung rung,
                             figures *list)
{
    list->count = 0;
    if (rung == TMAC_RUNG_HOST) {
        TMAC_TRY(load_figures(l->db, l->self.hex, set, l->threads, list));
        keep_usable(list, l->isa);
        return tmac_ok();
    }
    if (rung == TMAC_RUNG_CLASS && l->bandwidth == 0) return tmac_ok();
    char key[TMAC_DB_KEY_BYTES];
    donors hosts = {0};
    tmac_set_key(set, key);
    tmac_status status = add_donors(l, l->db, key, rung, &hosts);
    for (uint32_t i = 0; i < l->db->layer_count && status.code == TMAC_OK; i++)
        status = add_donors(l, l->db->layers[i], key, rung, &hosts);
    if (hosts.count > 0) qsort(hosts.items, hosts.count, sizeof *hosts.items, by_trials);
    uint32_t asked = 0;
    for (size_t i = 0; i < hosts.count && status.code == TMAC_OK && list->count == 0; i++) {
        if (rung == TMAC_RUNG_CLASS && !same_bandwidth(l, hosts.items[i].name)) continue;
        if (asked++ == DONORS_MAX) break;
        status = load_figures(l->db, hosts.items[i].name, set, l->threads, list);
        keep_usable(list, l->isa);
    }
    free(hosts.items);
    return status;
}

static void set_name(char to[TMAC_NAME_BYTES], const char *name)
{
    size_t length = strlen(name);
    if (length >= TMAC_NAME_BYTES) length = TMAC_NAME_BYTES - 1;
    memmove(to, name, length);
    memset(to + length, 0, TMAC_NAME_BYTES - length);
}

// Whether a bucket has no figure in the layout on any rung down to `rung`.
static bool has_gaps(const figures *rungs, int rung, const char *layout)
{
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        const tmac_db_figure *best = NULL, *unused;
        for (int r = 0; r <= rung && !best; r++)
            best_in(&rungs[r], layout, bucket, NULL, &best, &unused);
        if (!best) return true;
    }
    return false;
}

static tmac_status plan_entry(const lookup *l, tmac_plan_entry *entry)
{
    figures rungs[MEASURED_RUNGS] = {{0}};
    tmac_status status = tmac_ok();
    bool chosen = false;
    for (int r = 0; r < MEASURED_RUNGS && status.code == TMAC_OK; r++) {
        // Lower rungs are asked for what higher ones left open, and only then.
        if (chosen && !has_gaps(rungs, r - 1, entry->layout)) break;
        status = load_rung(l, &entry->set, (tmac_rung)r, &rungs[r]);
        if (status.code != TMAC_OK || chosen || rungs[r].count == 0) continue;
        set_name(entry->layout, choose_layout(&rungs[r], entry->layout));
        entry->rung = (tmac_rung)r;
        chosen = true;
    }
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS && chosen && status.code == TMAC_OK; bucket++) {
        const char *kernel = tmac_plan_rule_kernel(entry->layout, bucket, l->isa);
        for (int r = 0; r < MEASURED_RUNGS; r++) {
            const tmac_db_figure *best, *sentinel;
            best_in(&rungs[r], entry->layout, bucket, kernel, &best, &sentinel);
            if (!best) continue;
            if (!sentinel || tmac_db_faster(best, sentinel)) kernel = best->kernel->name;
            break;
        }
        set_name(entry->kernel[bucket], kernel ? kernel : "");
    }
    for (int r = 0; r < MEASURED_RUNGS; r++)
        free(rungs[r].items);
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

tmac_status tmac_db_figures(const tmac_db *db, const tmac_host *host, const tmac_input_set *set,
                            uint32_t bucket, uint32_t threads, tmac_db_figure **out, size_t *count)
{
    *out = NULL;
    *count = 0;
    if (!db->sqlite && db->layer_count == 0) return tmac_ok();
    tmac_db_name self;
    figures list = {0};
    TMAC_TRY(tmac_host_name(host, &self));
    tmac_status status = load_figures(db, self.hex, set, threads, &list);
    if (status.code == TMAC_OK && list.count > 0) {
        tmac_db_figure *result = malloc(list.count * sizeof *result);
        if (result) {
            for (size_t i = 0; i < list.count; i++)
                if (list.items[i].bucket == bucket) result[(*count)++] = list.items[i].f;
            *out = result;
        } else {
            status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu figures", list.count);
        }
    }
    free(list.items);
    return status;
}

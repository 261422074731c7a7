// Figures: what trials say about kernels of this program.
//
// A lookup reads all usable trials that one host has of an input set, in the database and its layers, and keeps of each
// kernel in each bucket the best founded. Nearly all its time goes to their rows, so what they refer to is remembered
// with the handle instead of being joined, and rows of buckets that nobody asks about are passed over.
#include "db/figures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool add_figure(tmac_figures *list, const tmac_figure *item)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        tmac_figure *grown = realloc(list->items, room * sizeof *grown);
        if (!grown) return false;
        list->items = grown;
        list->room = room;
    }
    list->items[list->count++] = *item;
    return true;
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

// The same of a row of the table of variants.
static tmac_status read_code(const tmac_db *db, int64_t variant, size_t *number)
{
    const size_t slot = (size_t)variant % TMAC_DB_VARIANT_CACHE;
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

// When a run began; 0 while its record is missing.
static tmac_status read_start(const tmac_db *db, int64_t run, int64_t *started)
{
    const size_t slot = (size_t)run % TMAC_DB_RUN_CACHE;
    sqlite3_stmt *q;
    TMAC_TRY(tmac_store_cached(db, TMAC_SQL_STARTED, "SELECT started FROM run WHERE id = ?", &q));
    sqlite3_bind_int64(q, 1, run);
    const int code = sqlite3_step(q);
    const bool known = code == SQLITE_ROW && sqlite3_column_type(q, 0) != SQLITE_NULL;
    *started = known ? sqlite3_column_int64(q, 0) : 0;
    db->caches->runs[slot].run = known ? run : 0;
    db->caches->runs[slot].started = *started;
    sqlite3_reset(q);
    return code == SQLITE_ROW || code == SQLITE_DONE ? tmac_ok()
                                                     : tmac_store_fail(db, code, "reading runs");
}

// Both as they were remembered: most rows of most lookups are of the same few, and a status is large. False: not
// remembered, or remembered for fewer kernels than there are now.
static bool remembered(const tmac_db *db, int64_t variant, int64_t run, size_t kernels,
                       size_t *number, int64_t *started)
{
    const tmac_caches *caches = db->caches;
    const size_t v = (size_t)variant % TMAC_DB_VARIANT_CACHE, r = (size_t)run % TMAC_DB_RUN_CACHE;
    if (caches->variants[v].variant != variant || caches->runs[r].run != run ||
        caches->code_count != kernels)
        return false;
    *number = caches->variants[v].place ? caches->variants[v].place - 1 : caches->code_count;
    *started = caches->runs[r].started;
    return true;
}

static tmac_outcome parse_outcome(const char *text)
{
    for (int i = TMAC_OUTCOME_OK; i <= TMAC_OUTCOME_HANG; i++)
        if (strcmp(text, tmac_outcome_name((tmac_outcome)i)) == 0) return (tmac_outcome)i;
    return TMAC_OUTCOME_WRONG; // a code from the future: not a success we know
}

// Whether a is better founded than b: more rigor, then newer. What is equal in both is ordered by what it says, so that
// the answer does not depend on the order in which records arrived.
static bool better_founded(const tmac_figure *a, const tmac_figure *b)
{
    if (a->f.rigor != b->f.rigor) return a->f.rigor > b->f.rigor;
    if (a->started != b->started) return a->started > b->started;
    if (a->f.ns != b->f.ns) return a->f.ns < b->f.ns;
    return a->f.error < b->f.error;
}

// Of a kernel in a bucket the best-founded success and the best-founded failure are kept. *place: where in the list this
// one is, one more than its index, 0 for nowhere. The same measurement met in another layer is one.
static bool keep(tmac_figures *list, const tmac_figure *item, uint32_t *place)
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

// Fills in the times of a success; false when there are none.
static bool read_times(sqlite3_stmt *q, tmac_db_figure *f)
{
    const double passes = (double)sqlite3_column_int64(q, 4),
                 samples = (double)sqlite3_column_int64(q, 5),
                 median = (double)sqlite3_column_int64(q, 6),
                 mad = (double)sqlite3_column_int64(q, 7);
    if (passes < 1 || samples < 1 || median <= 0) return false;
    f->samples = (uint32_t)samples;
    f->ns = median / passes;
    // MAD to standard deviation of a normal distribution, that to the standard error of a median.
    f->error = 1.4826 * 1.2533 * mad / passes / sqrt(samples);
    return true;
}

// What is wanted of each layer.
typedef struct wish {
    const char *host, *key;
    uint32_t threads, buckets;
} wish;

static tmac_status load_layer(const tmac_db *db, uint32_t layer, const wish *w, tmac_figures *list,
                              uint32_t *places, size_t kernels)
{
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_store_cached(
        db, TMAC_SQL_FIGURES,
        "SELECT p.bucket, t.variant, t.outcome, t.rigor, t.passes, t.samples, t.median_ns,"
        " t.mad_ns, t.run FROM problem p CROSS JOIN measurement t ON t.problem = p.id"
        " AND t.host = (SELECT id FROM host WHERE name = ?3)"
        " WHERE p.set_key = ?1 AND p.threads = ?2 AND t.state = 0"
        " AND (?4 >> p.bucket & 1 OR t.outcome <> 'ok')",
        &q));
    sqlite3_bind_text(q, 1, w->key, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 2, w->threads);
    sqlite3_bind_text(q, 3, w->host, -1, SQLITE_TRANSIENT);
    sqlite3_bind_int64(q, 4, w->buckets);
    tmac_status status = tmac_ok();
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        const int64_t variant = sqlite3_column_int64(q, 1), run = sqlite3_column_int64(q, 8);
        size_t number = 0;
        tmac_figure item = {.bucket = (uint32_t)sqlite3_column_int64(q, 0)};
        if (!remembered(db, variant, run, kernels, &number, &item.started)) {
            status = read_code(db, variant, &number);
            if (status.code == TMAC_OK) status = read_start(db, run, &item.started);
            if (status.code != TMAC_OK) break;
        }
        if (number >= kernels || number >= db->caches->code_count || item.bucket >= TMAC_BUCKETS)
            continue;
        item.f.kernel = db->caches->codes[number].kernel;
        item.f.outcome = parse_outcome(tmac_store_text(q, 2));
        item.f.rigor = (tmac_rigor)sqlite3_column_int(q, 3);
        item.f.layers = 1u << layer;
        const bool success = item.f.outcome == TMAC_OUTCOME_OK;
        uint32_t *place = &places[(number * TMAC_BUCKETS + item.bucket) * 2 + (success ? 0 : 1)];
        // Most of the others are older ones of less rigor: their times are not even read.
        if (*place && list->items[*place - 1].f.rigor > item.f.rigor) continue;
        if (success && !read_times(q, &item.f)) continue;
        if (keep(list, &item, place)) continue;
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu trials", list->count);
        break;
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "reading trials");
    sqlite3_reset(q);
    return status;
}

tmac_status tmac_figures_load(const tmac_db *db, const char *host, const tmac_input_set *set,
                              uint32_t threads, uint32_t buckets, tmac_figures *list)
{
    char key[TMAC_DB_KEY_BYTES];
    const wish w = {host, key, threads, buckets};
    size_t kernels;
    tmac_kernels(&kernels);
    uint32_t *places = calloc(kernels * TMAC_BUCKETS * 2, sizeof *places);
    if (!places) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the figures of a problem");
    list->count = 0;
    tmac_set_key(set, key);
    tmac_status status = load_layer(db, 0, &w, list, places, kernels);
    for (uint32_t i = 0; i < db->layer_count && status.code == TMAC_OK; i++)
        status = load_layer(db->layers[i], i + 1, &w, list, places, kernels);
    free(places);
    return status;
}

void tmac_figures_keep_usable(tmac_figures *list, tmac_isa_set isa)
{
    size_t kept = 0, failed = 0;
    bool quiet[TMAC_BUCKETS] = {false};
    // Failures go to the front: they are few, and every success is held against each.
    for (size_t i = 0; i < list->count; i++) {
        const tmac_figure item = list->items[i];
        if (item.f.outcome == TMAC_OUTCOME_OK) {
            if (item.f.rigor > TMAC_RIGOR_NOISY) quiet[item.bucket] = true;
            continue;
        }
        list->items[i] = list->items[failed];
        list->items[failed++] = item;
    }
    for (size_t i = failed; i < list->count; i++) {
        const tmac_figure item = list->items[i];
        bool usable = tmac_isa_has(isa, item.f.kernel->isa) &&
                      (item.f.rigor > TMAC_RIGOR_NOISY || !quiet[item.bucket]);
        for (size_t j = 0; j < failed && usable; j++)
            usable = list->items[j].f.kernel != item.f.kernel;
        if (usable) list->items[failed + kept++] = item;
    }
    if (failed > 0) memmove(list->items, list->items + failed, kept * sizeof *list->items);
    list->count = kept;
}

tmac_status tmac_db_figures(const tmac_db *db, const tmac_host *host, const tmac_input_set *set,
                            uint32_t bucket, uint32_t threads, tmac_db_figure **out, size_t *count)
{
    *out = NULL;
    *count = 0;
    if (!db->sqlite && db->layer_count == 0) return tmac_ok();
    tmac_db_name self;
    tmac_figures list = {0};
    TMAC_TRY(tmac_host_name(host, &self));
    tmac_status status = tmac_figures_load(db, self.hex, set, threads, 1u << bucket, &list);
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

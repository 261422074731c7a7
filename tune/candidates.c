// Which kernels take part: at all, and at a problem.
//
// Scalar ones only where no other can serve the set: they are an order of magnitude slower than any vector kernel, at
// every shape. What failed before, as the same machine code on this host, is not tried again.
//
// Static pruning compares kernels of one family and instruction set by what they must move through the second-level
// cache: a tile's weights, and, for every tile, the prepared activations where these do not fit the first level. Low
// tiles with large tables lose by factors that no prefetch distance makes up for. A kernel whose sums need more vector
// registers than there are is out as well. `exhaustive` prunes nothing, so that pruning can be checked against it.
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "tune/session.h"

enum {
    GATE_TIMEOUT_MS = 10000,
    AT_A_TIME = 32,
    DEFAULT_L1_BYTES = 32768,
    DEFAULT_L2_BYTES = 1 << 20
};

static const double layout_ratio = 1.25, traffic_ratio = 2.5;

// ------------------------------------------------------------------------------------------------------- all of them

// Kernels compiled for a shape compete there only.
static bool made_for(const tmac_kernel *kernel, const tmac_input_set *set)
{
    uint32_t columns, group;
    return !tmac_kernel_shape(kernel, &columns, &group) ||
           (columns == set->columns && group == set->group);
}

static bool asked_for(const char *only, const char *name)
{
    if (!only) return true;
    if (strpbrk(only, "*?[")) return fnmatch(only, name, 0) == 0;
    return strstr(name, only) != NULL;
}

// The rule's kernels are always in: the others are measured against them.
static bool is_incumbent(const tmac_tuning *t, const tmac_kernel *kernel)
{
    for (uint32_t i = 0; i < t->work->count; i++) {
        tmac_plan_entry rule = tmac_plan_rule(&t->work->sets[i], t->threads, t->isa);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
            if (strcmp(rule.kernel[bucket], kernel->name) == 0) return true;
    }
    return false;
}

size_t tmac_select_candidates(const tmac_tuning *t, const tmac_kernel **chosen)
{
    size_t all, count = 0;
    const tmac_kernel *const *kernels = tmac_kernels(&all);
    if (t->options->candidates) {
        kernels = t->options->candidates;
        all = t->options->candidate_count;
    }
    for (size_t i = 0; i < all && count < TMAC_JOB_CONTENDERS; i++) {
        bool holds = false;
        for (uint32_t set = 0; set < t->work->count && !holds; set++)
            holds = tmac_layout_holds(kernels[i]->layout, &t->work->sets[set]) &&
                    made_for(kernels[i], &t->work->sets[set]);
        if (holds && tmac_isa_has(t->isa, kernels[i]->isa) &&
            (asked_for(t->options->only, kernels[i]->name) || is_incumbent(t, kernels[i])))
            chosen[count++] = kernels[i];
    }
    return count;
}

static bool vector_serves(const tmac_tuning *t, const tmac_input_set *set)
{
    for (size_t i = 0; i < t->candidate_count; i++)
        if (t->candidates[i]->isa != TMAC_ISA_SCALAR &&
            tmac_layout_holds(t->candidates[i]->layout, set))
            return true;
    return false;
}

// ------------------------------------------------------------------------------------------------------------- gate

// Marks all kernels that have a failed trial on this host, of whatever bucket.
static tmac_status find_failed(const tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                               tmac_gate_result *results, bool *known)
{
    for (uint32_t i = 0; i < t->work->count; i++)
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            tmac_db_figure *figures;
            size_t figure_count;
            TMAC_TRY(tmac_db_figures(t->db, &t->host, &t->work->sets[i], bucket, t->threads,
                                     &figures, &figure_count));
            for (size_t f = 0; f < figure_count; f++)
                for (size_t k = 0; k < count && figures[f].outcome != TMAC_OUTCOME_OK; k++) {
                    if (figures[f].kernel != all[k]) continue;
                    known[k] = true;
                    results[k].outcome = figures[f].outcome;
                    snprintf(results[k].message, sizeof results[k].message,
                             "failed in an earlier session");
                }
            free(figures);
        }
    return tmac_ok();
}

// Odd shapes that any kernel may stumble over, then each set as it is, cut to a few tiles.
static size_t gate_shapes(const tmac_work *work, tmac_shape *shapes)
{
    static const tmac_shape odd[] = {
        {1, 1, 1},     {1, 5, 5},     {3, 172, 172}, {17, 333, 333},
        {131, 67, 67}, {33, 100, 32}, {70, 256, 64}, {65, 1040, 1040},
    };
    size_t count = sizeof odd / sizeof odd[0];
    memcpy(shapes, odd, sizeof odd);
    for (uint32_t i = 0; i < work->count; i++) {
        uint32_t rows = work->sets[i].rows[0] < 66 ? work->sets[i].rows[0] : 66;
        shapes[count++] = (tmac_shape){rows, work->sets[i].columns, work->sets[i].group};
    }
    return count;
}

enum { GATE_SHAPES = 8 + TMAC_PLAN_ENTRIES };

static void report_failure(tmac_tune_report *report, const tmac_kernel *kernel,
                           const tmac_gate_result *result)
{
    report->failed++;
    if (report->failure_count == TMAC_TUNE_FAILURES) return;
    tmac_tune_failure *failure = &report->failures[report->failure_count++];
    snprintf(failure->kernel, sizeof failure->kernel, "%.63s", kernel->name);
    failure->result = *result;
}

// Proves those that are not known to fail, some at a time, so that a bar can move. The database is closed meanwhile.
static tmac_status prove(const tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                         tmac_gate_result *results, const bool *known)
{
    tmac_shape shapes[GATE_SHAPES];
    size_t shape_count = gate_shapes(t->work, shapes);
    uint32_t timeout = t->options->gate_timeout_ms ? t->options->gate_timeout_ms : GATE_TIMEOUT_MS;
    tmac_progress progress;
    tmac_status status = tmac_ok();
    if (t->options->progress) tmac_progress_begin(&progress, "proving kernels", count);
    for (size_t i = 0; i < count && status.code == TMAC_OK;) {
        const tmac_kernel *some[AT_A_TIME];
        tmac_gate_result found[AT_A_TIME];
        size_t number[AT_A_TIME], chosen = 0;
        const size_t before = i;
        for (; i < count && chosen < AT_A_TIME; i++) {
            if (known[i]) continue;
            number[chosen] = i;
            some[chosen++] = all[i];
        }
        status = tmac_gate(some, chosen, shapes, shape_count, timeout, found);
        for (size_t k = 0; k < chosen && status.code == TMAC_OK; k++)
            results[number[k]] = found[k];
        if (t->options->progress) tmac_progress_advance(&progress, i - before);
    }
    if (t->options->progress) tmac_progress_end(&progress);
    return status;
}

tmac_status tmac_pass_gate(tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                           tmac_gate_result *results, bool *known)
{
    TMAC_TRY(tmac_tuning_open(t, TMAC_DB_READ));
    tmac_status status = find_failed(t, all, count, results, known);
    if (status.code == TMAC_OK)
        status = tmac_db_plan(t->db, &t->host, t->work->sets, t->work->count, t->threads, t->isa,
                              &t->seeds);
    if (status.code == TMAC_OK && t->options->with_threads)
        status = tmac_db_plan(t->db, &t->host, t->work->sets, t->work->count,
                              t->options->with_threads, t->isa, &t->joint);
    tmac_tuning_close(t);
    if (status.code == TMAC_OK && !t->options->replay)
        status = prove(t, all, count, results, known);
    for (size_t i = 0; i < count && status.code == TMAC_OK; i++)
        if (results[i].outcome == TMAC_OUTCOME_OK)
            t->candidates[t->candidate_count++] = all[i];
        else
            report_failure(t->report, all[i], &results[i]);
    return status;
}

tmac_status tmac_pass_gate_late(tmac_tuning *t, const tmac_kernel *kernel, tmac_gate_result *result)
{
    tmac_shape shapes[GATE_SHAPES];
    size_t shape_count = gate_shapes(t->work, shapes);
    uint32_t timeout = t->options->gate_timeout_ms ? t->options->gate_timeout_ms : GATE_TIMEOUT_MS;
    TMAC_TRY(tmac_gate(&kernel, 1, shapes, shape_count, timeout, result));
    if (result->outcome == TMAC_OUTCOME_OK && t->candidate_count < t->candidate_room)
        t->candidates[t->candidate_count++] = kernel;
    return tmac_ok();
}

static tmac_status put_failure(tmac_tuning *t, const tmac_kernel *kernel, uint32_t set,
                               uint32_t bucket, const tmac_gate_result *result)
{
    tmac_db_trial trial = {.host = t->host_name,
                           .run = t->report->run,
                           .rigor = t->rigor,
                           .outcome = result->outcome,
                           .detail = result->detail};
    TMAC_TRY(tmac_db_put_variant(t->db, kernel, &trial.variant));
    TMAC_TRY(tmac_db_put_problem(t->db, &t->work->sets[set], bucket, t->threads, &trial.problem));
    return tmac_db_put_trial(t->db, &trial);
}

tmac_status tmac_record_failures(tmac_tuning *t, const tmac_kernel *const *all, size_t count,
                                 const tmac_gate_result *results, const bool *known)
{
    for (size_t i = 0; i < count; i++)
        for (uint32_t set = 0; set < t->work->count; set++)
            if (results[i].outcome != TMAC_OUTCOME_OK && !known[i])
                TMAC_TRY(put_failure(t, all[i], set, 0, &results[i]));
    return tmac_ok();
}

tmac_status tmac_record_failure(tmac_tuning *t, const tmac_kernel *kernel,
                                const tmac_gate_result *result)
{
    report_failure(t->report, kernel, result);
    return put_failure(t, kernel, t->set, t->bucket, result);
}

// ---------------------------------------------------------------------------------------------------------- pruning

// Vectors that hold the sums of a multiply-add kernel: int32, a row and token each. 0 where it keeps them otherwise.
static uint32_t sum_registers(const tmac_kernel *kernel, uint32_t *registers)
{
    uint32_t bytes = 16;
    *registers = kernel->isa >= TMAC_ISA_AVX512BW ? 32 : 16;
    if (kernel->isa >= TMAC_ISA_AVX2) bytes = 32;
    if (kernel->isa >= TMAC_ISA_AVX512BW) bytes = 64;
    if (kernel->isa >= TMAC_ISA_NEON) bytes = 16;
    if (kernel->isa == TMAC_ISA_SCALAR || strncmp(kernel->family, "mad", 3) != 0 ||
        strstr(kernel->name, "_panel_") || kernel->isa == TMAC_ISA_AMX)
        return 0;
    return kernel->layout->row_tile * kernel->token_block * 4 / bytes;
}

// Bytes that one token moves through the second-level cache; HUGE where a block of tokens overflows it.
static double traffic(const tmac_tuning *t, const tmac_input_set *set, const tmac_kernel *kernel)
{
    uint64_t l1 = t->host.l1d_bytes ? t->host.l1d_bytes : DEFAULT_L1_BYTES;
    uint64_t l2 = t->host.l2_bytes ? t->host.l2_bytes : DEFAULT_L2_BYTES;
    double prepared = (double)kernel->prepared_bytes(set->columns, set->group), bytes = 0;
    for (uint32_t i = 0; i < set->matrices; i++) {
        tmac_shape shape = {set->rows[i], set->columns, set->group};
        double tiles = tmac_layout_tiles(kernel->layout, shape.rows);
        double weights = (double)kernel->layout->tile_bytes(&shape) / kernel->token_block;
        bytes += tiles * (weights + (prepared * kernel->token_block > (double)l1 ? prepared : 0));
    }
    // What does not even stay in the second level comes from the third, several times slower.
    if (prepared * kernel->token_block > (double)l2) bytes *= 4;
    return bytes;
}

bool tmac_hopeless(const tmac_tuning *t, const tmac_input_set *set, uint32_t bucket,
                   const tmac_kernel *kernel)
{
    uint32_t registers, sums = sum_registers(kernel, &registers);
    if (sums > registers - 2) return true;
    if (bucket > 0)
        return false; // panels and blocks reuse what they read: the model is of single tokens
    double own = traffic(t, set, kernel), least = own;
    for (size_t i = 0; i < t->candidate_count; i++) {
        const tmac_kernel *other = t->candidates[i];
        if (other->isa != kernel->isa || strcmp(other->family, kernel->family) != 0 ||
            other->token_block != kernel->token_block || !tmac_layout_holds(other->layout, set))
            continue;
        double bytes = traffic(t, set, other);
        if (bytes < least) least = bytes;
    }
    return own > traffic_ratio * least;
}

// ----------------------------------------------------------------------------------------------------- of a problem

bool tmac_takes_part(const tmac_tuning *t, const tmac_kernel *kernel)
{
    for (size_t i = 0; i < t->candidate_count; i++)
        if (t->candidates[i] == kernel) return !t->out[i];
    return false;
}

// Layouts that enter the larger buckets: near the best at N = 1, the best first, `room` of them; the incumbent's is
// let in by the caller. What the database knows of kernels that do not take part, of other instruction sets for one,
// takes no place of theirs.
static tmac_status layouts_near_best(const tmac_tuning *t, const tmac_input_set *set,
                                     const tmac_layout **layouts, uint32_t room, uint32_t *found)
{
    tmac_db_figure *figures;
    size_t count;
    *found = 0;
    TMAC_TRY(tmac_db_figures(t->db, &t->host, set, 0, t->threads, &figures, &count));
    double best = 0;
    while (*found < room) {
        const tmac_db_figure *next = NULL;
        for (size_t i = 0; i < count; i++) {
            bool taken =
                figures[i].outcome != TMAC_OUTCOME_OK || !tmac_takes_part(t, figures[i].kernel);
            for (uint32_t l = 0; l < *found; l++)
                taken = taken || layouts[l] == figures[i].kernel->layout;
            if (!taken && (!next || figures[i].ns < next->ns)) next = &figures[i];
        }
        if (!next || (best > 0 && next->ns > layout_ratio * best)) break;
        if (best <= 0) best = next->ns;
        layouts[(*found)++] = next->kernel->layout;
    }
    free(figures);
    return tmac_ok();
}

// The first candidate of a kernel's layout and instruction set that handles single tokens; NULL when there is none.
static const tmac_kernel *first_single(const tmac_tuning *t, const tmac_kernel *kernel)
{
    for (size_t i = 0; i < t->candidate_count; i++) {
        const tmac_kernel *other = t->candidates[i];
        if (!t->out[i] && other->layout == kernel->layout && other->isa == kernel->isa &&
            other->token_block == 1)
            return other;
    }
    return NULL;
}

// Whether some vector kernel of this layout is meant for single tokens.
static bool single_serves(const tmac_tuning *t, const tmac_kernel *kernel)
{
    for (size_t i = 0; i < t->candidate_count; i++) {
        const tmac_kernel *other = t->candidates[i];
        if (!t->out[i] && other->layout == kernel->layout && other->isa != TMAC_ISA_SCALAR &&
            other->tokens_min == 1)
            return true;
    }
    return false;
}

// Larger buckets: blocks of tokens that pay there, and of the one-token kernels the first, without software prefetch:
// with weights warm the distance decides nothing. N = 1: kernels meant for several tokens only where there is none for
// one.
static bool worth_timing(const tmac_tuning *t, const tmac_kernel *kernel, uint32_t bucket)
{
    if (bucket == 0) return kernel->tokens_min == 1 || !single_serves(t, kernel);
    if (kernel->tokens_min > tmac_bucket_typical(bucket)) return false;
    return kernel->token_block > 1 || first_single(t, kernel) == kernel;
}

static void to_place(uint16_t *contenders, uint32_t from, uint32_t to)
{
    uint16_t kept = contenders[to];
    contenders[to] = contenders[from];
    contenders[from] = kept;
}

tmac_status tmac_contenders_of(const tmac_tuning *t, uint32_t set_index, uint32_t bucket,
                               uint16_t *contenders, uint32_t *count, bool *sentinel)
{
    const tmac_input_set *set = &t->work->sets[set_index];
    const tmac_spending *spending = tmac_spending_of(t->rigor);
    const tmac_plan_entry *seed = &t->seeds.entries[set_index];
    tmac_plan_entry rule = tmac_plan_rule(set, t->threads, t->isa);
    const tmac_layout *layouts[TMAC_WORK_LAYOUTS];
    uint32_t layout_count = 0;
    int32_t first = -1, second = -1;
    bool vector = vector_serves(t, set);
    if (bucket > 0 && spending->prune)
        TMAC_TRY(layouts_near_best(t, set, layouts, spending->prefill_layouts, &layout_count));
    *count = 0;
    for (size_t i = 0; i < t->candidate_count; i++) {
        const tmac_kernel *kernel = t->candidates[i];
        if (t->out[i] || !tmac_layout_holds(kernel->layout, set) || !made_for(kernel, set))
            continue;
        bool incumbent = strcmp(kernel->name, rule.kernel[bucket]) == 0;
        bool seeded = strcmp(kernel->name, seed->kernel[bucket]) == 0;
        bool in = kernel->isa != TMAC_ISA_SCALAR || !vector;
        if (spending->prune) {
            bool near_best =
                bucket == 0 || strcmp(kernel->layout->name, rule.layout) == 0 ||
                strcmp(kernel->layout->name, seed->layout) == 0 ||
                (t->joint.entry_count > 0 &&
                 strcmp(kernel->layout->name, t->joint.entries[set_index].layout) == 0);
            for (uint32_t l = 0; l < layout_count; l++)
                near_best = near_best || layouts[l] == kernel->layout;
            in = in && near_best && !tmac_hopeless(t, set, bucket, kernel) &&
                 worth_timing(t, kernel, bucket);
        }
        if (!in && !incumbent && !seeded) continue;
        if (incumbent) first = (int32_t)*count;
        if (seeded) second = (int32_t)*count;
        contenders[(*count)++] = (uint16_t)i;
    }
    // Where time is short the first ones are measured: the incumbent, the seed, and what each layout would run with.
    *sentinel = first >= 0;
    if (first >= 0) to_place(contenders, (uint32_t)first, 0);
    if (second == 0) second = first; // it changed places with the sentinel
    const bool two = second >= 0 && second != first;
    if (two) to_place(contenders, (uint32_t)second, *sentinel);
    uint32_t placed = (uint32_t)*sentinel + two;
    for (uint32_t l = 0; l < layout_count; l++) {
        const char *name = tmac_plan_rule_kernel(layouts[l]->name, bucket, t->isa);
        for (uint32_t i = placed; name && i < *count; i++)
            if (strcmp(t->candidates[contenders[i]]->name, name) == 0) {
                to_place(contenders, i, placed++);
                break;
            }
    }
    return tmac_ok();
}

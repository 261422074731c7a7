// Buckets, rungs, and the built-in rule: a good kernel for an input set before anything was measured.
//
// The rule is a table of preferences over what the registry holds, not over names: families in the order in which they
// have proved safe on each instruction set. A family or variant that is not compiled in is passed over; `scalar`
// reads every layout, so that a valid set always ends with a kernel.
//
// Within a family and instruction set the layout is the one with the tallest tile, up to 64 rows (more spills
// multiply-add's accumulators on every set we have; lut5 streams best from 512), that pads the matrices by at most an
// eighth; else the one that pads least.
#include "runtime/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernel.h"

// Streaming wants some software prefetch, caches do not mind it: the distance nearest to this is never far from the best on
// the hosts measured.
enum { RULE_PREFETCH = 16384 };

static const struct {
    uint32_t first, typical;
    const char *name;
} buckets[TMAC_BUCKETS] = {
    {1, 1, "1"}, {2, 4, "2-4"}, {5, 8, "5-8"}, {9, 16, "9-16"}, {17, 64, "17-64"}, {65, 128, "65+"},
};

uint32_t tmac_bucket_of(uint32_t tokens)
{
    uint32_t bucket = 0;
    while (bucket + 1 < TMAC_BUCKETS && tokens >= buckets[bucket + 1].first)
        bucket++;
    return bucket;
}

const char *tmac_bucket_name(uint32_t bucket)
{
    return bucket < TMAC_BUCKETS ? buckets[bucket].name : "?";
}

uint32_t tmac_bucket_typical(uint32_t bucket)
{
    return buckets[bucket < TMAC_BUCKETS ? bucket : TMAC_BUCKETS - 1].typical;
}

const char *tmac_rung_name(tmac_rung rung)
{
    static const char *const names[] = {"host", "class", "isa", "rule"};
    return (unsigned)rung < sizeof names / sizeof names[0] ? names[rung] : "?";
}

bool tmac_input_set_equal(const tmac_input_set *a, const tmac_input_set *b)
{
    if (a->format != b->format || a->group != b->group || a->columns != b->columns ||
        a->matrices != b->matrices || a->residency != b->residency)
        return false;
    for (uint32_t i = 0; i < a->matrices && i < TMAC_SET_MATRICES; i++)
        if (a->rows[i] != b->rows[i]) return false;
    return true;
}

const tmac_plan_entry *tmac_plan_find(const tmac_plan *plan, const tmac_input_set *set)
{
    for (uint32_t i = 0; i < plan->entry_count && i < TMAC_PLAN_ENTRIES; i++)
        if (tmac_input_set_equal(&plan->entries[i].set, set)) return &plan->entries[i];
    return NULL;
}

bool tmac_layout_holds(const tmac_layout *layout, const tmac_input_set *set)
{
    if (layout->format != set->format) return false;
    for (uint32_t i = 0; i < set->matrices && i < TMAC_SET_MATRICES; i++) {
        tmac_shape shape = {set->rows[i], set->columns, set->group};
        if (layout->tile_bytes(&shape) == 0) return false;
    }
    return true;
}

// ------------------------------------------------------------------------------------------------------------ rule

// Where weights stream from memory the fewer bits win, so lut5 goes first where vpermi2b is, in tall tiles, and lut3 with
// AVX2, in low ones, which have kernels for four tokens; where they live in the caches the multiply-add does.
static const struct {
    tmac_isa isa;
    const char *family; // NULL: any
    uint32_t row_tile_max;
    bool streamed_only;
} preferences[] = {
    {TMAC_ISA_AVX512VBMI, "lut5", 512, true}, {TMAC_ISA_AVX512VNNI, "mad2", 64, false},
    {TMAC_ISA_AVX512VNNI, "madq", 64, false}, {TMAC_ISA_AVX512BW, "mad2", 64, false},
    {TMAC_ISA_AVXVNNI, "mad2", 64, false},    {TMAC_ISA_AVX2, "lut3", 32, true},
    {TMAC_ISA_AVX2, "mad2", 64, false},       {TMAC_ISA_AVX2, "madq", 64, false},
    {TMAC_ISA_SSE41, "mad2", 64, false},      {TMAC_ISA_SSSE3, "lut2", 64, false},
    {TMAC_ISA_I8MM, "mad2", 64, false},       {TMAC_ISA_DOTPROD, "mad2", 64, false},
    {TMAC_ISA_DOTPROD, "madq", 64, false},    {TMAC_ISA_NEON, "mad2", 64, false},
    {TMAC_ISA_NEON, "madq", 64, false},       {TMAC_ISA_SCALAR, "mad2", 64, false},
    {TMAC_ISA_SCALAR, NULL, 64, false},
};

// The rows that padding adds, in all matrices of the set.
static uint64_t padding(const tmac_layout *layout, const tmac_input_set *set, uint64_t *rows)
{
    uint64_t extra = 0;
    *rows = 0;
    for (uint32_t i = 0; i < set->matrices && i < TMAC_SET_MATRICES; i++) {
        *rows += set->rows[i];
        extra +=
            (uint64_t)tmac_layout_tiles(layout, set->rows[i]) * layout->row_tile - set->rows[i];
    }
    return extra;
}

static bool better_layout(const tmac_layout *a, const tmac_layout *b, const tmac_input_set *set,
                          uint32_t row_tile_max)
{
    uint64_t rows;
    uint64_t pad_a = padding(a, set, &rows), pad_b = padding(b, set, &rows);
    bool fits_a = pad_a * 8 <= rows && a->row_tile <= row_tile_max;
    bool fits_b = pad_b * 8 <= rows && b->row_tile <= row_tile_max;
    if (fits_a != fits_b) return fits_a;
    return fits_a ? a->row_tile > b->row_tile : pad_a < pad_b;
}

static const tmac_layout *rule_layout(const tmac_input_set *set, tmac_isa_set isa)
{
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels_built_in(&count);
    for (size_t p = 0; p < sizeof preferences / sizeof preferences[0]; p++) {
        if (!tmac_isa_has(isa, preferences[p].isa)) continue;
        if (preferences[p].streamed_only && set->residency != TMAC_STREAMED) continue;
        const tmac_layout *best = NULL;
        for (size_t i = 0; i < count; i++) {
            const tmac_kernel *kernel = kernels[i];
            if (kernel->isa != preferences[p].isa) continue;
            if (preferences[p].family && strcmp(kernel->layout->family, preferences[p].family) != 0)
                continue;
            if (!tmac_layout_holds(kernel->layout, set)) continue;
            if (!best || better_layout(kernel->layout, best, set, preferences[p].row_tile_max))
                best = kernel->layout;
        }
        if (best) return best;
    }
    return NULL;
}

// Decodes a panel of weights once for all tokens.
static bool is_panel(const tmac_kernel *kernel)
{
    return strstr(kernel->name, "_panel_") != NULL;
}

// How far a kernel's prefetch distance ("prefetch=4096" among its parameters; none: 0) is from the rule's.
static uint64_t prefetch_error(const tmac_kernel *kernel)
{
    const char *text = strstr(kernel->parameters, "prefetch=");
    uint64_t distance = text ? strtoull(text + strlen("prefetch="), NULL, 10) : 0;
    return distance > RULE_PREFETCH ? distance - RULE_PREFETCH : RULE_PREFETCH - distance;
}

static bool better_kernel(const tmac_kernel *a, const tmac_kernel *b, uint32_t typical)
{
    bool fits = a->tokens_min <= typical, other_fits = b->tokens_min <= typical;
    if (fits != other_fits) return fits;
    if (a->isa != TMAC_ISA_AMX && b->isa != TMAC_ISA_AMX && is_panel(a) != is_panel(b))
        return is_panel(a) == fits;
    if (a->isa != b->isa) return a->isa > b->isa;
    if (a->token_block != b->token_block) return fits == (a->token_block > b->token_block);
    return prefetch_error(a) < prefetch_error(b);
}

// As many tokens at once as the bucket is sure to bring, no more; then panels; then the widest instruction set; then the
// largest block of tokens; then the prefetch distance; then registry order.
const char *tmac_plan_rule_kernel(const char *layout, uint32_t bucket, tmac_isa_set isa)
{
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels_built_in(&count);
    const tmac_kernel *best = NULL;
    uint32_t typical = tmac_bucket_typical(bucket);
    for (size_t i = 0; i < count; i++) {
        const tmac_kernel *kernel = kernels[i];
        if (!tmac_isa_has(isa, kernel->isa) || strcmp(kernel->layout->name, layout) != 0) continue;
        if (!best || better_kernel(kernel, best, typical)) best = kernel;
    }
    return best ? best->name : NULL;
}

tmac_plan_entry tmac_plan_rule(const tmac_input_set *set, uint32_t threads, tmac_isa_set isa)
{
    (void)
        threads; // the rule is the same at every number of threads; only measurements tell them apart
    isa |= 1u << TMAC_ISA_SCALAR;
    tmac_plan_entry entry = {.set = *set, .rung = TMAC_RUNG_RULE};
    const tmac_layout *layout = rule_layout(set, isa);
    if (!layout) return entry;
    snprintf(entry.layout, sizeof entry.layout, "%s", layout->name);
    for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
        const char *name = tmac_plan_rule_kernel(layout->name, bucket, isa);
        snprintf(entry.kernel[bucket], sizeof entry.kernel[bucket], "%s", name ? name : "");
    }
    return entry;
}

tmac_plan tmac_plan_default(const tmac_input_set *sets, uint32_t count, uint32_t threads,
                            tmac_isa_set isa)
{
    tmac_plan plan = {.threads = threads};
    for (uint32_t i = 0; i < count && i < TMAC_PLAN_ENTRIES; i++)
        plan.entries[plan.entry_count++] = tmac_plan_rule(&sets[i], threads, isa);
    return plan;
}

// A plan: which layout and which kernels serve each input set of a model, at one number of threads. Plain data, no
// pointers: it can be written, compared and sent. The database makes plans out of measurements; tmac_plan_default makes
// one out of rules; the runtime only reads them. A plan changes speed and nothing else.
#ifndef TMAC_RUNTIME_PLAN_H
#define TMAC_RUNTIME_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/isa.h"
#include "base/status.h"

struct tmac_layout; // runtime/kernel.h

enum {
    TMAC_SET_MATRICES = 3, // matrices of an input set at most: q, k, v
    TMAC_PLAN_ENTRIES = 8, // distinct input sets of a model at most
    TMAC_NAME_BYTES = 64,
    TMAC_BUCKETS = 6,
};

// Buckets of N, the tokens multiplied at once: 1, 2-4, 5-8, 9-16, 17-64, 65 and more.
uint32_t tmac_bucket_of(uint32_t tokens);
const char *tmac_bucket_name(uint32_t bucket); // "1", "2-4", ... "65+"
uint32_t tmac_bucket_typical(uint32_t bucket); // a representative N: 1, 4, 8, 16, 64, 128

// Does one token's working set (all layers' packed weights and the head) fit the caches, or stream from memory?
typedef enum tmac_residency { TMAC_RESIDENT, TMAC_STREAMED } tmac_residency;

// An input set: the matrices that share one input and one `prepare`.
typedef struct tmac_input_set {
    char format;                      // 't': ternary, '1'..'4': b-bit integers (runtime/kernel.h)
    uint32_t group;                   // scale group; equal to columns for tensor and row scales
    uint32_t columns;                 // K
    uint32_t matrices;                // 1 to 3
    uint32_t rows[TMAC_SET_MATRICES]; // M of each, 0 where unused
    tmac_residency residency;
} tmac_input_set;

// Where an entry came from, best first.
typedef enum tmac_rung {
    TMAC_RUNG_HOST,  // measured on this very host
    TMAC_RUNG_CLASS, // same verified instruction sets, caches, hypervisor and bandwidth class
    TMAC_RUNG_ISA,   // same verified instruction sets
    TMAC_RUNG_RULE,  // nothing measured: the built-in rule
} tmac_rung;
const char *tmac_rung_name(tmac_rung rung); // "host", "class", "isa", "rule"

typedef struct tmac_plan_entry {
    tmac_input_set set;
    char layout[TMAC_NAME_BYTES];
    char kernel[TMAC_BUCKETS][TMAC_NAME_BYTES]; // one per bucket of N, all of that layout
    tmac_rung rung;
} tmac_plan_entry;

typedef struct tmac_plan {
    uint32_t threads;
    uint32_t entry_count;
    tmac_plan_entry entries[TMAC_PLAN_ENTRIES];
} tmac_plan;

// The built-in rule for one input set: a good kernel for the instruction sets in `isa`, without measuring. Never fails
// for a set that is valid: `scalar` serves everything.
tmac_plan_entry tmac_plan_rule(const tmac_input_set *set, uint32_t threads, tmac_isa_set isa);

// The rule within a layout that is already decided: the kernel it takes for a bucket. NULL when no kernel in `isa` reads
// the layout. The name is the registry's.
const char *tmac_plan_rule_kernel(const char *layout, uint32_t bucket, tmac_isa_set isa);

// Whether a layout is of the set's format and can hold every matrix of it.
bool tmac_layout_holds(const struct tmac_layout *layout, const tmac_input_set *set);

// Fills entries for all sets by the rule.
tmac_plan tmac_plan_default(const tmac_input_set *sets, uint32_t count, uint32_t threads,
                            tmac_isa_set isa);

bool tmac_input_set_equal(const tmac_input_set *a, const tmac_input_set *b);

// The entry for a set, NULL when the plan has none.
const tmac_plan_entry *tmac_plan_find(const tmac_plan *plan, const tmac_input_set *set);

#endif

// What a run was: speeds, kernels, rung, and a fingerprint of every logit that decided something.
#ifndef TMAC_CLI_STATS_H
#define TMAC_CLI_STATS_H

#include "base/hash.h"
#include "cli/session.h"

typedef struct tmac_stats {
    uint64_t start_ns;                  // from the program's beginning to the first decode
    uint64_t prompt_tokens, prompt_ns;  // BOS included
    uint64_t generated_tokens;          // chosen, an end token included
    uint64_t decoded_tokens, decode_ns; // after the prompt and kept, choosing included
    uint64_t decode_calls;              // batches they took: fewer, where drafts were accepted
    uint64_t drafted, accepted;
    bool hashing;
    tmac_hash_state logits; // running, when hashing
} tmac_stats;

// Two lines for people: speeds; kernels and rung.
void tmac_stats_print(const tmac_program *program, const tmac_stats *stats,
                      const tmac_start *start);

// More lines: where the time went, memory, the fingerprint.
void tmac_stats_print_details(const tmac_program *program, tmac_stats *stats,
                              const tmac_start *start);

// One line of JSON on standard error.
tmac_status tmac_stats_print_json(tmac_stats *stats, const tmac_start *start);

// The least founded entry speaks for the whole plan. A float model has no entries, and rules are all it needs.
tmac_rung tmac_stats_rung(const tmac_plan *plan);

#endif

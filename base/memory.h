// Memory for weights and workspaces: zeroed, 64-byte aligned at least, from huge pages where the kernel gives them.
//
// Everything large is allocated once, at set-up, through these calls, so that the token loop never allocates.
#ifndef TMAC_BASE_MEMORY_H
#define TMAC_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct tmac_pages {
    void *data;    // aligned to 2 MiB when bytes >= 2 MiB, else to 4096; zeroed
    size_t bytes;  // usable bytes, as asked for
    void *mapping; // private: what to unmap
    size_t mapped;
} tmac_pages;

// Maps zeroed pages and asks for huge ones. bytes may be 0 (data is then NULL).
tmac_status tmac_pages_map(size_t bytes, tmac_pages *pages);
void tmac_pages_unmap(tmac_pages *pages); // harmless on a zeroed struct

// Overflow-safe size arithmetic: false when the result does not fit.
bool tmac_size_multiply(size_t a, size_t b, size_t *product);
bool tmac_size_add(size_t a, size_t b, size_t *sum);

// Rounds up to a multiple (which need not be a power of two). The caller has checked that it cannot overflow.
static inline size_t tmac_round_up(size_t value, size_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

// An arena: many small pieces carved from one mapping, freed together. Sizes are summed first, then carved:
// alignment 64. tmac_arena_take returns NULL when the arena is exhausted, which is a defect of the caller's sum.
typedef struct tmac_arena {
    tmac_pages pages;
    size_t used;
} tmac_arena;
tmac_status tmac_arena_new(size_t bytes, tmac_arena *arena);
void *tmac_arena_take(tmac_arena *arena, size_t bytes);
void tmac_arena_free(tmac_arena *arena);

#endif

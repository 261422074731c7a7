// Private to db/: figures, from trials.
#ifndef TMAC_DB_FIGURES_H
#define TMAC_DB_FIGURES_H

#include "db/store.h"

typedef struct tmac_figure {
    tmac_db_figure f;
    uint32_t bucket;
    int64_t started; // of its run
} tmac_figure;

// Zeroed before its first use; the caller frees items.
typedef struct tmac_figures {
    tmac_figure *items;
    size_t count, room;
} tmac_figures;

enum { TMAC_FIGURES_ALL = (1 << TMAC_BUCKETS) - 1 };

// What a host measured for a set, in this database and its layers together: of each kernel in each bucket the
// best-founded success and the best-founded failure. buckets: whose successes are wanted, one bit each; failures are
// always told. Replaces what is in the list.
tmac_status tmac_figures_load(const tmac_db *db, const char *host, const tmac_input_set *set,
                              uint32_t threads, uint32_t buckets, tmac_figures *list);

// Drops what may not decide: failures, kernels that failed in any bucket, those outside `isa`, and figures taken in noise
// where the bucket has any taken in quiet: noise never replaces a winner.
void tmac_figures_keep_usable(tmac_figures *list, tmac_isa_set isa);

#endif

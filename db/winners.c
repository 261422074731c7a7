// What a host's fastest kernels are, in a database and its layers together: the view `winner` of each, and of what they say
// about one problem the least time.
#include "db/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tmac_db_winner_order(const tmac_db_winner *x, const tmac_db_winner *y)
{
    const int order = strcmp(x->set, y->set);
    if (order) return order;
    if (x->threads != y->threads) return x->threads < y->threads ? -1 : 1;
    return (x->bucket > y->bucket) - (x->bucket < y->bucket);
}

// Within a problem the fastest first; what is equal is ordered by name, so that no order of layers matters.
static int by_problem_and_time(const void *a, const void *b)
{
    const tmac_db_winner *x = a, *y = b;
    const int order = tmac_db_winner_order(x, y);
    if (order) return order;
    if (x->ns != y->ns) return x->ns < y->ns ? -1 : 1;
    return strcmp(x->kernel, y->kernel);
}

static tmac_status read_winners(const tmac_db *db, uint32_t layer, const tmac_db_name *host,
                                tmac_db_winner **winners, size_t *count)
{
    sqlite3_stmt *q;
    if (!db->sqlite) return tmac_ok();
    TMAC_TRY(tmac_store_prepare(db,
                                "SELECT input_set, kernel, threads, bucket, ns FROM winner"
                                " WHERE host = ? AND input_set IS NOT NULL AND kernel IS NOT NULL",
                                &q));
    sqlite3_bind_text(q, 1, host->hex, -1, SQLITE_TRANSIENT);
    tmac_status status = tmac_ok();
    int code;
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
        tmac_db_winner *grown = realloc(*winners, (*count + 1) * sizeof *grown);
        if (!grown) {
            status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu winners", *count + 1);
            break;
        }
        *winners = grown;
        tmac_db_winner *winner = &grown[(*count)++];
        *winner = (tmac_db_winner){.threads = (uint32_t)sqlite3_column_int64(q, 2),
                                   .bucket = (uint32_t)sqlite3_column_int64(q, 3),
                                   .ns = (uint64_t)sqlite3_column_int64(q, 4),
                                   .layers = 1u << layer};
        snprintf(winner->set, sizeof winner->set, "%s", tmac_store_text(q, 0));
        snprintf(winner->kernel, sizeof winner->kernel, "%s", tmac_store_text(q, 1));
    }
    if (status.code == TMAC_OK && code != SQLITE_DONE)
        status = tmac_store_fail(db, code, "reading winners");
    sqlite3_finalize(q);
    return status;
}

tmac_status tmac_db_winners(const tmac_db *db, const tmac_db_name *host, tmac_db_winner **winners,
                            size_t *count)
{
    *winners = NULL;
    *count = 0;
    tmac_status status = read_winners(db, 0, host, winners, count);
    for (uint32_t i = 0; i < db->layer_count && status.code == TMAC_OK; i++)
        status = read_winners(db->layers[i], i + 1, host, winners, count);
    if (status.code != TMAC_OK) {
        free(*winners);
        *winners = NULL;
        *count = 0;
        return status;
    }
    tmac_db_winner *list = *winners;
    size_t kept = 0;
    if (*count > 1) qsort(list, *count, sizeof *list, by_problem_and_time);
    for (size_t i = 0; i < *count; i++) {
        if (kept == 0 || tmac_db_winner_order(&list[kept - 1], &list[i]) != 0)
            list[kept++] = list[i];
        else if (by_problem_and_time(&list[kept - 1], &list[i]) == 0)
            list[kept - 1].layers |= list[i].layers;
    }
    *count = kept;
    return tmac_ok();
}

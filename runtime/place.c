// Where there are several memory nodes, weights belong into that of the worker that multiplies them.
//
// Linux places a page when it is first written, in the node of who writes, so every worker touches the pages of its own
// shares before anything is packed or copied into them. A huge page nearly always holds weights of several workers: it
// goes to the node that reads most of it, whose workers touch first. Pages that turn out to be small ones go to their
// readers one by one, in a second round. A policy of the mapping's own keeps Linux from balancing: it would move pages to
// whoever copies or writes them to the cache file.
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/topology.h"
#include "runtime/pack.h"

enum { HUGE_PAGE = 2 << 20, SMALL_PAGE = 4096 };

// What one worker reads of one matrix.
typedef struct share {
    uintptr_t begin, end;
    uint32_t worker;
} share;

typedef struct placement {
    const tmac_model *model;
    uint32_t *node; // of each worker
    share *shares;  // ascending
    size_t count;
    uintptr_t base;   // of the weights
    uint32_t *winner; // node of each huge page
} placement;

static void node_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    placement *p = argument;
    p->node[worker] = tmac_this_node();
}

void tmac_pack_job_share(const tmac_model *model, const tmac_pack_job *job, uint32_t worker,
                         uint64_t *begin, uint64_t *end)
{
    uint64_t from, to;
    tmac_pool_share(model->pool, job->set_units, worker, &from, &to);
    *begin = from > job->set_before ? from - job->set_before : 0;
    *end = to > job->set_before ? to - job->set_before : 0;
    if (*begin > job->units) *begin = job->units;
    if (*end > job->units) *end = job->units;
}

static void find_shares(placement *p, const tmac_pack_job *jobs, uint32_t count, uint32_t workers)
{
    for (uint32_t j = 0; j < count; j++)
        for (uint32_t w = 0; w < workers; w++) {
            uint64_t begin, end;
            tmac_pack_job_share(p->model, &jobs[j], w, &begin, &end);
            const uintptr_t home = (uintptr_t)jobs[j].home;
            if (begin < end)
                p->shares[p->count++] =
                    (share){home + begin * jobs[j].unit_bytes, home + end * jobs[j].unit_bytes, w};
        }
}

// Runs of huge pages are short and nodes few: the votes of one page are counted at a time.
static void find_winners(placement *p, size_t pages, uint64_t *votes, uint32_t nodes)
{
    size_t first = 0; // share that reaches into the page
    for (size_t page = 0; page < pages; page++) {
        const uintptr_t begin = p->base + page * HUGE_PAGE, end = begin + HUGE_PAGE;
        for (uint32_t n = 0; n < nodes; n++)
            votes[n] = 0;
        while (first < p->count && p->shares[first].end <= begin)
            first++;
        for (size_t s = first; s < p->count && p->shares[s].begin < end; s++) {
            const share *one = &p->shares[s];
            votes[p->node[one->worker]] +=
                (one->end < end ? one->end : end) - (one->begin > begin ? one->begin : begin);
        }
        for (uint32_t n = 1; n < nodes; n++)
            if (votes[n] > votes[p->winner[page]]) p->winner[page] = n;
    }
}

// Small pages count as their middle's.
static void touch(const placement *p, uint32_t worker, bool won)
{
    for (size_t s = 0; s < p->count; s++) {
        if (p->shares[s].worker != worker) continue;
        const uintptr_t half = SMALL_PAGE / 2;
        uintptr_t at = tmac_round_up(p->shares[s].begin - p->base + half, SMALL_PAGE) - half;
        for (; at < p->shares[s].end - p->base; at += SMALL_PAGE)
            if ((p->winner[at / HUGE_PAGE] == p->node[worker]) == won)
                *((volatile uint8_t *)p->model->weights.pages.data + at) = 0; // as it was
    }
}

static void touch_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    const placement *p = argument;
    touch(p, worker, true);
    tmac_pool_barrier(p->model->pool);
    touch(p, worker, false);
}

void tmac_place_weights(const tmac_model *model, const tmac_pack_job *jobs, uint32_t count)
{
    const uint32_t workers = tmac_pool_threads(model->pool);
    const size_t pages = model->weights.pages.bytes / HUGE_PAGE + 1;
    if (workers == 1 || pages == 1) return;
    placement p = {.model = model, .base = (uintptr_t)model->weights.pages.data};
    p.node = calloc(workers, sizeof *p.node);
    p.shares = calloc((size_t)count * workers, sizeof *p.shares);
    p.winner = calloc(pages, sizeof *p.winner);
    uint64_t *votes = NULL;
    uint32_t nodes = 0; // the highest, plus one
    bool several = false;
    if (p.node && p.shares && p.winner) {
        tmac_pool_run(model->pool, node_phase, &p);
        for (uint32_t w = 0; w < workers; w++) {
            several |= p.node[w] != p.node[0];
            if (p.node[w] >= nodes) nodes = p.node[w] + 1;
        }
        if (several) votes = calloc(nodes, sizeof *votes);
    }
    if (votes) {
        enum { POLICY_LOCAL = 4 }; // of linux/mempolicy.h: where it is first touched
        const tmac_pages *weights = &model->weights.pages;
        syscall(SYS_mbind, weights->mapping, weights->mapped, POLICY_LOCAL, NULL, 0ul, 0u);
        find_shares(&p, jobs, count, workers);
        find_winners(&p, pages, votes, nodes);
        tmac_pool_run(model->pool, touch_phase, &p);
    }
    free(votes);
    free(p.winner);
    free(p.shares);
    free(p.node);
}

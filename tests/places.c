// Where the weights of a model are: in the memory node of the worker that multiplies them, or elsewhere?
//
//   places MODEL THREADS [CACHE]
//
// Starts like tmac-run with the packed weights of the folder CACHE where there are some, waits until they are where they
// belong, asks Linux for the node of every page and prints, in words that tests/numa.sh reads, of how many the worker's
// node and the page's are the same. Small pages count as their middle's.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/topology.h"
#include "convert/convert.h"
#include "runtime/cache.h"
#include "runtime/model_private.h"

enum { PAGE = 4096 };

typedef struct counts {
    uint64_t near, far, absent;
} counts;

static uint32_t node_of_worker[TMAC_POOL_MAX];

static void node_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)argument, (void)workers;
    node_of_worker[worker] = tmac_this_node();
}

static void count_pages(const uint8_t *begin, const uint8_t *end, uint32_t node, counts *c)
{
    uintptr_t at = ((uintptr_t)begin + PAGE / 2 - 1) / PAGE * PAGE;
    if (at + PAGE / 2 < (uintptr_t)begin) at += PAGE;
    for (; at + PAGE / 2 < (uintptr_t)end; at += PAGE) {
        void *page = (void *)at; // NOLINT(performance-no-int-to-ptr)
        int where = -1;
        if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &where, 0) != 0 || where < 0)
            c->absent++;
        else if ((uint32_t)where == node)
            c->near++;
        else
            c->far++;
    }
}

// Tiles that two workers share are left out: every line of them has two readers. gated: both matrices are shared alike.
static void count_set(const tmac_model *model, const tmac_linear_set *set, bool gated, counts *c)
{
    const tmac_kernel *kernel = tmac_set_kernel(set, 1);
    const uint32_t spans = kernel->layout->row_tile / kernel->row_span; // of a tile
    uint64_t all = 0;
    for (uint32_t m = 0; m < (gated ? 1 : set->matrices); m++)
        all += tmac_kernel_spans(kernel, set->linear[m].rows);
    for (uint32_t w = 0; w < tmac_pool_threads(model->pool); w++) {
        uint64_t begin, end, first = 0;
        tmac_pool_share(model->pool, all, w, &begin, &end);
        for (uint32_t m = 0; m < set->matrices; m++) {
            const tmac_linear *linear = &set->linear[m];
            const tmac_shape shape = {linear->rows, linear->columns, set->group};
            const size_t bytes = kernel->layout->tile_bytes(&shape);
            const uint64_t count = tmac_kernel_spans(kernel, linear->rows);
            const uint64_t from = begin > first ? begin - first : 0;
            uint64_t to = end > first ? end - first : 0;
            if (to >= count) to = tmac_round_up(count, spans); // the last tile may be a part
            const uint64_t from_tile = (from + spans - 1) / spans, to_tile = to / spans;
            if (from_tile < to_tile)
                count_pages((const uint8_t *)linear->tiles + from_tile * bytes,
                            (const uint8_t *)linear->tiles + to_tile * bytes, node_of_worker[w], c);
            if (!gated) first += count;
        }
    }
}

static tmac_status look(const char *path, const char *cache, tmac_pool *pool)
{
    tmac_source source;
    tmac_model *model;
    tmac_plan plan;
    TMAC_TRY(tmac_source_open(path, &(tmac_open_options){0}, &source));
    static tmac_input_set sets[TMAC_PLAN_ENTRIES];
    uint32_t set_count;
    tmac_status status = tmac_model_input_sets(&source, sets, &set_count);
    if (status.code == TMAC_OK)
        plan = tmac_plan_default(sets, set_count, tmac_pool_threads(pool), tmac_isa_verified());
    const tmac_model_options options = {.pool = pool,
                                        .plan = &plan,
                                        .isa = tmac_isa_verified(),
                                        .batch_capacity = 1,
                                        .cache = cache};
    if (status.code == TMAC_OK) status = tmac_model_new(&source, &options, &model);
    if (status.code == TMAC_OK) {
        while (model->cache && tmac_cache_settle(model->cache))
            usleep(10000);
        counts c = {0, 0, 0};
        tmac_pool_run(pool, node_phase, NULL);
        for (uint32_t l = 0; l < source.layer_count; l++) {
            const tmac_layer *layer = &model->layers[l];
            const tmac_step *const steps[] = {&layer->attention_in, &layer->attention_out,
                                              &layer->ffn_in, &layer->ffn_out};
            for (int s = 0; s < 4; s++)
                for (uint32_t i = 0; i < steps[s]->sets; i++)
                    if (steps[s]->set[i].resolved)
                        count_set(model, &steps[s]->set[i], steps[s]->gated, &c);
        }
        printf("near %llu far %llu absent %llu nodes", (unsigned long long)c.near,
               (unsigned long long)c.far, (unsigned long long)c.absent);
        for (uint32_t w = 0; w < tmac_pool_threads(pool); w++)
            printf(" %u", node_of_worker[w]);
        putchar('\n');
        tmac_model_free(model);
    }
    tmac_source_close(&source);
    return status;
}

int main(int count, char **words)
{
    tmac_pool *pool;
    tmac_topology topology;
    tmac_cpu_list allowed;
    if (count < 3) return 2;
    tmac_cpu_list_allowed(&allowed);
    tmac_status status = tmac_topology_read("", &allowed, &topology);
    if (status.code == TMAC_OK)
        status = tmac_pool_new((uint32_t)strtoul(words[2], NULL, 10), &pool);
    if (status.code == TMAC_OK) {
        tmac_topology_tie(&topology, pool);
        status = look(words[1], count > 3 ? words[3] : NULL, pool);
        tmac_pool_free(pool);
    }
    if (status.code != TMAC_OK) fprintf(stderr, "%s\n", status.message);
    return status.code != TMAC_OK;
}

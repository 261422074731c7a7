// The working set of one input set: what a token of the model touches, packed in every layout that competes.
//
// Time does not depend on the weights' values (no kernel branches on data), only on where they lie. So a few random
// tiles are packed and repeated over a copy, and the copy over the rotation, by all threads. Matrices of a copy begin
// on pages, as the runtime's do.
//
// Streaming. Contenders of all layouts take turns, each walking on where its layout was left. Of R bytes of a layout
// that K' of K contenders read, every byte is met again after R * K / K' bytes of traffic by everybody. So it is enough
// that layouts share the bytes that one token reads in proportion to their contenders: then all traffic between two
// meetings is a token's, as it is in the model, and the region is one model large instead of one per layout. When
// contenders drop out the region is shared anew.
#include "tune/measure.h"

#include <assert.h>
#include <string.h>

enum { DISTINCT_TILES = 2, PAGE = 4096 };

size_t tmac_set_bytes(const tmac_input_set *set, const tmac_layout *layout)
{
    size_t total = 0;
    for (uint32_t i = 0; i < set->matrices; i++) {
        tmac_shape shape = {set->rows[i], set->columns, set->group};
        size_t tile = layout->tile_bytes(&shape), bytes;
        if (tile == 0 ||
            !tmac_size_multiply(tile, tmac_layout_tiles(layout, set->rows[i]), &bytes) ||
            !tmac_size_add(bytes, PAGE - 1, &bytes) ||
            !tmac_size_add(total, bytes / PAGE * PAGE, &total))
            return 0;
    }
    return total;
}

uint32_t tmac_layouts_of(const tmac_kernel *const *kernels, size_t count,
                         const tmac_layout *layouts[TMAC_WORK_LAYOUTS])
{
    uint32_t found = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t at = 0;
        while (at < found && layouts[at] != kernels[i]->layout)
            at++;
        if (at == found && found < TMAC_WORK_LAYOUTS) layouts[found++] = kernels[i]->layout;
    }
    return found;
}

// ---------------------------------------------------------------------------------------------------------- filling

static tmac_status pack_first_copy(tmac_copies *c, const tmac_input_set *set, tmac_random *random)
{
    size_t weight_bytes;
    if (!tmac_size_multiply(c->layout->row_tile, set->columns, &weight_bytes))
        return tmac_fail(TMAC_UNSUPPORTED, "an input set of %u columns is too large to measure",
                         set->columns);
    tmac_pages pages;
    TMAC_TRY(tmac_pages_map(weight_bytes, &pages));
    int8_t *weights = pages.data;
    for (uint32_t i = 0; i < set->matrices; i++) {
        tmac_shape shape = {set->rows[i], set->columns, set->group};
        uint8_t *tiles = c->data + c->matrix_offset[i];
        for (uint32_t t = 0; t < c->tiles[i]; t++) {
            uint8_t *tile = tiles + t * c->tile_bytes[i];
            uint32_t rows = shape.rows - t * c->layout->row_tile;
            bool last = rows <= c->layout->row_tile;
            if (t >= DISTINCT_TILES && !last) {
                memcpy(tile, tiles + t % DISTINCT_TILES * c->tile_bytes[i], c->tile_bytes[i]);
                continue;
            }
            for (size_t k = 0; k < weight_bytes; k++)
                weights[k] = tmac_layout_weight(c->layout, tmac_random_below(random, 240));
            c->layout->pack_tile(&shape, weights, last ? rows : c->layout->row_tile, tile);
        }
    }
    tmac_pages_unmap(&pages);
    return tmac_ok();
}

static void repeat_copy(void *argument, uint32_t worker, uint32_t workers)
{
    tmac_copies *c = argument;
    uint64_t begin, end;
    tmac_share(c->copies - 1, worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        memcpy(c->data + (i + 1) * c->copy_bytes, c->data, c->copy_bytes);
}

// Keeps the mapping when it is large enough: pages once touched are the dearest part of filling.
static tmac_status need_pages(tmac_pages *pages, size_t bytes, size_t wish)
{
    if (pages->bytes >= bytes && pages->data) return tmac_ok();
    tmac_pages_unmap(pages);
    memset(pages, 0, sizeof *pages);
    return tmac_pages_map(wish > bytes ? wish : bytes, pages);
}

// Activations, the largest prepared form, and results for all matrices in the widest layout.
static tmac_status lay_out_small(tmac_workbench *b, const tmac_kernel *const *kernels, size_t count,
                                 tmac_random *random)
{
    const tmac_input_set *set = &b->set;
    b->prepared_stride = 64;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = kernels[i]->prepared_bytes(set->columns, set->group);
        if (bytes > b->prepared_stride) b->prepared_stride = bytes;
    }
    size_t groups = ((size_t)set->columns + set->group - 1) / set->group, q_bytes, p_bytes, total;
    size_t y_bytes = 0; // for every worker as many as the model has: b->y_step sums
    b->y_step = 0;
    for (uint32_t l = 0; l < b->layout_count; l++) {
        const uint32_t row_tile = b->layouts[l].layout->row_tile;
        const size_t outputs = groups * b->tokens; // less than 2^32 * 2^32 / 32
        const size_t rows = (size_t)tmac_chunk_tiles(row_tile, outputs) * row_tile;
        size_t step;
        if (!tmac_size_multiply(outputs, tmac_sums_stride(rows), &step))
            return tmac_fail(TMAC_UNSUPPORTED, "results of %u tokens do not fit the memory",
                             b->tokens);
        if (step > b->y_step) b->y_step = step;
    }
    if (!tmac_size_multiply(b->y_step, tmac_pool_threads(b->pool) * sizeof *b->y, &y_bytes))
        return tmac_fail(TMAC_UNSUPPORTED, "results of %u tokens do not fit the memory", b->tokens);
    if (!tmac_size_multiply(set->columns, b->tokens, &q_bytes) ||
        !tmac_size_add(q_bytes, 64, &q_bytes) ||
        !tmac_size_multiply(b->prepared_stride,
                            b->tokens == 1 ? tmac_pool_threads(b->pool) : b->tokens, &p_bytes) ||
        !tmac_size_add(q_bytes / 64 * 64, p_bytes, &total) ||
        !tmac_size_add(total, y_bytes, &total))
        return tmac_fail(TMAC_UNSUPPORTED, "activations of %u tokens do not fit the memory",
                         b->tokens);
    TMAC_TRY(need_pages(&b->small, total, total));
    b->q = b->small.data;
    b->prepared = (uint8_t *)b->small.data + q_bytes / 64 * 64;
    b->y = (int32_t *)(void *)(b->prepared + p_bytes);
    for (size_t i = 0; i < (size_t)set->columns * b->tokens; i++)
        b->q[i] = (int8_t)((int)tmac_random_below(random, 256) - 128);
    return tmac_ok();
}

static void describe(tmac_copies *c, const tmac_input_set *set, const tmac_layout *layout,
                     uint32_t copies, size_t rotation)
{
    *c = (tmac_copies){.layout = layout};
    for (uint32_t i = 0; i < set->matrices; i++) {
        tmac_shape shape = {set->rows[i], set->columns, set->group};
        c->tiles[i] = tmac_layout_tiles(layout, shape.rows);
        c->tile_bytes[i] = layout->tile_bytes(&shape);
        c->matrix_offset[i] = c->copy_bytes;
        c->copy_bytes += tmac_round_up(c->tile_bytes[i] * c->tiles[i], PAGE);
    }
    assert(c->copy_bytes > 0); // a set has at least one matrix
    size_t cover = rotation / c->copy_bytes + (rotation % c->copy_bytes != 0);
    c->copies = copies ? copies : 1;
    if (cover > c->copies) c->copies = cover < 1u << 20 ? (uint32_t)cover : 1u << 20;
}

// The rotation of a layout: its share of the bytes of one token of the model, by its share of the contenders.
static size_t rotation_of(const tmac_traffic *traffic, const tmac_layout *layout,
                          const tmac_kernel *const *kernels, size_t count)
{
    // The head passes by too: without it what a large third-level cache keeps from one token to the next would be too
    // much.
    size_t total = traffic->head_bytes, readers = 0, bytes;
    for (size_t i = 0; i < count; i++)
        readers += kernels[i]->layout == layout;
    for (uint32_t i = 0; i < traffic->count; i++)
        if (!tmac_size_multiply(tmac_set_bytes(&traffic->sets[i], layout), traffic->calls[i],
                                &bytes) ||
            !tmac_size_add(total, bytes, &total))
            return SIZE_MAX;
    return (size_t)((double)total * (double)readers / (double)count);
}

tmac_status tmac_workbench_fill(tmac_workbench *b, const tmac_input_set *set, uint32_t tokens,
                                const tmac_kernel *const *kernels, size_t count, uint32_t copies,
                                const tmac_traffic *traffic, size_t limit, tmac_random *random)
{
    const tmac_layout *layouts[TMAC_WORK_LAYOUTS];
    b->set = *set;
    b->tokens = tokens;
    b->layout_count = tmac_layouts_of(kernels, count, layouts);
    size_t total = 0, share = limit / (b->layout_count ? b->layout_count : 1);
    for (uint32_t l = 0; l < b->layout_count; l++) {
        tmac_copies *c = &b->layouts[l];
        size_t bytes;
        if (tmac_set_bytes(set, layouts[l]) == 0)
            return tmac_fail(TMAC_INTERNAL, "layout %s cannot hold the set", layouts[l]->name);
        describe(c, set, layouts[l], copies,
                 traffic ? rotation_of(traffic, layouts[l], kernels, count) : 0);
        if (c->copies > share / c->copy_bytes) c->copies = (uint32_t)(share / c->copy_bytes);
        if (c->copies == 0) c->copies = 1;
        if (!tmac_size_multiply(c->copy_bytes, c->copies, &bytes) ||
            !tmac_size_add(total, bytes, &total))
            return tmac_fail(TMAC_OUT_OF_MEMORY, "the working set does not fit the address space");
    }
    // Room for the largest share to come, so that the region is mapped and touched once: untouched pages cost nothing.
    TMAC_TRY(need_pages(&b->weights, total, traffic ? total + total / 2 : total));
    uint8_t *at = b->weights.data;
    for (uint32_t l = 0; l < b->layout_count; l++) {
        tmac_copies *c = &b->layouts[l];
        c->data = at;
        at += c->copy_bytes * c->copies;
        TMAC_TRY(pack_first_copy(c, set, random));
        if (c->copies > 1) tmac_pool_run(b->pool, repeat_copy, c);
    }
    return lay_out_small(b, kernels, count, random);
}

void tmac_workbench_free(tmac_workbench *b)
{
    tmac_pages_unmap(&b->weights);
    tmac_pages_unmap(&b->small);
}

// ------------------------------------------------------------------------------------------------------------- pass

typedef struct pass {
    tmac_workbench *bench;
    const tmac_kernel *kernel;
    const tmac_copies *copies;
    const uint8_t *data; // this pass's copy
} pass;

// A worker's area of prepared activations: of a single token each makes its own, as the runtime does it, because tables
// that another core has just written come slowly.
static uint8_t *prepared_of(const tmac_workbench *b, uint32_t worker)
{
    return b->prepared + (b->tokens == 1 ? worker * b->prepared_stride : 0);
}

// Of several tokens, with as many as workers each prepares whole tokens; with fewer they share each one.
static void prepare_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const pass *p = argument;
    const tmac_workbench *b = p->bench;
    if (b->tokens == 1) {
        p->kernel->prepare(b->q, b->set.columns, b->set.group, prepared_of(b, worker), 0, 1);
        return;
    }
    uint32_t parts = b->tokens >= workers ? 1 : workers;
    uint64_t begin, end;
    tmac_share((uint64_t)b->tokens * parts, worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++) {
        uint64_t n = i / parts;
        p->kernel->prepare(b->q + n * b->set.columns, b->set.columns, b->set.group,
                           b->prepared + n * b->prepared_stride, (uint32_t)(i % parts), parts);
    }
}

// The rows of all matrices are one row of work, cut evenly.
static void multiply_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const pass *p = argument;
    const tmac_workbench *b = p->bench;
    const tmac_copies *c = p->copies;
    uint64_t spans = 0, begin, end, before = 0;
    for (uint32_t i = 0; i < b->set.matrices; i++)
        spans += tmac_kernel_spans(p->kernel, b->set.rows[i]);
    tmac_share(spans, worker, workers, &begin, &end);
    size_t groups = ((size_t)b->set.columns + b->set.group - 1) / b->set.group;
    int32_t *y = b->y + worker * b->y_step;
    const uint32_t row_tile = c->layout->row_tile;
    const uint32_t chunk =
        tmac_chunk_tiles(row_tile, groups * b->tokens) * (row_tile / p->kernel->row_span);
    for (uint32_t i = 0; i < b->set.matrices; i++) {
        const uint32_t count = tmac_kernel_spans(p->kernel, b->set.rows[i]);
        uint64_t first = begin > before ? begin - before : 0;
        uint64_t last = end > before ? end - before : 0;
        if (last > count) last = count;
        while (first < last) {
            tmac_matmul m = {.tiles = p->data + c->matrix_offset[i],
                             .prepared = prepared_of(b, worker),
                             .prepared_stride = b->prepared_stride,
                             .y = y,
                             .shape = {b->set.rows[i], b->set.columns, b->set.group},
                             .tokens = b->tokens};
            const uint64_t until = last - first < chunk ? last : first + chunk;
            first += tmac_kernel_cut(p->kernel, &m, (uint32_t)first, (uint32_t)until);
            m.y_stride = tmac_sums_stride((size_t)(m.tile_end - m.tile_begin) * row_tile);
            p->kernel->run(&m);
        }
        before += count;
    }
}

// With no barrier between the two.
static void single_phase(void *argument, uint32_t worker, uint32_t workers)
{
    prepare_phase(argument, worker, workers);
    multiply_phase(argument, worker, workers);
}

uint32_t tmac_workbench_layout(const tmac_workbench *b, const tmac_kernel *kernel)
{
    uint32_t l = 0;
    while (l + 1 < b->layout_count && b->layouts[l].layout != kernel->layout)
        l++;
    return l;
}

void tmac_workbench_pass(tmac_workbench *b, const tmac_kernel *kernel)
{
    if (b->beat) atomic_fetch_add_explicit(b->beat, 1, memory_order_relaxed);
    tmac_copies *c = &b->layouts[tmac_workbench_layout(b, kernel)];
    pass p = {b, kernel, c, c->data + (size_t)c->cursor * c->copy_bytes};
    c->cursor = (c->cursor + 1) % c->copies;
    if (b->tokens == 1) {
        tmac_pool_run(b->pool, single_phase, &p);
        return;
    }
    tmac_pool_run(b->pool, prepare_phase, &p);
    tmac_pool_run(b->pool, multiply_phase, &p);
}

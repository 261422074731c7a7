// The last step of a token: logits = head . vector, with the head as stored or as integers (runtime/head.h).
//
// Integer heads are made at the first start, on all workers, tile by tile from the stored rows, and kept in the cache
// file with the other packed weights (pack.c, cache.c); the stored head is then not read again, except by screening (head_screen.c), which needs both. Whatever the kind, a row's logit depends on that row and
// the vector alone, so how rows are dealt to workers changes no bit.
#include "runtime/head.h"

#include <assert.h>
#include <stdatomic.h>

#include "runtime/model_private.h"

tmac_head_shape tmac_head_shape_of(uint32_t rows, uint32_t columns, uint32_t bits)
{
    tmac_head_shape shape = {.rows = rows, .columns = columns, .bits = bits};
    shape.group =
        bits == 8 ? (uint32_t)tmac_round_up(columns, TMAC_HEAD_BLOCK) : (uint32_t)TMAC_HEAD_GROUP;
    shape.groups = (columns + shape.group - 1) / shape.group;
    size_t blocks = (size_t)shape.group * shape.groups / TMAC_HEAD_BLOCK;
    size_t scales = (size_t)shape.groups * TMAC_HEAD_ROWS * sizeof(uint16_t);
    shape.tile_bytes = tmac_round_up(blocks * 32 * bits + scales, 64);
    return shape;
}

void tmac_head_shape_add_losses(tmac_head_shape *shape)
{
    shape->loss_offset = shape->tile_bytes;
    shape->tile_bytes += TMAC_HEAD_ROWS * sizeof(tmac_head_loss); // two cache lines
}

const tmac_head_kernels *tmac_head_kernels_for(tmac_isa_set isa)
{
#if defined __x86_64__
    if (tmac_isa_has(isa, TMAC_ISA_AVX512VNNI)) return &tmac_head_avx512vnni;
    if (tmac_isa_has(isa, TMAC_ISA_AVX512BW)) return &tmac_head_avx512bw;
    if (tmac_isa_has(isa, TMAC_ISA_AVX2)) return &tmac_head_avx2;
#elif defined __aarch64__
    if (tmac_isa_has(isa, TMAC_ISA_DOTPROD)) return &tmac_head_dotprod;
    if (tmac_isa_has(isa, TMAC_ISA_NEON)) return &tmac_head_neon;
#endif
    (void)isa;
    return &tmac_head_scalar;
}

// ---------------------------------------------------------------------------------------------------------- making

bool tmac_head_pack(const tmac_head *head, const tmac_matrix *matrix, uint32_t tile, float *rows,
                    uint8_t *to)
{
    const tmac_head_shape *shape = &head->shape;
    const uint32_t first = tile * TMAC_HEAD_ROWS;
    uint32_t count = shape->rows - first;
    if (count > TMAC_HEAD_ROWS) count = TMAC_HEAD_ROWS;
    matrix->read_float(matrix, first, count, rows);
    return head->kernels->pack_tile(shape, rows, count, to, tmac_head_losses(shape, to));
}

tmac_status tmac_head_plan(tmac_model *model, tmac_isa_set isa, uint32_t screen_bits)
{
    static const uint32_t BITS[TMAC_HEAD_KINDS] = {
        [TMAC_HEAD_Q8] = 8, [TMAC_HEAD_Q6] = 6, [TMAC_HEAD_Q4] = 4};
    tmac_head *head = &model->head;
    const tmac_source *source = model->source;
    head->isa = isa;
    if (head->kind == TMAC_HEAD_STORED) return tmac_ok();
    if (source->dim > TMAC_HEAD_COLUMNS_MAX)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "a head of %u columns: at most %d can be rounded to integers; use --head "
                         "stored",
                         source->dim, TMAC_HEAD_COLUMNS_MAX);
    uint32_t bits = BITS[head->kind];
    if (head->kind == TMAC_HEAD_SCREENED) {
        bits = screen_bits ? screen_bits : tmac_screen_rule(source->dim);
        if (bits != 4 && bits != 5 && bits != 6 && bits != 8)
            return tmac_fail(TMAC_USAGE, "screening with %u bits a weight: 4, 5, 6 and 8 exist",
                             bits);
    }
    head->shape = tmac_head_shape_of(source->vocab, source->dim, bits);
    if (head->kind == TMAC_HEAD_SCREENED) tmac_head_shape_add_losses(&head->shape);
    head->kernels = tmac_head_kernels_for(isa);
    return tmac_ok();
}

tmac_status tmac_head_make_workspace(tmac_model *model)
{
    tmac_head *head = &model->head;
    if (head->kind == TMAC_HEAD_STORED) return tmac_ok();
    const tmac_source *source = model->source;
    const bool screened = head->kind == TMAC_HEAD_SCREENED;
    const size_t workers = tmac_pool_threads(model->pool);
    // Screening reads a vector as two, TMAC_SCREEN_TOKENS vectors at a time.
    size_t vectors = screened ? 2 * TMAC_SCREEN_TOKENS : model->batch_capacity;
    // A dimension is at most TMAC_HEAD_COLUMNS_MAX, a vocabulary below 2^32: no product can overflow.
    const size_t code_bytes = vectors * tmac_head_padded(&head->shape);
    const size_t correction_bytes = vectors * head->shape.groups * sizeof(int32_t);
    const size_t survivor_bytes = screened ? (size_t)source->vocab * sizeof(uint32_t) : 0;
    const size_t best_bytes =
        screened ? workers * TMAC_SCREEN_TOKENS * TMAC_SCREEN_TOP * sizeof(double) : 0;
    const size_t row_bytes = screened ? workers * vectors * TMAC_FLOAT_ROWS * sizeof(float) : 0;
    TMAC_TRY(tmac_arena_new(code_bytes + correction_bytes + vectors * sizeof(float) +
                                survivor_bytes + best_bytes + row_bytes +
                                workers * sizeof(uint32_t) + (size_t)7 * 64,
                            &head->memory));
    head->codes = tmac_arena_take(&head->memory, code_bytes);
    head->corrections = tmac_arena_take(&head->memory, correction_bytes);
    head->scales = tmac_arena_take(&head->memory, vectors * sizeof(float));
    if (!screened) return tmac_ok();
    head->survivors = tmac_arena_take(&head->memory, survivor_bytes);
    head->best = tmac_arena_take(&head->memory, best_bytes);
    head->rows = tmac_arena_take(&head->memory, row_bytes);
    head->survivor_count = tmac_arena_take(&head->memory, workers * sizeof(uint32_t));
    for (uint32_t r = 0; r < source->vocab; r++) {
        const float norm = tmac_head_loss_of(head, r)->norm;
        if (norm > head->largest_norm) head->largest_norm = norm;
    }
    return tmac_ok();
}

void tmac_head_free(tmac_head *head)
{
    tmac_arena_free(&head->memory);
    tmac_arena_free(&head->copy);
}

typedef struct copy_task {
    tmac_model *model;
    float *rows; // [workers][TMAC_HEAD_ROWS][columns]
    atomic_bool broken;
} copy_task;

static void copy_phase(void *argument, uint32_t worker, uint32_t workers)
{
    copy_task *task = argument;
    tmac_head *head = &task->model->head;
    float *rows = task->rows + (size_t)worker * TMAC_HEAD_ROWS * head->shape.columns;
    uint64_t begin, end;
    tmac_share(tmac_head_tiles(&head->shape), worker, workers, &begin, &end);
    for (uint64_t tile = begin; tile < end; tile++)
        if (!tmac_head_pack(head, &task->model->source->head, (uint32_t)tile, rows,
                            head->tiles + tile * head->shape.tile_bytes))
            task->broken = true;
}

tmac_status tmac_model_screen_with(tmac_model *model, uint32_t bits)
{
    tmac_head *head = &model->head;
    assert(tmac_head_keeps_stored(head->kind));
    tmac_head_free(head);
    head->kind = TMAC_HEAD_SCREENED;
    TMAC_TRY(tmac_head_plan(model, head->isa, bits));
    const size_t bytes = tmac_head_tiles(&head->shape) * head->shape.tile_bytes;
    const size_t row_bytes = (size_t)tmac_pool_threads(model->pool) * TMAC_HEAD_ROWS *
                             head->shape.columns * sizeof(float);
    tmac_arena rows;
    TMAC_TRY(tmac_arena_new(row_bytes, &rows));
    tmac_status status = tmac_arena_new(bytes, &head->copy);
    if (status.code == TMAC_OK) {
        head->tiles = tmac_arena_take(&head->copy, bytes);
        model->profile.head_bytes = bytes;
        copy_task task = {.model = model, .rows = tmac_arena_take(&rows, row_bytes)};
        tmac_pool_run(model->pool, copy_phase, &task);
        if (task.broken)
            status = tmac_fail(TMAC_BAD_FILE,
                               "%s: weights that are not finite cannot be rounded to %u bits",
                               model->source->head.name, bits);
    }
    tmac_arena_free(&rows);
    if (status.code == TMAC_OK) status = tmac_head_make_workspace(model);
    return status;
}

// --------------------------------------------------------------------------------------------------- multiplication

void tmac_head_prepare(const tmac_model *model, const float *values, uint32_t vector)
{
    const tmac_head *head = &model->head;
    const tmac_head_shape *shape = &head->shape;
    int8_t *codes = head->codes + (size_t)vector * tmac_head_padded(shape); // padding stays zero
    head->scales[vector] = model->floats->quantize(values, shape->columns, codes);
    for (uint32_t g = 0; g < shape->groups; g++) {
        int32_t sum = 0;
        for (uint32_t k = 0; k < shape->group; k++)
            sum += codes[(size_t)g * shape->group + k];
        head->corrections[(size_t)vector * shape->groups + g] = sum * (1 << (shape->bits - 1));
    }
}

typedef struct head_task {
    const tmac_model *model;
    uint32_t first, tokens;
} head_task;

// The stored head, from vectors [first, first + tokens).
static void stored_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const head_task *task = argument;
    const tmac_model *model = task->model;
    uint64_t begin, end;
    (void)workers;
    tmac_pool_share(model->pool, model->source->vocab, worker, &begin, &end);
    for (uint64_t row = begin; row < end; row += TMAC_FLOAT_ROWS) {
        uint64_t until = end - row < TMAC_FLOAT_ROWS ? end : row + TMAC_FLOAT_ROWS;
        tmac_head_stored_rows(model, (uint32_t)row, (uint32_t)until, task->first, task->tokens);
    }
}

void tmac_head_stored_rows(const tmac_model *model, uint32_t row_begin, uint32_t row_end,
                           uint32_t first, uint32_t tokens)
{
    const tmac_linear *linear = &model->head.stored;
    tmac_dot_rows dots = {
        .weights = linear->weights,
        .columns = linear->columns,
        .row_begin = row_begin,
        .row_end = row_end,
        .x = model->normed + (size_t)first * model->widest,
        .x_stride = model->widest,
        .tokens = tokens,
        .y = model->logits + (size_t)first * model->source->vocab + row_begin,
        .y_stride = model->source->vocab,
    };
    tmac_floats_dot_rows(model->floats, linear->number, &dots);
}

void tmac_head_stored(const tmac_model *model, uint32_t first, uint32_t tokens)
{
    tmac_pool_run(model->pool, stored_phase, &(head_task){model, first, tokens});
}

// What every worker reads, made by all of them before the barrier.
static void integer_prepare_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const head_task *task = argument;
    uint64_t begin, end;
    tmac_share(task->tokens, worker, workers, &begin, &end);
    for (uint64_t n = begin; n < end; n++)
        tmac_head_prepare(task->model, task->model->normed + n * task->model->widest, (uint32_t)n);
}

static void integer_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const head_task *task = argument;
    const tmac_model *model = task->model;
    const tmac_head *head = &model->head;
    (void)workers;
    uint64_t begin, end;
    tmac_pool_share(model->pool, tmac_head_tiles(&head->shape), worker, &begin, &end);
    head->kernels->run(&(tmac_head_task){
        .shape = &head->shape,
        .tiles = head->tiles,
        .tile_begin = (uint32_t)begin,
        .tile_end = (uint32_t)end,
        .tokens = task->tokens,
        .codes = head->codes,
        .corrections = head->corrections,
        .scales = head->scales,
        .y = model->logits + begin * TMAC_HEAD_ROWS,
        .y_stride = model->source->vocab,
    });
}

void tmac_head_run(tmac_model *model, uint32_t tokens, uint32_t top)
{
    head_task task = {model, 0, tokens};
    switch (model->head.kind) {
    case TMAC_HEAD_Q8:
    case TMAC_HEAD_Q6:
    case TMAC_HEAD_Q4:
        tmac_pool_run(model->pool, integer_prepare_phase, &task);
        tmac_pool_run(model->pool, integer_phase, &task);
        return;
    case TMAC_HEAD_SCREENED:
        if (top == 0 || top > TMAC_SCREEN_TOP || top >= model->source->vocab) break;
        tmac_head_screen(model, tokens, top);
        return;
    case TMAC_HEAD_STORED:
    case TMAC_HEAD_KINDS:
        break;
    }
    tmac_head_stored(model, 0, tokens);
}

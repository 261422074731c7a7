#include "runtime/tmac.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cache.h"
#include "runtime/extras.h"
#include "runtime/math.h"
#include "runtime/model_private.h"

enum { DEFAULT_BATCH = 128 };

// ------------------------------------------------------------------------------------------------------------ plan

// Looks up the names of a plan entry. False when a kernel is unknown, belongs to another layout, or needs an instruction
// set that is not allowed: a stale entry never runs.
static bool resolve(const tmac_plan_entry *entry, tmac_isa_set isa, tmac_resolved *resolved)
{
    resolved->set = entry->set;
    resolved->layout = tmac_layout_find(entry->layout);
    if (!resolved->layout) return false;
    for (uint32_t b = 0; b < TMAC_BUCKETS; b++) {
        const tmac_kernel *kernel = tmac_kernel_find(entry->kernel[b]);
        if (!kernel || kernel->layout != resolved->layout || !tmac_isa_has(isa, kernel->isa))
            return false;
        resolved->kernel[b] = kernel;
    }
    tmac_shape shape = {.columns = entry->set.columns, .group = entry->set.group};
    for (uint32_t i = 0; i < entry->set.matrices; i++) {
        shape.rows = entry->set.rows[i];
        if (resolved->layout->tile_bytes(&shape) == 0) return false;
    }
    return true;
}

static tmac_status resolve_plan(tmac_model *model, const tmac_plan *plan, tmac_isa_set isa)
{
    tmac_input_set sets[TMAC_PLAN_ENTRIES];
    uint32_t count;
    TMAC_TRY(tmac_model_input_sets(model->source, sets, &count));
    model->plan.threads = tmac_pool_threads(model->pool);
    model->plan.entry_count = model->resolved_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const tmac_plan_entry *given = plan ? tmac_plan_find(plan, &sets[i]) : NULL;
        tmac_plan_entry *entry = &model->plan.entries[i];
        if (given && resolve(given, isa, &model->resolved[i])) {
            *entry = *given;
            continue;
        }
        *entry = tmac_plan_rule(&sets[i], model->plan.threads, isa);
        if (!resolve(entry, isa, &model->resolved[i]))
            return tmac_fail(TMAC_INTERNAL,
                             "the built-in rule gives no usable kernel for %u columns",
                             sets[i].columns);
    }
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------- workspace

// What the kernels of the plan need for a full batch.
static void measure_needs(tmac_model *model)
{
    uint32_t tokens = model->batch_capacity;
    model->prepared_room = 64;
    model->sums_room = tmac_chunk_sums(tokens);
    for (uint32_t i = 0; i < model->resolved_count; i++) {
        const tmac_resolved *resolved = &model->resolved[i];
        const tmac_input_set *set = &resolved->set;
        assert(set->group > 0); // tmac_source_check saw to it
        size_t groups = (set->columns + set->group - 1) / set->group;
        const size_t sums = tmac_sums_room(resolved->layout->row_tile, tokens * groups);
        if (sums > model->sums_room) model->sums_room = sums;
        for (uint32_t b = 0; b < TMAC_BUCKETS; b++) {
            size_t bytes = resolved->kernel[b]->prepared_bytes(set->columns, set->group);
            if (bytes > model->prepared_room) model->prepared_room = bytes;
        }
    }
}

// One piece of the workspace: where its address goes and its size. The list is walked twice, to sum and to carve.
typedef struct piece {
    void *pointer; // to a T *
    size_t bytes;
} piece;

static tmac_status carve(tmac_arena *arena, const piece *pieces, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        if (!tmac_size_add(total, tmac_round_up(pieces[i].bytes, 64), &total))
            return tmac_fail(TMAC_OUT_OF_MEMORY, "the workspace does not fit the address space");
    TMAC_TRY(tmac_arena_new(total, arena));
    for (size_t i = 0; i < count; i++) {
        void *address = tmac_arena_take(arena, pieces[i].bytes);
        memcpy(pieces[i].pointer, &address, sizeof address);
    }
    return tmac_ok();
}

static tmac_status make_workspace(tmac_model *model)
{
    const tmac_source *source = model->source;
    size_t floats = sizeof(float), tokens = model->batch_capacity;
    size_t queries = (size_t)source->heads * source->head_dim;
    size_t keys = (size_t)source->kv_heads * source->head_dim;
    size_t widest = source->dim;
    if (source->hidden > widest) widest = source->hidden;
    if (queries > widest) widest = queries;
    model->widest = (uint32_t)tmac_round_up(widest, 16);
    // Attention: rows of a run of tokens with one KV head, and of one token with all heads.
    size_t rows = (size_t)tmac_attention_run_tokens(source) * (source->heads / source->kv_heads);
    size_t scores = tmac_round_up(source->context, TMAC_KEY_BLOCK) * floats;
    size_t blocks = tmac_round_up(source->context, TMAC_OUTPUT_BLOCK) / TMAC_OUTPUT_BLOCK;
    uint32_t workers = tmac_pool_threads(model->pool);

    model->scratch = calloc(workers, sizeof *model->scratch);
    size_t count = 0;
    piece *pieces = calloc(18 + 9 * (size_t)workers, sizeof *pieces);
    if (!model->scratch || !pieces) {
        free(pieces);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for the workspace");
    }
#define PIECE(pointer, size) pieces[count++] = (piece){&(pointer), (size)}
    PIECE(model->turns, (size_t)source->context * source->rope_dims * floats);
    PIECE(model->x, tokens * source->dim * floats);
    PIECE(model->normed, tokens * model->widest * floats);
    PIECE(model->query, tokens * queries * floats);
    PIECE(model->key, tokens * keys * floats);
    PIECE(model->value, tokens * keys * floats);
    PIECE(model->attended, tokens * queries * floats);
    PIECE(model->gate, tokens * source->hidden * floats);
    PIECE(model->up, tokens * source->hidden * floats);
    PIECE(model->prepared, TMAC_SET_MATRICES * tokens * model->prepared_room);
    PIECE(model->activation_scale, tokens * floats);
    PIECE(model->logits, tokens * source->vocab * floats);
    PIECE(model->split_scores, source->heads * scores);
    PIECE(model->split_partials, blocks * queries * floats);
    PIECE(model->split_maxima, (size_t)workers * source->heads * floats);
    for (uint32_t w = 0; w < workers; w++) {
        tmac_scratch *scratch = &model->scratch[w];
        PIECE(scratch->values, model->widest * floats);
        PIECE(scratch->codes, model->widest);
        PIECE(scratch->sums, model->sums_room * sizeof(int32_t));
        PIECE(scratch->rows, model->sums_room * floats);
        PIECE(scratch->query, rows * source->head_dim * floats);
        PIECE(scratch->attended, rows * source->head_dim * floats);
        PIECE(scratch->inverse, rows * floats);
        PIECE(scratch->scores, rows * scores);
        PIECE(scratch->prepared, TMAC_SET_MATRICES * model->prepared_room);
    }
#undef PIECE
    tmac_status status = carve(&model->workspace, pieces, count);
    free(pieces);
    return status;
}

// turns[p][i] = (cos, sin) of p * theta^(-2i / rope_dims), computed in double by our own functions and rounded once.
// The table of a long context takes a large part of a second, of which most conversations need little: it is filled as
// positions come, some blocks of 64 ahead.
void tmac_model_make_turns(tmac_model *model, uint32_t positions)
{
    if (positions <= model->turns_made) return;
    const tmac_source *source = model->source;
    uint32_t pairs = source->rope_dims / 2, end = (uint32_t)tmac_round_up(positions, 64);
    if (end > source->context) end = source->context;
    assert(model->turns);
    for (uint32_t i = 0; i < pairs; i++) {
        double frequency = tmac_pow((double)source->rope_theta, -2.0 * i / source->rope_dims);
        double magnitude = tmac_rope_scaling(source, i, &frequency);
        for (uint32_t p = model->turns_made; p < end; p++) {
            float *turn = model->turns + ((size_t)p * pairs + i) * 2;
            turn[0] = (float)(tmac_cos(p * frequency) * magnitude);
            turn[1] = (float)(tmac_sin(p * frequency) * magnitude);
        }
    }
    model->turns_made = end;
}

// ------------------------------------------------------------------------------------------------------- life

static tmac_status build(tmac_model *model, const tmac_model_options *options)
{
    const tmac_source *source = model->source;
    tmac_isa_set isa = options->isa ? options->isa & tmac_isa_verified() : tmac_isa_verified();
    isa |= 1u << TMAC_ISA_SCALAR;
    model->floats = tmac_floats_for(isa);
    TMAC_TRY(resolve_plan(model, options->plan, isa));
    measure_needs(model);
    TMAC_TRY(make_workspace(model));
    TMAC_TRY(tmac_extras_make(model));
    model->layers = calloc(source->layer_count, sizeof *model->layers);
    if (!model->layers)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u layers", source->layer_count);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        model->layers[l].attention_norm = source->layers[l].attention_norm;
        model->layers[l].attention_sub_norm = source->layers[l].attention_sub_norm;
        model->layers[l].ffn_norm = source->layers[l].ffn_norm;
        model->layers[l].ffn_sub_norm = source->layers[l].ffn_sub_norm;
    }
    TMAC_TRY(tmac_head_plan(model, isa, options->screen_bits));
    TMAC_TRY(tmac_model_pack(model, tmac_source_residency(source), options));
    return tmac_head_make_workspace(model);
}

tmac_status tmac_model_new(const tmac_source *source, const tmac_model_options *options,
                           tmac_model **out)
{
    *out = NULL;
    tmac_model *model = calloc(1, sizeof *model);
    if (!model) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a model");
    model->source = source;
    model->pool = options->pool;
    model->head.kind = options->head;
    model->batch_capacity = options->batch_capacity ? options->batch_capacity : DEFAULT_BATCH;
    tmac_status status = build(model, options);
    if (status.code == TMAC_OK)
        *out = model;
    else
        tmac_model_free(model);
    return status;
}

void tmac_model_free(tmac_model *model)
{
    if (!model) return;
    tmac_cache_close(model->cache);
    tmac_head_free(&model->head);
    tmac_arena_free(&model->weights);
    tmac_arena_free(&model->workspace);
    free(model->layers);
    free(model->scratch);
    free(model->low_rank);
    free(model);
}

uint32_t tmac_model_vocab(const tmac_model *model)
{
    return model->source->vocab;
}

uint32_t tmac_model_context(const tmac_model *model)
{
    return model->source->context;
}

uint32_t tmac_model_screen_bits(const tmac_model *model)
{
    return model->head.kind == TMAC_HEAD_SCREENED ? model->head.shape.bits : 0;
}

uint32_t tmac_model_batch_capacity(const tmac_model *model)
{
    return model->batch_capacity;
}

const tmac_plan *tmac_model_plan(const tmac_model *model)
{
    return &model->plan;
}

bool tmac_model_settling(tmac_model *model)
{
    return model->cache && (tmac_cache_settle(model->cache) || tmac_cache_writing(model->cache));
}

const char *tmac_part_name(tmac_part part)
{
    static const char *const NAMES[] = {"prepare", "matmul", "attention", "head"};
    return NAMES[part];
}

void tmac_model_profile(tmac_model *model, tmac_profile *profile, bool reset)
{
    *profile = model->profile;
    if (!reset) return;
    memset(model->profile.ns, 0, sizeof model->profile.ns);
    model->profile.tokens = model->profile.waiting_ns = 0;
    model->profile.head_screened = model->profile.head_rows = model->profile.head_fallbacks = 0;
}

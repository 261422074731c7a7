// Attention of one layer: rotate queries and keys, store keys and values, attend. Called inside a phase by all workers.
//
// A unit of work is a KV head and a run: neighbouring tokens of one session, few enough that their rows share each load
// of a block of keys or values (templates/part_attention.c). Workers take units as they come: late ones cost more.
//
// One token of one session has as many units as KV heads, which rarely divide by the workers. Then the work is cut by
// blocks of 64 positions, counted across the heads. The softmax needs the exact maximum over all positions before the
// first exponential, so this takes three passes with a barrier after each: scores; weights and weighted values, block by
// block; and the sums of a head in order. A head that is not cut is finished by its worker alone. Whoever does what, the
// operations and their order are the same, so the bits are.
#include <math.h>
#include <string.h>

#include "runtime/model_private.h"

enum { SPLIT_BLOCKS = 4 }; // fewer blocks of positions are not worth two more barriers

typedef struct layer_attention {
    tmac_model *model;
    const tmac_batch_item *items;
    uint32_t layer, tokens;
    uint32_t worker, workers;
} layer_attention;

// Positions that the softmax looks at.
static uint32_t padded(uint32_t positions)
{
    return (uint32_t)tmac_round_up(positions, TMAC_KEY_BLOCK);
}

// ---------------------------------------------------------------------------------------------------------- storing

static size_t element_bytes(tmac_kv kv)
{
    static const size_t BYTES[] = {[TMAC_KV_F16] = 2, [TMAC_KV_F32] = 4, [TMAC_KV_INT8] = 1};
    return BYTES[kv];
}

size_t tmac_kv_head_bytes(tmac_kv kv, size_t positions, size_t head_dim)
{
    return positions * (head_dim * element_bytes(kv) + (kv == TMAC_KV_INT8 ? sizeof(float) : 0));
}

// Where the keys (or values) of one KV head of this layer lie, and the scales of int8 ones behind them.
static uint8_t *head_cache(const layer_attention *a, const tmac_session *session, uint8_t *base,
                           uint32_t head)
{
    return base + ((size_t)a->layer * a->model->source->kv_heads + head) * session->head_bytes;
}

static float *head_scales(const layer_attention *a, const tmac_session *session, uint8_t *codes)
{
    return (float *)(codes +
                     (size_t)padded(session->capacity) * a->model->source->head_dim); // 16 x dim
}

static void store_int8(const layer_attention *a, const tmac_session *session, uint32_t position,
                       uint8_t *keys, const float *key, uint8_t *values, const float *value)
{
    const tmac_floats *floats = a->model->floats;
    const uint32_t dim = a->model->source->head_dim;
    int8_t *codes = a->model->scratch[a->worker].codes;
    int8_t *column = (int8_t *)keys + (size_t)(position / TMAC_KEY_BLOCK) * dim * TMAC_KEY_BLOCK +
                     position % TMAC_KEY_BLOCK;
    head_scales(a, session, keys)[position] = floats->quantize(key, dim, codes);
    for (uint32_t d = 0; d < dim; d++)
        column[(size_t)d * TMAC_KEY_BLOCK] = codes[d];
    head_scales(a, session, values)[position] =
        floats->quantize(value, dim, (int8_t *)values + (size_t)position * dim);
}

static void store_f16(const layer_attention *a, uint32_t position, uint8_t *keys, const float *key,
                      uint8_t *values, const float *value)
{
    const tmac_floats *floats = a->model->floats;
    const uint32_t dim = a->model->source->head_dim;
    uint16_t *column = (uint16_t *)keys +
                       (size_t)(position / TMAC_KEY_BLOCK) * dim * TMAC_KEY_BLOCK +
                       position % TMAC_KEY_BLOCK;
    uint16_t half[64];
    for (uint32_t d = 0; d < dim; d += 64) {
        uint32_t count = dim - d < 64 ? dim - d : 64;
        floats->to_f16(key + d, count, half);
        for (uint32_t i = 0; i < count; i++)
            column[(size_t)(d + i) * TMAC_KEY_BLOCK] = half[i];
    }
    floats->to_f16(value, dim, (uint16_t *)values + (size_t)position * dim);
}

static void store_f32(const layer_attention *a, uint32_t position, uint8_t *keys, const float *key,
                      uint8_t *values, const float *value)
{
    const uint32_t dim = a->model->source->head_dim;
    float *column = (float *)keys + (size_t)(position / TMAC_KEY_BLOCK) * dim * TMAC_KEY_BLOCK +
                    position % TMAC_KEY_BLOCK;
    for (uint32_t d = 0; d < dim; d++)
        column[(size_t)d * TMAC_KEY_BLOCK] = key[d];
    memcpy((float *)values + (size_t)position * dim, value, dim * sizeof *value);
}

static const float *turns_of(const tmac_model *model, uint32_t position)
{
    return model->turns + (size_t)position * model->source->rope_dims;
}

// Rotates the key of one token and KV head, and stores it and the value.
static void store(const layer_attention *a, uint32_t token, uint32_t head)
{
    const tmac_model *model = a->model;
    const tmac_source *source = model->source;
    const uint32_t dim = source->head_dim, position = a->items[token].position;
    const tmac_session *session = a->items[token].session;
    float *key = model->key + ((size_t)token * source->kv_heads + head) * dim;
    const float *value = model->value + ((size_t)token * source->kv_heads + head) * dim;
    uint8_t *keys = head_cache(a, session, session->keys, head);
    uint8_t *values = head_cache(a, session, session->values, head);
    model->floats->rotate(key, turns_of(model, position), source->rope_dims / 2);
    switch (session->kv) {
    case TMAC_KV_F16:
        store_f16(a, position, keys, key, values, value);
        break;
    case TMAC_KV_F32:
        store_f32(a, position, keys, key, values, value);
        break;
    case TMAC_KV_INT8:
        store_int8(a, session, position, keys, key, values, value);
        break;
    }
}

// A worker takes one KV head for a run of tokens, so that two workers rarely write the same block of positions.
static void store_all(const layer_attention *a)
{
    uint64_t begin, end;
    tmac_pool_share(a->model->pool, (uint64_t)a->model->source->kv_heads * a->tokens, a->worker,
                    &begin, &end);
    for (uint64_t task = begin; task < end; task++)
        store(a, (uint32_t)(task % a->tokens), (uint32_t)(task / a->tokens));
}

// -------------------------------------------------------------------------------------------------------- attending

static void score(const tmac_floats *floats, tmac_kv kv, const tmac_attention *task, uint32_t begin,
                  uint32_t end)
{
    if (kv == TMAC_KV_F16)
        floats->score_f16(task, begin, end);
    else if (kv == TMAC_KV_F32)
        floats->score_f32(task, begin, end);
    else
        floats->score_i8(task, begin, end);
}

static void value(const tmac_floats *floats, tmac_kv kv, const tmac_attention *task, uint32_t begin,
                  uint32_t end, float *sums, size_t block_stride)
{
    if (kv == TMAC_KV_F16)
        floats->value_f16(task, begin, end, sums, block_stride);
    else if (kv == TMAC_KV_F32)
        floats->value_f32(task, begin, end, sums, block_stride);
    else
        floats->value_i8(task, begin, end, sums, block_stride);
}

// The task of `tokens` tokens from `first` on with one KV head; its queries are rotated into the worker's scratch.
static tmac_attention start(const layer_attention *a, uint32_t first, uint32_t tokens,
                            uint32_t head)
{
    const tmac_model *model = a->model;
    const tmac_source *source = model->source;
    const uint32_t dim = source->head_dim, group = source->heads / source->kv_heads;
    const tmac_session *session = a->items[first].session;
    const tmac_scratch *scratch = &model->scratch[a->worker];
    uint8_t *keys = head_cache(a, session, session->keys, head);
    uint8_t *values = head_cache(a, session, session->values, head);
    const uint32_t positions = a->items[first].position + 1;
    for (uint32_t t = 0; t < tokens; t++) {
        float *query = scratch->query + (size_t)t * group * dim;
        const size_t from = ((size_t)(first + t) * source->heads + (size_t)head * group) * dim;
        memcpy(query, model->query + from, (size_t)group * dim * sizeof *query);
        for (uint32_t h = 0; h < group; h++)
            model->floats->rotate(query + (size_t)h * dim, turns_of(model, positions - 1 + t),
                                  source->rope_dims / 2);
    }
    return (tmac_attention){
        .query = scratch->query,
        .keys = keys,
        .values = values,
        .key_scales = session->kv == TMAC_KV_INT8 ? head_scales(a, session, keys) : NULL,
        .value_scales = session->kv == TMAC_KV_INT8 ? head_scales(a, session, values) : NULL,
        .heads = group,
        .head_dim = dim,
        .tokens = tokens,
        .positions = positions,
        .scores = scratch->scores,
        .score_stride = padded(positions + tokens - 1),
    };
}

static uint32_t blocks_of(const tmac_attention *task)
{
    return (task->positions + task->tokens + TMAC_OUTPUT_BLOCK - 2) / TMAC_OUTPUT_BLOCK;
}

static void hide_rest(float *scores, uint32_t positions)
{
    for (uint32_t p = positions; p < padded(positions); p++)
        scores[p] = -INFINITY;
}

// A run and a KV head, from scores to output, by one worker.
static void attend(const layer_attention *a, uint32_t first, uint32_t tokens, uint32_t head)
{
    const tmac_model *model = a->model;
    const tmac_floats *floats = model->floats;
    const tmac_kv kv = a->items[first].session->kv;
    const tmac_attention task = start(a, first, tokens, head);
    const uint32_t dim = task.head_dim, blocks = blocks_of(&task);
    float *sums = model->scratch[a->worker].attended, *inverse = model->scratch[a->worker].inverse;
    score(floats, kv, &task, 0, blocks);
    for (uint32_t row = 0; row < tokens * task.heads; row++) {
        const uint32_t visible = task.positions + row / task.heads;
        float *scores = task.scores + row * task.score_stride;
        hide_rest(scores, visible);
        inverse[row] =
            floats->weigh(scores, padded(visible), floats->maximum(scores, padded(visible)));
    }
    value(floats, kv, &task, 0, blocks, sums, 0);
    for (uint32_t row = 0; row < tokens * task.heads; row++) {
        const size_t token = first + row / task.heads, h = head * task.heads + row % task.heads;
        floats->scale(sums + (size_t)row * dim, inverse[row], dim,
                      model->attended + (token * model->source->heads + h) * dim);
    }
}

// ---------------------------------------------------------------------------------------- one token, cut by blocks

// The blocks of one KV head that are this worker's: none, some or all.
typedef struct part {
    uint32_t begin, end;
    bool whole;
} part;

static part part_of(const layer_attention *a, uint32_t head, uint32_t blocks)
{
    uint64_t begin, end;
    const uint64_t first = (uint64_t)head * blocks, heads = a->model->source->kv_heads;
    tmac_pool_share(a->model->pool, heads * blocks, a->worker, &begin, &end);
    begin = begin > first ? begin - first : 0;
    end = end > first ? end - first : 0;
    part p = {begin < blocks ? (uint32_t)begin : blocks, end < blocks ? (uint32_t)end : blocks,
              false};
    p.whole = p.begin == 0 && p.end == blocks;
    return p;
}

// The shared counterpart of the worker's scratch, for a head that several work on.
static tmac_attention start_shared(const layer_attention *a, uint32_t head)
{
    tmac_attention task = start(a, 0, 1, head);
    task.scores = a->model->split_scores + (size_t)head * task.heads * task.score_stride;
    return task;
}

static float *maxima_of(const layer_attention *a, uint32_t worker, uint32_t head, uint32_t group)
{
    return a->model->split_maxima + (size_t)worker * a->model->source->heads + (size_t)head * group;
}

static void split_score(const layer_attention *a, uint32_t blocks)
{
    const tmac_model *model = a->model;
    for (uint32_t head = 0; head < model->source->kv_heads; head++) {
        const part p = part_of(a, head, blocks);
        if (p.end == blocks && p.begin < p.end) store(a, 0, head); // the new position is in it
        if (p.whole) {
            attend(a, 0, 1, head);
            continue;
        }
        float *maxima =
            maxima_of(a, a->worker, head, model->source->heads / model->source->kv_heads);
        for (uint32_t h = 0; h < model->source->heads / model->source->kv_heads; h++)
            maxima[h] = -INFINITY;
        if (p.begin == p.end) continue;
        const tmac_attention task = start_shared(a, head);
        score(model->floats, a->items[0].session->kv, &task, p.begin, p.end);
        const uint32_t from = p.begin * TMAC_OUTPUT_BLOCK;
        uint32_t until = p.end * TMAC_OUTPUT_BLOCK;
        if (p.end == blocks) until = padded(task.positions);
        for (uint32_t h = 0; h < task.heads; h++) {
            float *scores = task.scores + h * task.score_stride;
            if (p.end == blocks) hide_rest(scores, task.positions);
            maxima[h] = model->floats->maximum(scores + from, until - from);
        }
    }
}

// Where a head's partial sums lie: [block][row][head_dim].
static float *partials_of(const layer_attention *a, const tmac_attention *task, uint32_t head,
                          uint32_t blocks)
{
    return a->model->split_partials + (size_t)head * blocks * task->heads * task->head_dim;
}

static void split_value(const layer_attention *a, uint32_t blocks)
{
    const tmac_model *model = a->model;
    for (uint32_t head = 0; head < model->source->kv_heads; head++) {
        const part p = part_of(a, head, blocks);
        if (p.whole || p.begin == p.end) continue;
        const tmac_attention task = start_shared(a, head);
        const uint32_t from = p.begin * TMAC_OUTPUT_BLOCK;
        uint32_t until = p.end * TMAC_OUTPUT_BLOCK;
        if (p.end == blocks) until = padded(task.positions);
        for (uint32_t h = 0; h < task.heads; h++) {
            float largest = -INFINITY;
            for (uint32_t w = 0; w < a->workers; w++) {
                const float m = maxima_of(a, w, head, task.heads)[h];
                if (m > largest) largest = m;
            }
            model->floats->weigh(task.scores + h * task.score_stride + from, until - from, largest);
        }
        // Who has the first block adds its blocks up; the others leave each block's sum to be added in order.
        const size_t stride = (size_t)task.heads * task.head_dim;
        value(model->floats, a->items[0].session->kv, &task, p.begin, p.end,
              partials_of(a, &task, head, blocks) + p.begin * stride, p.begin ? stride : 0);
    }
}

// The first block after those that the worker who began the head has added up itself.
static uint32_t first_partial(const layer_attention *a, uint32_t head, uint32_t blocks)
{
    layer_attention other = *a;
    for (other.worker = 0; other.worker < a->workers; other.worker++) {
        const part p = part_of(&other, head, blocks);
        if (p.begin == 0 && p.end > 0) return p.end;
    }
    return blocks;
}

// The rows of heads that were cut, dealt out in turn.
static void split_finish(const layer_attention *a, uint32_t blocks)
{
    const tmac_model *model = a->model;
    const tmac_source *source = model->source;
    const uint32_t dim = source->head_dim, group = source->heads / source->kv_heads;
    const uint32_t positions = a->items[0].position + 1;
    const size_t stride = padded(positions);
    for (uint32_t head = 0, turn = 0; head < source->kv_heads; head++) {
        const uint32_t rest = first_partial(a, head, blocks);
        if (rest == blocks) continue; // not cut
        for (uint32_t h = 0; h < group; h++, turn++) {
            if (turn % a->workers != a->worker) continue;
            const size_t row = (size_t)head * group + h;
            float *sums = model->split_partials + ((size_t)head * blocks * group + h) * dim;
            for (uint32_t b = rest; b < blocks; b++)
                model->floats->add(sums, sums + (size_t)b * group * dim, dim);
            const float inverse =
                model->floats->inverse_sum(model->split_scores + row * stride, (uint32_t)stride);
            model->floats->scale(sums, inverse, dim, model->attended + row * dim);
        }
    }
}

// ------------------------------------------------------------------------------------------------------------- both

uint32_t tmac_attention_run_tokens(const tmac_source *source)
{
    const uint32_t group = source->heads / source->kv_heads;
    return group < TMAC_ATTENTION_ROWS ? TMAC_ATTENTION_ROWS / group : 1;
}

static uint32_t run_length(const layer_attention *a, uint32_t first)
{
    const uint32_t most = tmac_attention_run_tokens(a->model->source);
    uint32_t tokens = 1;
    while (tokens < most && first + tokens < a->tokens &&
           a->items[first + tokens].session == a->items[first].session)
        tokens++;
    return tokens;
}

void tmac_attend(tmac_model *model, uint32_t layer, const tmac_batch_item *items, uint32_t tokens,
                 uint32_t worker, uint32_t workers)
{
    const layer_attention a = {model, items, layer, tokens, worker, workers};
    const uint32_t heads = model->source->kv_heads;
    if (tokens > 1) {
        if (worker == 0) atomic_store(&model->next_unit, 0);
        store_all(&a);
        tmac_pool_barrier(model->pool);
        uint32_t unit = 0, mine = atomic_fetch_add(&model->next_unit, 1);
        for (uint32_t first = 0, length; first < tokens; first += length) {
            length = run_length(&a, first);
            for (uint32_t head = 0; head < heads; head++, unit++) {
                if (unit != mine) continue;
                attend(&a, first, length, head);
                mine = atomic_fetch_add(&model->next_unit, 1);
            }
        }
    } else {
        const uint32_t blocks = items[0].position / TMAC_OUTPUT_BLOCK + 1;
        if (heads % workers && blocks >= SPLIT_BLOCKS) {
            split_score(&a, blocks);
            tmac_pool_barrier(model->pool);
            split_value(&a, blocks);
            tmac_pool_barrier(model->pool);
            split_finish(&a, blocks);
        } else {
            uint64_t begin, end;
            tmac_pool_share(model->pool, heads, worker, &begin, &end);
            for (uint64_t head = begin; head < end; head++) {
                store(&a, 0, (uint32_t)head);
                attend(&a, 0, 1, (uint32_t)head);
            }
        }
    }
    tmac_pool_barrier(model->pool);
}

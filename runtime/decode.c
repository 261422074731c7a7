// The transformer, one batch at a time.
//
//   x = embedding[token]
//   for each layer:
//     q, k, v = W_qkv . norm(x)          rotate q and k, store k and v
//     x += W_o . sub_norm(attend(q))
//     x += W_down . sub_norm(act(W_gate . norm(x)) * (W_up . norm(x)))
//   logits = head . norm(x)
//
// Each line is one or two phases on the pool. What a token computes depends on its own vector and on the cache up to its
// position only, so its bits do not depend on the other items of the batch.
//
// Phases over tokens deal whole tokens to workers. When there are fewer tokens than workers, every worker computes the
// (small) vector itself, in its own scratch, and prepares its part of the shared tables: one barrier instead of two.
#include <string.h>

#include "base/clock.h"
#include "runtime/cache.h"
#include "runtime/extras.h"
#include "runtime/model_private.h"

typedef struct forward_pass {
    tmac_model *model;
    const tmac_batch_item *items;
    uint32_t tokens;
    uint32_t layer;

    // prepare_phase: what the step's input is made of
    const tmac_step *step;
    const float *input;    // [tokens][input_width]
    const float *input_up; // not NULL: the input is act(input) * input_up
    uint32_t input_width;
    const float *norm; // NULL: none
    float epsilon;

    uint64_t clock; // when the part being timed began
} forward_pass;

static void account(forward_pass *pass, tmac_part part)
{
    uint64_t now = tmac_now_ns();
    pass->model->profile.ns[part] += now - pass->clock;
    pass->clock = now;
}

// ---------------------------------------------------------------------------------------------- input of a step

static void prepare_token(const forward_pass *pass, uint32_t token, uint32_t worker, uint32_t part,
                          uint32_t parts)
{
    tmac_model *model = pass->model;
    const tmac_floats *floats = model->floats;
    uint32_t width = pass->input_width;
    const float *from = pass->input + (size_t)token * width;
    float *to =
        part == 0 ? model->normed + (size_t)token * model->widest : model->scratch[worker].values;
    if (pass->input_up) {
        const float *up = pass->input_up + (size_t)token * width;
        if (model->source->activation == TMAC_RELU2)
            floats->relu2_multiply(from, up, width, to);
        else
            floats->silu_multiply(from, up, width, to);
        from = to;
    }
    if (pass->norm)
        floats->rms_norm(from, pass->norm, width, pass->epsilon, to);
    else if (from != to)
        memcpy(to, from, width * sizeof *to);
    tmac_step_prepare(model, pass->step, pass->tokens, token, to, worker, part, parts);
}

static void prepare_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const forward_pass *pass = argument;
    if (pass->tokens < workers && pass->step->wants_ternary) {
        for (uint32_t n = 0; n < pass->tokens; n++)
            prepare_token(pass, n, worker, worker, workers);
        return;
    }
    uint64_t begin, end;
    tmac_share(pass->tokens, worker, workers, &begin, &end);
    for (uint64_t n = begin; n < end; n++)
        prepare_token(pass, (uint32_t)n, worker, 0, 1);
}

// ---------------------------------------------------------------------------------------------- attention

// Where the keys (or values) of one KV head of this layer lie.
static uint8_t *head_cache(const forward_pass *pass, uint8_t *base, size_t bytes, uint32_t head)
{
    return base + ((size_t)pass->layer * pass->model->source->kv_heads + head) * bytes;
}

static void store_keys(const forward_pass *pass, uint32_t token, uint32_t head, const float *key,
                       const float *value)
{
    const tmac_batch_item *item = &pass->items[token];
    tmac_session *session = item->session;
    uint32_t dim = pass->model->source->head_dim;
    uint8_t *keys = head_cache(pass, session->keys, session->key_bytes, head);
    uint8_t *values = head_cache(pass, session->values, session->value_bytes, head);
    size_t block = (size_t)(item->position / TMAC_KEY_BLOCK) * dim * TMAC_KEY_BLOCK;
    size_t lane = item->position % TMAC_KEY_BLOCK;
    if (session->kv == TMAC_KV_F32) {
        float *column = (float *)keys + block + lane;
        for (uint32_t d = 0; d < dim; d++)
            column[(size_t)d * TMAC_KEY_BLOCK] = key[d];
        memcpy((float *)values + (size_t)item->position * dim, value, dim * sizeof *value);
        return;
    }
    uint16_t *column = (uint16_t *)keys + block + lane;
    uint16_t half[64];
    for (uint32_t d = 0; d < dim; d += 64) {
        uint32_t count = dim - d < 64 ? dim - d : 64;
        pass->model->floats->to_f16(key + d, count, half);
        for (uint32_t i = 0; i < count; i++)
            column[(size_t)(d + i) * TMAC_KEY_BLOCK] = half[i];
    }
    pass->model->floats->to_f16(value, dim, (uint16_t *)values + (size_t)item->position * dim);
}

// Rotates queries and keys and stores keys and values. A worker takes one KV head for a run of tokens, so that two
// workers rarely write the same block of positions.
static void store_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const forward_pass *pass = argument;
    const tmac_model *model = pass->model;
    const tmac_source *source = model->source;
    uint32_t dim = source->head_dim, pairs = source->rope_dims / 2,
             group = source->heads / source->kv_heads;
    uint64_t begin, end;
    tmac_share((uint64_t)source->kv_heads * pass->tokens, worker, workers, &begin, &end);
    for (uint64_t task = begin; task < end; task++) {
        uint32_t head = (uint32_t)(task / pass->tokens), n = (uint32_t)(task % pass->tokens);
        const float *turns = model->turns + (size_t)pass->items[n].position * pairs * 2;
        float *key = model->key + ((size_t)n * source->kv_heads + head) * dim;
        const float *value = model->value + ((size_t)n * source->kv_heads + head) * dim;
        float *query = model->query + ((size_t)n * source->heads + (size_t)head * group) * dim;
        for (uint32_t h = 0; h < group; h++)
            model->floats->rotate(query + (size_t)h * dim, turns, pairs);
        model->floats->rotate(key, turns, pairs);
        store_keys(pass, n, head, key, value);
    }
}

// Workers take turns at (KV head, token): late positions cost more, and this way everybody gets some.
static void attend_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const forward_pass *pass = argument;
    const tmac_model *model = pass->model;
    const tmac_source *source = model->source;
    uint32_t dim = source->head_dim, group = source->heads / source->kv_heads;
    uint64_t tasks = (uint64_t)source->kv_heads * pass->tokens;
    for (uint64_t task = worker; task < tasks; task += workers) {
        uint32_t head = (uint32_t)(task / pass->tokens), n = (uint32_t)(task % pass->tokens);
        tmac_session *session = pass->items[n].session;
        size_t at = ((size_t)n * source->heads + (size_t)head * group) * dim;
        tmac_attention attention = {
            .query = model->query + at,
            .keys = head_cache(pass, session->keys, session->key_bytes, head),
            .values = head_cache(pass, session->values, session->value_bytes, head),
            .heads = group,
            .head_dim = dim,
            .positions = pass->items[n].position + 1,
            .scores = model->scratch[worker].scores,
            .out = model->attended + at,
        };
        if (session->kv == TMAC_KV_F32)
            model->floats->attend_f32(&attention);
        else
            model->floats->attend_f16(&attention);
    }
}

// ---------------------------------------------------------------------------------------------- layers and head

static void run_step(forward_pass *pass, const tmac_step *step, const tmac_outputs *outputs)
{
    pass->step = step;
    tmac_pool_run(pass->model->pool, prepare_phase, pass);
    account(pass, TMAC_PART_PREPARE);
    tmac_step_multiply(pass->model, step, pass->tokens, outputs);
    account(pass, TMAC_PART_MATMUL);
}

static void run_layer(forward_pass *pass)
{
    tmac_model *model = pass->model;
    const tmac_source *source = model->source;
    const tmac_layer *layer = &model->layers[pass->layer];
    uint32_t dim = source->dim, hidden = source->hidden;
    uint32_t queries = source->heads * source->head_dim, keys = source->kv_heads * source->head_dim;
    pass->epsilon = source->norm_epsilon;

    pass->input = model->x;
    pass->input_up = NULL;
    pass->input_width = dim;
    pass->norm = layer->attention_norm;
    run_step(
        pass, &layer->attention_in,
        &(tmac_outputs){{model->query, model->key, model->value}, {queries, keys, keys}, false});
    tmac_extras_attention_in(model, pass->layer, pass->tokens);

    tmac_pool_run(model->pool, store_phase, pass);
    tmac_pool_run(model->pool, attend_phase, pass);
    account(pass, TMAC_PART_ATTENTION);

    pass->input = model->attended;
    pass->input_width = queries;
    pass->norm = layer->attention_sub_norm;
    run_step(pass, &layer->attention_out, &(tmac_outputs){{model->x}, {dim}, true});
    tmac_extras_attention_out(model, pass->layer, pass->tokens);

    pass->input = model->x;
    pass->input_width = dim;
    pass->norm = layer->ffn_norm;
    run_step(pass, &layer->ffn_in,
             &(tmac_outputs){{model->gate, model->up}, {hidden, hidden}, false});
    tmac_extras_ffn_in(model, pass->layer, pass->tokens);

    pass->input = model->gate;
    pass->input_up = model->up;
    pass->input_width = hidden;
    pass->norm = layer->ffn_sub_norm;
    run_step(pass, &layer->ffn_out, &(tmac_outputs){{model->x}, {dim}, true});
    tmac_extras_ffn_out(model, pass->layer, pass->tokens);
}

// Logits of the items that want them: their vectors are normed side by side, then the head runs over all of them.
static void run_head(forward_pass *pass, uint32_t top, const float **logits)
{
    tmac_model *model = pass->model;
    const tmac_source *source = model->source;
    uint32_t wanted = 0;
    for (uint32_t n = 0; n < pass->tokens; n++) {
        if (!pass->items[n].want_logits) continue;
        model->floats->rms_norm(model->x + (size_t)n * source->dim, source->final_norm, source->dim,
                                source->final_norm_epsilon,
                                model->normed + (size_t)wanted * model->widest);
        wanted++;
    }
    if (wanted == 0) return;
    tmac_head_run(model, wanted, top);
    if (logits) *logits = model->logits;
    account(pass, TMAC_PART_HEAD);
}

// ---------------------------------------------------------------------------------------------- the batch

static tmac_status check_item(const tmac_model *model, const tmac_batch_item *item, uint32_t index)
{
    tmac_session *session = item->session;
    if (!session || session->model != model)
        return tmac_fail(TMAC_USAGE, "batch item %u: its session belongs to another model", index);
    if (item->token >= model->source->vocab)
        return tmac_fail(TMAC_USAGE, "batch item %u: token %u is outside the vocabulary of %u",
                         index, item->token, model->source->vocab);
    if (item->position != session->length + session->pending)
        return tmac_fail(TMAC_USAGE, "batch item %u: position %u where the session expects %u",
                         index, item->position, session->length + session->pending);
    if (item->position >= session->capacity)
        return tmac_fail(TMAC_USAGE, "batch item %u: the session is full at %u positions", index,
                         session->capacity);
    session->pending++;
    return tmac_ok();
}

static tmac_status check_batch(const tmac_model *model, const tmac_batch_item *items,
                               uint32_t count)
{
    if (count == 0 || count > model->batch_capacity)
        return tmac_fail(TMAC_USAGE, "a batch holds between 1 and %u tokens, not %u",
                         model->batch_capacity, count);
    for (uint32_t i = 0; i < count; i++)
        if (items[i].session) items[i].session->pending = 0;
    for (uint32_t i = 0; i < count; i++)
        TMAC_TRY(check_item(model, &items[i], i));
    return tmac_ok();
}

tmac_status tmac_decode(tmac_model *model, const tmac_batch_item *items, uint32_t count,
                        const float **logits)
{
    return tmac_decode_top(model, items, count, 0, logits);
}

tmac_status tmac_decode_top(tmac_model *model, const tmac_batch_item *items, uint32_t count,
                            uint32_t top, const float **logits)
{
    if (logits) *logits = NULL;
    TMAC_TRY(check_batch(model, items, count));
    forward_pass pass = {.model = model, .items = items, .tokens = count, .clock = tmac_now_ns()};
    if (model->cache) tmac_cache_settle(model->cache);
    for (uint32_t n = 0; n < count; n++)
        tmac_model_make_turns(model, items[n].position + 1);
    const tmac_matrix *embedding = &model->source->embedding;
    for (uint32_t n = 0; n < count; n++)
        embedding->read_float(embedding, items[n].token, 1,
                              model->x + (size_t)n * model->source->dim);
    for (pass.layer = 0; pass.layer < model->source->layer_count; pass.layer++)
        run_layer(&pass);
    run_head(&pass, top, logits);
    for (uint32_t i = 0; i < count; i++)
        items[i].session->length = items[i].position + 1;
    model->profile.tokens += count;
    return tmac_ok();
}

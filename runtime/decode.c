// The transformer, one batch at a time.
//
//   x = embedding[token]
//   for each layer:
//     q, k, v = W_qkv . norm(x)          rotate q and k, store k and v
//     x += W_o . sub_norm(attend(q))
//     x += W_down . sub_norm(act(W_gate . norm(x)) * (W_up . norm(x)))       the activation where gate and up are made
//   logits = head . norm(x)
//
// All layers are one phase on the pool, with a barrier wherever a worker needs what others have made. What a token
// computes depends on its own vector and on the cache up to its position only, so its bits do not depend on the other
// items of the batch.
//
// A single token's input of a step is made by every worker for itself, tables included: the vector is small, making it
// twice takes no longer than making it once, and reading tables that another core has just written does. So a layer has
// five barriers: after (q, k, v), attention, o, (gate, up) and down. Several tokens are dealt to workers whole; when
// there are fewer tokens than workers, everybody computes their vectors and a part of the shared tables.
#include <string.h>

#include "base/clock.h"
#include "runtime/cache.h"
#include "runtime/extras.h"
#include "runtime/model_private.h"

typedef struct forward_pass {
    tmac_model *model;
    const tmac_batch_item *items;
    uint32_t tokens;
    uint64_t clock; // when the part being timed began; of worker 0
} forward_pass;

// One worker in it.
typedef struct hand {
    forward_pass *pass;
    tmac_model *model;
    uint32_t worker, workers;
} hand;

static void account(forward_pass *pass, tmac_part part)
{
    uint64_t now = tmac_now_ns();
    pass->model->profile.ns[part] += now - pass->clock;
    pass->clock = now;
}

static void account_hand(const hand *h, tmac_part part)
{
    if (h->worker == 0) account(h->pass, part);
}

// ---------------------------------------------------------------------------------------------- input of a step

// What the input of a step is made of.
typedef struct ingredients {
    const float *from; // [tokens][width]
    const float *up;   // not NULL: the input is act(from) * up
    uint32_t width;
    const float *norm; // NULL: none
} ingredients;

// One token's input as floats: in `to`, or where it came from when there is nothing to do.
static const float *make_vector(const tmac_model *model, const ingredients *in, uint32_t token,
                                float *to)
{
    const tmac_floats *floats = model->floats;
    const float *from = in->from + (size_t)token * in->width;
    if (in->up) {
        const float *up = in->up + (size_t)token * in->width;
        if (model->source->activation == TMAC_RELU2)
            floats->relu2_multiply(from, up, in->width, to);
        else
            floats->silu_multiply(from, up, in->width, to);
        from = to;
    }
    if (!in->norm) return from;
    floats->rms_norm(from, in->norm, in->width, model->source->norm_epsilon, to);
    return to;
}

// Token `token` of a shared input, or part `part` of it.
static void prepare_shared(const hand *h, const tmac_step *step, const ingredients *in,
                           const tmac_step_input *input, uint32_t token, uint32_t part,
                           uint32_t parts)
{
    tmac_model *model = h->model;
    const tmac_scratch *scratch = &model->scratch[h->worker];
    float *to = part == 0 ? model->normed + (size_t)token * model->widest : scratch->values;
    const float *values = make_vector(model, in, token, to);
    if (part == 0 && values != to) memcpy(to, values, in->width * sizeof *to);
    const float scale =
        tmac_step_prepare(model, step, input, token, values, scratch->codes, part, parts);
    if (part == 0) model->activation_scale[token] = scale;
}

// The input of a step. Several tokens share one, so that takes a barrier.
static tmac_step_input prepare(const hand *h, const tmac_step *step, const ingredients *in)
{
    tmac_model *model = h->model;
    const uint32_t tokens = h->pass->tokens;
    if (tokens == 1) {
        tmac_scratch *scratch = &model->scratch[h->worker];
        tmac_step_input own = {.tokens = 1,
                               .values = make_vector(model, in, 0, scratch->values),
                               .prepared = scratch->prepared,
                               .set_stride = model->prepared_room,
                               .activation_scale = &scratch->activation_scale};
        scratch->activation_scale =
            tmac_step_prepare(model, step, &own, 0, own.values, scratch->codes, 0, 1);
        account_hand(h, TMAC_PART_PREPARE);
        return own;
    }
    const tmac_step_input input = {.tokens = tokens,
                                   .values = model->normed,
                                   .stride = model->widest,
                                   .prepared = model->prepared,
                                   .set_stride = model->batch_capacity * model->prepared_room,
                                   .activation_scale = model->activation_scale};
    uint64_t begin = 0, end = tokens;
    const bool in_parts = tokens < h->workers && step->wants_ternary;
    if (!in_parts) tmac_pool_share(model->pool, tokens, h->worker, &begin, &end);
    for (uint64_t n = begin; n < end; n++)
        prepare_shared(h, step, in, &input, (uint32_t)n, in_parts ? h->worker : 0,
                       in_parts ? h->workers : 1);
    tmac_pool_barrier(model->pool);
    account_hand(h, TMAC_PART_PREPARE);
    return input;
}

// ---------------------------------------------------------------------------------------------- layers and head

static tmac_step_input run_step(const hand *h, const tmac_step *step, const ingredients *in,
                                const tmac_outputs *outputs)
{
    const tmac_step_input input = prepare(h, step, in);
    tmac_step_multiply(h->model, step, &input, outputs, h->worker);
    tmac_pool_barrier(h->model->pool);
    account_hand(h, TMAC_PART_MATMUL);
    return input;
}

static void run_layer(const hand *h, uint32_t number)
{
    tmac_model *model = h->model;
    const tmac_source *source = model->source;
    const tmac_layer *layer = &model->layers[number];
    uint32_t dim = source->dim, hidden = source->hidden;
    uint32_t queries = source->heads * source->head_dim, keys = source->kv_heads * source->head_dim;

    tmac_step_input input = run_step(
        h, &layer->attention_in, &(ingredients){model->x, NULL, dim, layer->attention_norm},
        &(tmac_outputs){{model->query, model->key, model->value}, {queries, keys, keys}, false});
    tmac_extras_attention_in(model, number, &input, h->worker);

    tmac_attend(model, number, h->pass->items, h->pass->tokens, h->worker, h->workers);
    account_hand(h, TMAC_PART_ATTENTION);

    input = run_step(h, &layer->attention_out,
                     &(ingredients){model->attended, NULL, queries, layer->attention_sub_norm},
                     &(tmac_outputs){{model->x}, {dim}, true});
    tmac_extras_attention_out(model, number, &input, h->worker);

    input = run_step(h, &layer->ffn_in, &(ingredients){model->x, NULL, dim, layer->ffn_norm},
                     &(tmac_outputs){{model->gate, model->up}, {hidden, hidden}, false});
    tmac_extras_ffn_in(model, number, &input, h->worker);

    input = run_step(h, &layer->ffn_out,
                     &(ingredients){model->gate, layer->ffn_in.gated ? NULL : model->up, hidden,
                                    layer->ffn_sub_norm},
                     &(tmac_outputs){{model->x}, {dim}, true});
    tmac_extras_ffn_out(model, number, &input, h->worker);
}

static void layers_phase(void *argument, uint32_t worker, uint32_t workers)
{
    forward_pass *pass = argument;
    const hand h = {pass, pass->model, worker, workers};
    for (uint32_t layer = 0; layer < pass->model->source->layer_count; layer++)
        run_layer(&h, layer);
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
    const uint64_t waited = tmac_pool_waited(model->pool);
    tmac_pool_run(model->pool, layers_phase, &pass);
    run_head(&pass, top, logits);
    model->profile.waiting_ns +=
        (tmac_pool_waited(model->pool) - waited) / tmac_pool_threads(model->pool);
    for (uint32_t i = 0; i < count; i++)
        items[i].session->length = items[i].position + 1;
    model->profile.tokens += count;
    return tmac_ok();
}

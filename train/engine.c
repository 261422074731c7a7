#include "train/engine.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/math.h"

enum { PIECE_NUMBERS = 65536 };

// A run of parameters of one tensor: what one thread updates at a time.
typedef struct piece {
    size_t at;
    uint32_t count;
    bool decayed;
    double squares; // of the gradient
} piece;

typedef struct worker {
    tmac_workspace workspace, teacher_workspace;
    uint32_t *inputs, *targets, *starts;
} worker;

struct tmac_engine {
    const tmac_recipe *recipe;
    tmac_pool *pool;
    tmac_train_state *state;
    tmac_network network;
    const tmac_network *teacher;

    worker *workers;
    float **gradients;  // [shards][parameters]
    tmac_pages pages;   // of the gradients
    double *shard_loss; // [shards]
    piece *pieces;
    uint32_t piece_count;

    // The batch of the current step.
    const tmac_corpus *corpus;
    size_t *rows;     // [batch]
    uint32_t *shifts; // [batch]
    double loss_scale;
    uint32_t *order; // a permutation of the corpus's rows, for the epoch order_epoch
    uint64_t order_epoch, order_rows;
    uint32_t order_shift;
    tmac_adam adam;
    double decay;

    // A pass of validation: chunk c is rows first[c] .. first[c + 1] - 1.
    size_t *first;
    double *chunk_loss;
    size_t chunk_count;
};

static tmac_status no_memory(void)
{
    return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
}

// --------------------------------------------------------------------------------------------------------- life

static tmac_status make_pieces(tmac_engine *e)
{
    const tmac_network *network = &e->network;
    e->pieces =
        calloc(network->parameters / PIECE_NUMBERS + network->tensor_count, sizeof *e->pieces);
    if (!e->pieces) return no_memory();
    for (uint32_t i = 0; i < network->tensor_count; i++) {
        const tmac_tensor *tensor = &network->tensors[i];
        const size_t count = (size_t)tensor->rows * tensor->columns;
        for (size_t at = 0; at < count; at += PIECE_NUMBERS)
            e->pieces[e->piece_count++] =
                (piece){tensor->at + at,
                        (uint32_t)(count - at < PIECE_NUMBERS ? count - at : PIECE_NUMBERS),
                        tensor->kind == TMAC_TENSOR_MATRIX, 0};
    }
    return tmac_ok();
}

static tmac_status make_worker(tmac_engine *e, worker *w)
{
    const size_t chunk = e->recipe->chunk;
    w->inputs = calloc(chunk, sizeof *w->inputs);
    w->targets = calloc(chunk, sizeof *w->targets);
    w->starts = calloc(chunk + 1, sizeof *w->starts);
    if (!w->inputs || !w->targets || !w->starts) return no_memory();
    if (e->teacher)
        TMAC_TRY(tmac_workspace_new(e->teacher, (uint32_t)chunk, &w->teacher_workspace));
    return tmac_workspace_new(&e->network, (uint32_t)chunk, &w->workspace);
}

static tmac_status make(tmac_engine *e, tmac_isa_set isa)
{
    const size_t shards = e->recipe->shards;
    TMAC_TRY(tmac_network_new(&e->recipe->shape, isa, &e->network));
    TMAC_TRY(make_pieces(e));
    e->workers = calloc(tmac_pool_threads(e->pool), sizeof *e->workers);
    e->gradients = calloc(shards, sizeof *e->gradients);
    e->shard_loss = calloc(shards, sizeof *e->shard_loss);
    e->rows = calloc(e->recipe->batch, sizeof *e->rows);
    e->shifts = calloc(e->recipe->batch, sizeof *e->shifts);
    if (!e->workers || !e->gradients || !e->shard_loss || !e->rows || !e->shifts)
        return no_memory();
    size_t numbers, bytes;
    if (!tmac_size_multiply(e->network.parameters, shards, &numbers) ||
        !tmac_size_multiply(numbers, sizeof(float), &bytes))
        return no_memory();
    tmac_status status = tmac_pages_map(bytes, &e->pages);
    if (status.code != TMAC_OK)
        return tmac_prefix(status, "%zu MB for the gradients of %zu shards", bytes >> 20, shards);
    for (size_t i = 0; i < shards; i++)
        e->gradients[i] = (float *)e->pages.data + i * e->network.parameters;
    for (uint32_t i = 0; i < tmac_pool_threads(e->pool); i++)
        TMAC_TRY(make_worker(e, &e->workers[i]));
    return tmac_ok();
}

tmac_status tmac_engine_new(const tmac_recipe *recipe, tmac_isa_set isa, tmac_pool *pool,
                            tmac_train_state *state, const tmac_network *teacher,
                            tmac_engine **engine)
{
    *engine = NULL;
    tmac_engine *e = calloc(1, sizeof *e);
    if (!e) return no_memory();
    e->recipe = recipe;
    e->pool = pool;
    e->state = state;
    e->teacher = teacher;
    tmac_status status = make(e, isa);
    if (status.code == TMAC_OK)
        *engine = e;
    else
        tmac_engine_free(e);
    return status;
}

void tmac_engine_free(tmac_engine *e)
{
    if (!e) return;
    for (uint32_t i = 0; e->workers && i < tmac_pool_threads(e->pool); i++) {
        tmac_workspace_free(&e->workers[i].workspace);
        tmac_workspace_free(&e->workers[i].teacher_workspace);
        free(e->workers[i].inputs);
        free(e->workers[i].targets);
        free(e->workers[i].starts);
    }
    free(e->workers);
    free(e->gradients);
    free(e->shard_loss);
    free(e->rows);
    free(e->shifts);
    free(e->order);
    free(e->pieces);
    free(e->first);
    free(e->chunk_loss);
    tmac_pages_unmap(&e->pages);
    tmac_network_free(&e->network);
    free(e);
}

tmac_network *tmac_engine_network(tmac_engine *e)
{
    return &e->network;
}

void tmac_engine_settle(tmac_engine *e)
{
    tmac_network_set(&e->network, e->state->weights);
}

// -------------------------------------------------------------------------------------------------------- batches

// The rows of an epoch in its order (Fisher and Yates), and its shift.
static tmac_status shuffle(tmac_engine *e, uint64_t epoch)
{
    const uint64_t rows = e->corpus->row_count;
    if (e->order && e->order_epoch == epoch && e->order_rows == rows) return tmac_ok();
    if (!e->order && !(e->order = calloc(rows, sizeof *e->order))) return no_memory();
    tmac_random random = {e->recipe->seed ^ 0x5bd1e995u};
    random.state = tmac_random_next(&random) + epoch;
    for (uint64_t i = 0; i < rows; i++)
        e->order[i] = (uint32_t)i;
    for (uint64_t i = rows - 1; i > 0; i--) {
        uint32_t other = tmac_random_below(&random, (uint32_t)(i + 1)), kept = e->order[i];
        e->order[i] = e->order[other];
        e->order[other] = kept;
    }
    e->order_shift = tmac_random_below(&random, e->corpus->context);
    e->order_epoch = epoch;
    e->order_rows = rows;
    return tmac_ok();
}

static tmac_status choose_batch(tmac_engine *e, uint64_t *tokens)
{
    const uint64_t rows = e->corpus->row_count;
    *tokens = 0;
    for (uint64_t i = 0; i < e->recipe->batch; i++) {
        const uint64_t at = e->state->step * e->recipe->batch + i;
        TMAC_TRY(shuffle(e, at / rows));
        e->rows[i] = e->order[at % rows];
        e->shifts[i] = e->order_shift;
        *tokens += e->corpus->rows[e->rows[i]].length;
    }
    return tmac_ok();
}

// Adds a row to a chunk; false when it has no room for it.
static bool add_row(const tmac_engine *e, const worker *w, size_t row, uint32_t shift,
                    tmac_chunk *chunk)
{
    if (chunk->tokens + e->corpus->rows[row].length > e->recipe->chunk) return false;
    chunk->tokens += tmac_corpus_row(e->corpus, row, shift, w->inputs + chunk->tokens,
                                     w->targets + chunk->tokens);
    w->starts[++chunk->documents] = chunk->tokens;
    return true;
}

static tmac_chunk empty_chunk(const worker *w)
{
    w->starts[0] = 0;
    return (tmac_chunk){w->inputs, w->targets, 0, w->starts, 0};
}

static double learn(const tmac_engine *e, worker *w, const tmac_chunk *chunk, float *gradient)
{
    tmac_teacher_view view = {e->teacher, &w->teacher_workspace, (double)e->recipe->teacher_share};
    if (e->teacher) tmac_network_forward(e->teacher, &w->teacher_workspace, chunk);
    tmac_network_forward(&e->network, &w->workspace, chunk);
    double loss =
        tmac_network_loss(&e->network, &w->workspace, chunk, &view, e->loss_scale, gradient);
    tmac_network_backward(&e->network, &w->workspace, chunk, gradient);
    return loss;
}

static void learn_phase(void *argument, uint32_t index, uint32_t workers)
{
    tmac_engine *e = argument;
    worker *w = &e->workers[index];
    for (uint64_t shard = index; shard < e->recipe->shards; shard += workers) {
        memset(e->gradients[shard], 0, e->network.parameters * sizeof(float));
        e->shard_loss[shard] = 0;
        tmac_chunk chunk = empty_chunk(w);
        for (uint64_t i = shard; i < e->recipe->batch; i += e->recipe->shards) {
            if (add_row(e, w, e->rows[i], e->shifts[i], &chunk)) continue;
            e->shard_loss[shard] += learn(e, w, &chunk, e->gradients[shard]);
            chunk = empty_chunk(w);
            add_row(e, w, e->rows[i], e->shifts[i], &chunk); // a row always fits an empty chunk
        }
        if (chunk.tokens) e->shard_loss[shard] += learn(e, w, &chunk, e->gradients[shard]);
    }
}

// -------------------------------------------------------------------------------------------------------- updates

static void gather_phase(void *argument, uint32_t index, uint32_t workers)
{
    tmac_engine *e = argument;
    for (uint32_t i = index; i < e->piece_count; i += workers) {
        piece *p = &e->pieces[i];
        for (uint64_t shard = 1; shard < e->recipe->shards; shard++)
            e->network.passes->add(e->gradients[0] + p->at, e->gradients[shard] + p->at, p->count);
        p->squares = e->network.passes->sum_of_squares(e->gradients[0] + p->at, p->count);
    }
}

static void update_phase(void *argument, uint32_t index, uint32_t workers)
{
    tmac_engine *e = argument;
    for (uint32_t i = index; i < e->piece_count; i += workers) {
        const piece *p = &e->pieces[i];
        tmac_adam how = e->adam;
        how.decay = p->decayed ? (float)e->decay : 0.0f;
        e->network.passes->adam(&how, e->gradients[0] + p->at, p->count, e->state->weights + p->at,
                                e->state->first + p->at, e->state->second + p->at);
    }
}

double tmac_engine_rate(const tmac_recipe *recipe, uint64_t step, double *decay_factor)
{
    const double peak = (double)recipe->rate, warmup = (double)recipe->warmup;
    *decay_factor = 1;
    if (step < recipe->warmup) return peak * (double)(step + 1) / warmup;
    const double rest = (double)recipe->steps - warmup;
    const double part = rest > 0 ? ((double)step - warmup) / rest : 0;
    switch ((tmac_schedule)recipe->schedule) {
    case TMAC_SCHEDULE_COSINE:
        return peak * (0.05 + 0.95 * 0.5 * (1 + tmac_cos(3.141592653589793 * part)));
    case TMAC_SCHEDULE_TWO_STAGE:
        if (part < 0.5) return peak * (1 - part);
        *decay_factor = 0;
        return peak * (2.0 / 3.0) * (1 - part);
    case TMAC_SCHEDULE_CONSTANT:
        break;
    }
    return peak;
}

static void set_adam(tmac_engine *e, double norm)
{
    const tmac_recipe *r = e->recipe;
    const double steps = (double)(e->state->step + 1);
    double factor;
    const double rate = tmac_engine_rate(r, e->state->step, &factor);
    e->decay = rate * factor * (double)r->decay;
    e->adam = (tmac_adam){
        .rate = (float)rate,
        .beta1 = r->beta1,
        .beta2 = r->beta2,
        .bias1 = (float)(1 - tmac_pow((double)r->beta1, steps)),
        .bias2 = (float)(1 - tmac_pow((double)r->beta2, steps)),
        .epsilon = 1e-8f,
        .gradient_scale = norm > (double)r->clip ? (float)((double)r->clip / norm) : 1.0f,
    };
}

tmac_status tmac_engine_step(tmac_engine *e, const tmac_corpus *corpus, double *loss)
{
    uint64_t tokens;
    e->corpus = corpus;
    TMAC_TRY(choose_batch(e, &tokens));
    e->loss_scale = 1.0 / (double)tokens;
    tmac_engine_settle(e);
    tmac_pool_run(e->pool, learn_phase, e);
    tmac_pool_run(e->pool, gather_phase, e);
    double total = 0, squares = 0;
    for (uint64_t shard = 0; shard < e->recipe->shards; shard++)
        total += e->shard_loss[shard];
    for (uint32_t i = 0; i < e->piece_count; i++)
        squares += e->pieces[i].squares;
    *loss = total / (double)tokens;
    if (!isfinite(total) || !isfinite(squares))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the %s is not a finite number at step %llu: training diverged; a lower "
                         "--rate, a longer --warmup or a smaller --clip may help",
                         isfinite(total) ? "gradient" : "loss", (unsigned long long)e->state->step);
    set_adam(e, sqrt(squares));
    tmac_pool_run(e->pool, update_phase, e);
    e->state->step++;
    e->state->tokens += tokens;
    return tmac_ok();
}

// ----------------------------------------------------------------------------------------------------- validation

static void validate_phase(void *argument, uint32_t index, uint32_t workers)
{
    tmac_engine *e = argument;
    worker *w = &e->workers[index];
    for (size_t c = index; c < e->chunk_count; c += workers) {
        tmac_chunk chunk = empty_chunk(w);
        for (size_t row = e->first[c]; row < e->first[c + 1]; row++)
            add_row(e, w, row, 0, &chunk);
        tmac_network_forward(&e->network, &w->workspace, &chunk);
        e->chunk_loss[c] = tmac_network_loss(&e->network, &w->workspace, &chunk, NULL, 1, NULL);
    }
}

tmac_status tmac_engine_validate(tmac_engine *e, const tmac_corpus *corpus, double *nats,
                                 uint64_t *tokens)
{
    size_t *first = realloc(e->first, (corpus->row_count + 2) * sizeof *first);
    if (!first) return no_memory();
    e->first = first;
    double *sums = realloc(e->chunk_loss, (corpus->row_count + 1) * sizeof *sums);
    if (!sums) return no_memory();
    e->chunk_loss = sums;
    e->corpus = corpus;
    e->chunk_count = 0;
    *tokens = 0;
    uint64_t held = e->recipe->chunk; // as if full, so that the first row begins a chunk
    for (size_t row = 0; row < corpus->row_count; row++) {
        const uint32_t length = corpus->rows[row].length;
        if (held + length > e->recipe->chunk) {
            e->first[e->chunk_count++] = row;
            held = 0;
        }
        held += length;
        *tokens += length;
    }
    e->first[e->chunk_count] = corpus->row_count;
    tmac_engine_settle(e);
    tmac_pool_run(e->pool, validate_phase, e);
    *nats = 0;
    for (size_t c = 0; c < e->chunk_count; c++)
        *nats += e->chunk_loss[c];
    return tmac_ok();
}

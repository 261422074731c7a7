#include "cli/eval_windows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "runtime/math.h"

typedef struct walk {
    tmac_start *const *models;
    uint32_t model_count, vocab, batch;
    uint32_t *sequence; // BOS and the window's tokens
    tmac_comparison *result;
    double *divergences; // of all judged tokens; NULL for one model
} walk;

double tmac_mean_error(const tmac_mean *mean)
{
    if (mean->count < 2) return 0.0;
    return sqrt(mean->squares / (double)(mean->count - 1) / (double)mean->count);
}

// Welford's way, which does not cancel.
static void add(tmac_mean *mean, double value)
{
    const double before = value - mean->mean;
    mean->count++;
    mean->mean += before / (double)mean->count;
    mean->squares += before * (value - mean->mean);
}

static uint32_t likeliest(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

// Sum over tokens of p ln(p / q). ln p = l - max - ln(sum e^(l - max)).
static double divergence(const float *p, const float *q, uint32_t vocab)
{
    const double p_max = (double)p[likeliest(p, vocab)], q_max = (double)q[likeliest(q, vocab)];
    double p_sum = 0.0, q_sum = 0.0, weighted = 0.0;
    for (uint32_t i = 0; i < vocab; i++) {
        const double weight = tmac_exp((double)p[i] - p_max);
        p_sum += weight;
        q_sum += tmac_exp((double)q[i] - q_max);
        if (weight > 0.0) weighted += weight * (((double)p[i] - p_max) - ((double)q[i] - q_max));
    }
    const double value = weighted / p_sum - tmac_log(p_sum) + tmac_log(q_sum);
    return value > 0.0 ? value : 0.0; // rounding
}

static void judge(walk *state, const float *const rows[2], uint32_t token)
{
    tmac_comparison *result = state->result;
    double nll[2] = {0.0, 0.0};
    for (uint32_t m = 0; m < state->model_count; m++) {
        nll[m] = tmac_negative_log_likelihood(rows[m], state->vocab, token);
        add(&result->nll[m], nll[m]);
    }
    if (state->model_count < 2) return;
    const double distance = divergence(rows[0], rows[1], state->vocab);
    state->divergences[result->divergence.count] = distance;
    add(&result->difference, nll[1] - nll[0]);
    add(&result->divergence, distance);
    result->same_choice += likeliest(rows[0], state->vocab) == likeliest(rows[1], state->vocab);
}

// sequence[0, count): the tokens from `fresh` on are judged.
static tmac_status judge_window(walk *state, uint32_t count, uint32_t fresh)
{
    for (uint32_t m = 0; m < state->model_count; m++)
        tmac_session_truncate(state->models[m]->session, 0);
    // The last token judges nothing and is not decoded.
    for (uint32_t at = 0; at + 1 < count;) {
        const uint32_t left = count - 1 - at, part = left < state->batch ? left : state->batch;
        const bool wanted = at + part >= fresh;
        const float *logits[2] = {NULL, NULL};
        for (uint32_t m = 0; m < state->model_count; m++)
            TMAC_TRY(tmac_start_decode(state->models[m], state->sequence, at, part, true,
                                       wanted ? &logits[m] : NULL));
        for (uint32_t i = 0; i < part; i++, at++) {
            if (at + 1 < fresh) continue;
            const size_t row = (size_t)i * state->vocab;
            const float *rows[2] = {logits[0] + row, NULL};
            if (state->model_count > 1) rows[1] = logits[1] + row;
            judge(state, rows, state->sequence[at + 1]);
        }
    }
    state->result->windows++;
    return tmac_ok();
}

static int ascending(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void rank_divergences(const walk *state)
{
    tmac_comparison *result = state->result;
    const uint64_t count = result->divergence.count;
    if (!state->divergences || count == 0) return;
    qsort(state->divergences, count, sizeof *state->divergences, ascending);
    result->median = state->divergences[count / 2];
    result->p99 = state->divergences[count - 1 - (count - 1) / 100];
    result->max = state->divergences[count - 1];
}

static tmac_status walk_windows(walk *state, const uint32_t *tokens, size_t count, uint32_t chunk,
                                uint32_t stride)
{
    const int32_t bos = tmac_tokenizer_bos(state->models[0]->tokenizer);
    const uint32_t first = bos >= 0;
    size_t judged = 0;
    tmac_status status = tmac_ok();
    tmac_progress progress;
    tmac_progress_begin(&progress, "judging", count);
    for (size_t begin = 0; judged < count && status.code == TMAC_OK; begin += stride) {
        const size_t left = count - begin, room = chunk - first;
        const uint32_t window = (uint32_t)(left < room ? left : room);
        if (first) state->sequence[0] = (uint32_t)bos;
        memcpy(state->sequence + first, tokens + begin, window * sizeof *tokens);
        // Without BOS nothing comes before the very first token, which then is not judged.
        uint32_t fresh = first + (uint32_t)(judged - begin);
        if (fresh == 0) fresh = 1;
        status = judge_window(state, window + first, fresh);
        tmac_progress_advance(&progress, begin + window - judged);
        judged = begin + window;
    }
    tmac_progress_end(&progress);
    return status;
}

tmac_status tmac_eval_windows(tmac_start *const *models, uint32_t model_count,
                              const uint32_t *tokens, size_t count, uint32_t chunk, uint32_t stride,
                              tmac_comparison *result)
{
    memset(result, 0, sizeof *result);
    walk state = {.models = models,
                  .model_count = model_count,
                  .vocab = tmac_model_vocab(models[0]->model),
                  .batch = models[0]->batch,
                  .result = result};
    for (uint32_t m = 0; m < model_count; m++) {
        if (models[m]->batch < state.batch) state.batch = models[m]->batch;
        TMAC_TRY(tmac_start_session(models[m], chunk));
    }
    state.sequence = malloc(((size_t)chunk + 1) * sizeof *state.sequence);
    if (model_count > 1) state.divergences = malloc((count + 1) * sizeof *state.divergences);
    tmac_status status;
    if (!state.sequence || (model_count > 1 && !state.divergences))
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory judging %zu tokens", count);
    else
        status = walk_windows(&state, tokens, count, chunk, stride);
    if (status.code == TMAC_OK) rank_divergences(&state);
    free(state.sequence);
    free(state.divergences);
    return status;
}

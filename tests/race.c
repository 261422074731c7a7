// Whole plans against each other, end to end: what is the plan of each tuning database worth?
//
//   race MODEL THREADS SECONDS DATABASE...
//
// Opens the model once for every database, all over one pool of threads, and lets the plans take turns in random order for
// so many seconds: four tokens one by one, and every fourth round a prompt of a whole batch. A host's drift so meets all of
// them alike, which runs one after the other would take for differences. Prints for each database the medians of a
// token and of a prompt token in milliseconds, and their ratios to the first one's; both: one token of each kind.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "base/topology.h"
#include "convert/convert.h"
#include "db/db.h"
#include "db/kernels.h"
#include "runtime/tmac.h"

enum { RACERS = 16, SAMPLES = 4096, DECODE_TOKENS = 4, PROMPT_TOKENS = 128, CONTEXT = 192 };

typedef struct racer {
    const char *database;
    tmac_model *model;
    tmac_session *session;
    uint64_t token[SAMPLES], prompt[SAMPLES]; // nanoseconds of a sample
    uint32_t tokens, prompts;
} racer;

static tmac_status run(racer *r, uint32_t count, bool one_by_one)
{
    tmac_batch_item items[PROMPT_TOKENS];
    const uint32_t vocab = tmac_model_vocab(r->model), step = one_by_one ? 1 : count;
    const float *logits;
    for (uint32_t done = 0; done < count; done += step) {
        const uint32_t at = tmac_session_length(r->session);
        for (uint32_t i = 0; i < step; i++)
            items[i] =
                (tmac_batch_item){r->session, (at * 31 + i * 7 + 1) % vocab, at + i, i + 1 == step};
        TMAC_TRY(tmac_decode(r->model, items, step, &logits));
    }
    return tmac_ok();
}

static tmac_status take_turn(racer *r, bool prompt)
{
    if (prompt) {
        tmac_session_truncate(r->session, 0);
        const uint64_t began = tmac_now_ns();
        TMAC_TRY(run(r, PROMPT_TOKENS, false));
        r->prompt[r->prompts++] = tmac_now_ns() - began;
    }
    if (tmac_session_length(r->session) + DECODE_TOKENS > CONTEXT)
        tmac_session_truncate(r->session, PROMPT_TOKENS);
    const uint64_t began = tmac_now_ns();
    TMAC_TRY(run(r, DECODE_TOKENS, true));
    r->token[r->tokens++] = tmac_now_ns() - began;
    return tmac_ok();
}

static tmac_status enter(racer *r, const tmac_source *source, tmac_pool *pool)
{
    static tmac_input_set sets[TMAC_PLAN_ENTRIES];
    uint32_t count;
    tmac_plan plan;
    tmac_host host;
    tmac_db *db;
    tmac_host_probe(&host);
    TMAC_TRY(tmac_model_input_sets(source, sets, &count));
    TMAC_TRY(tmac_db_open(r->database, TMAC_DB_READ, &db));
    tmac_db_loaded loaded = {0}; // kernels compiled on this host
    tmac_status status = tmac_db_load_kernels(db, sets, count, &loaded);
    if (status.code == TMAC_OK)
        status = tmac_db_plan(db, &host, sets, count, tmac_pool_threads(pool), tmac_isa_verified(),
                              &plan);
    tmac_db_close(db);
    if (status.code != TMAC_OK) return status;
    const tmac_model_options options = {.pool = pool, .plan = &plan, .isa = tmac_isa_verified()};
    TMAC_TRY(tmac_model_new(source, &options, &r->model));
    return tmac_session_new(r->model, CONTEXT, TMAC_KV_F16, &r->session);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static double median_ms(uint64_t *samples, uint32_t count, uint32_t tokens)
{
    if (count == 0) return 0;
    qsort(samples, count, sizeof *samples, ascending);
    const uint64_t middle = samples[count / 2];
    return (double)middle / 1e6 / tokens;
}

static tmac_status race(racer *racers, uint32_t count, double seconds)
{
    tmac_random random = {7};
    const uint64_t end = tmac_now_ns() + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < count; i++)
        TMAC_TRY(take_turn(&racers[i], true)); // to warm up
    for (uint32_t i = 0; i < count; i++)
        racers[i].tokens = racers[i].prompts = 0;
    for (uint32_t round = 0; round < SAMPLES && tmac_now_ns() < end; round++) {
        uint32_t order[RACERS];
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t j = tmac_random_below(&random, i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (uint32_t i = 0; i < count; i++)
            TMAC_TRY(take_turn(&racers[order[i]], round % 4 == 0));
    }
    double first_token = 0, first_prompt = 0;
    for (uint32_t i = 0; i < count; i++) {
        racer *r = &racers[i];
        const double token = median_ms(r->token, r->tokens, DECODE_TOKENS);
        const double prompt = median_ms(r->prompt, r->prompts, PROMPT_TOKENS);
        if (i == 0) {
            first_token = token;
            first_prompt = prompt;
        }
        printf("%-28s token %8.3f ms %.3f x   prompt %8.4f ms %.3f x   both %.3f x\n", r->database,
               token, token / first_token, prompt, prompt / first_prompt,
               (token + prompt) / (first_token + first_prompt));
    }
    return tmac_ok();
}

static tmac_status run_all(char **words, uint32_t count)
{
    static racer racers[RACERS];
    tmac_source source;
    tmac_pool *pool;
    TMAC_TRY(tmac_pool_new((uint32_t)strtoul(words[2], NULL, 10), &pool));
    tmac_status status = tmac_source_open(words[1], &(tmac_open_options){0}, &source);
    if (status.code != TMAC_OK) {
        tmac_pool_free(pool);
        return status;
    }
    for (uint32_t i = 0; i < count && status.code == TMAC_OK; i++) {
        racers[i].database = words[4 + i];
        status = enter(&racers[i], &source, pool);
    }
    if (status.code == TMAC_OK) status = race(racers, count, strtod(words[3], NULL));
    for (uint32_t i = 0; i < count; i++) {
        tmac_session_free(racers[i].session);
        tmac_model_free(racers[i].model);
    }
    tmac_source_close(&source);
    tmac_pool_free(pool);
    return status;
}

int main(int count, char **words)
{
    if (count < 5 || count - 4 > RACERS) {
        fprintf(stderr, "usage: race MODEL THREADS SECONDS DATABASE...   (at most %d)\n", RACERS);
        return 2;
    }
    const tmac_status status = run_all(words, (uint32_t)(count - 4));
    if (status.code != TMAC_OK) fprintf(stderr, "race: %s\n", status.message);
    return status.code != TMAC_OK;
}

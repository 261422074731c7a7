#include "cli/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/topology.h"
#include "cli/converted.h"
#include "db/db.h"
#include "db/fleet.h"
#include "db/kernels.h"

enum { DEFAULT_BATCH = 128, BATCH_MAX = 4096 };

static tmac_status choose_isa(const char *name, tmac_start *start)
{
    tmac_host_probe(&start->host);
    start->isa = start->host.isa;
    if (!name) return tmac_ok();
    tmac_isa isa;
    TMAC_TRY(tmac_isa_parse(name, &isa));
    if (!tmac_isa_has(start->host.isa, isa))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "this host does not execute %s; '--isa list' shows what it does", name);
    start->isa &= tmac_isa_contained(isa);
    return tmac_ok();
}

// A head's name; "screened:5" says with how many bits, where "screened" takes what was measured.
static tmac_status parse_head(const char *text, tmac_start *start)
{
    static const char screened[] = "screened:";
    if (strncmp(text, screened, sizeof screened - 1) != 0)
        return tmac_head_parse(text, &start->head);
    const char *bits = text + sizeof screened - 1;
    if (!*bits || !strchr("4568", *bits) || bits[1])
        return tmac_fail(TMAC_USAGE, "--head %.40s: screening knows 4, 5, 6 and 8 bits", text);
    start->head = TMAC_HEAD_SCREENED;
    start->screen_bits = (uint32_t)(*bits - '0');
    return tmac_ok();
}

// Every option that can be judged without the model.
static tmac_status check_options(const tmac_start_options *options, tmac_open_options *open,
                                 uint32_t *threads, tmac_cpu_list *cpus, tmac_start *start)
{
    open->tokenizer = options->tokenizer;
    open->defer_checks = true;
    TMAC_TRY(tmac_bit_order_parse(options->bit_order, &open->bit_order));
    if (options->kv) TMAC_TRY(tmac_kv_parse(options->kv, &start->kv));
    if (options->head) TMAC_TRY(parse_head(options->head, start));
    if (options->batch > BATCH_MAX)
        return tmac_fail(TMAC_USAGE, "a batch of %llu tokens: at most %d",
                         (unsigned long long)options->batch, BATCH_MAX);
    start->batch = options->batch ? (uint32_t)options->batch : DEFAULT_BATCH;
    TMAC_TRY(choose_isa(options->isa, start));
    if (options->cpus) TMAC_TRY(tmac_cpu_list_parse(options->cpus, cpus));
    if (options->threads > TMAC_POOL_MAX)
        return tmac_fail(TMAC_USAGE, "%llu threads: at most %d",
                         (unsigned long long)options->threads, TMAC_POOL_MAX);
    *threads = (uint32_t)options->threads;
    if (*threads == 0 && options->cpus) *threads = cpus->count;
    if (*threads == 0) *threads = tmac_default_threads(start->host.logical_cpus);
    if (*threads > TMAC_POOL_MAX) *threads = TMAC_POOL_MAX;
    return tmac_ok();
}

// The plan for this model. Without a usable database it is the built-in rule.
static tmac_status make_plan(const tmac_start_options *options, const tmac_program *program,
                             uint32_t threads, tmac_start *start, tmac_plan *plan)
{
    tmac_input_set sets[TMAC_PLAN_ENTRIES];
    uint32_t count;
    TMAC_TRY(tmac_model_input_sets(&start->source, sets, &count));
    tmac_db *db = NULL;
    char path[TMAC_DB_PATH_BYTES];
    tmac_status status = options->database ? tmac_ok() : tmac_db_default_path(path);
    const bool homeless = status.code != TMAC_OK; // no $HOME: nothing can have been measured
    status =
        homeless ? tmac_ok() : tmac_db_open_layers(options->database, getenv("TMAC_FLEET"), &db);
    tmac_db_loaded loaded = {0};
    if (status.code == TMAC_OK) status = tmac_db_load_kernels(db, sets, count, &loaded);
    if (status.code == TMAC_OK && loaded.unusable)
        fprintf(stderr, "%s: warning: %u objects of compiled kernels are not used: %s\n",
                program->name, loaded.unusable, loaded.why);
    if (status.code == TMAC_OK && loaded.untrusted)
        fprintf(stderr,
                "%s: warning: %u objects of compiled kernels are not used, because their signer is "
                "not trusted here; where you do: tmac-db key trust %s\n",
                program->name, loaded.untrusted, loaded.signer);
    if (status.code == TMAC_OK)
        status = tmac_db_plan(db, &start->host, sets, count, threads, start->isa, plan);
    if (status.code == TMAC_OK && start->head == TMAC_HEAD_SCREENED && start->screen_bits == 0)
        status = tmac_db_screen_bits(db, &start->host, &start->source.head, threads,
                                     &start->screen_bits);
    tmac_db_close(db);
    if (status.code == TMAC_OK || options->database) return status;
    fprintf(stderr, "%s: warning: %s; going on without measurements\n", program->name,
            status.message);
    return tmac_db_plan(NULL, &start->host, sets, count, threads, start->isa, plan);
}

static tmac_status make_tokenizer(const char *model, const char *tokenizer, tmac_start *start)
{
    const tmac_vocabulary *vocabulary = &start->source.vocabulary;
    if (vocabulary->size == 0) {
        // It may hold one that we do not know: then its reader says why.
        tmac_vocabulary unread;
        tmac_status why = tmac_vocabulary_open(model, 0, &unread);
        if (why.code == TMAC_UNSUPPORTED)
            return tmac_fail(TMAC_USAGE, "%s; give another with -z FILE", why.message);
        if (why.code == TMAC_OK) tmac_vocabulary_free(&unread);
    }
    if (vocabulary->size == 0)
        return tmac_fail(TMAC_USAGE, "%s: the file has no vocabulary; give one with -z FILE",
                         model);
    if (vocabulary->size > start->source.vocab)
        return tmac_fail(TMAC_BAD_FILE, "%s: %u pieces, but the model knows %u tokens",
                         tokenizer ? tokenizer : model, vocabulary->size, start->source.vocab);
    tmac_status status = tmac_tokenizer_new(vocabulary, &start->tokenizer);
    return status.code == TMAC_OK ? status
                                  : tmac_prefix(status, "%s", tokenizer ? tokenizer : model);
}

// Ties threads to processors where the user says so, or where cores differ: there, which core a thread has decides how
// much work it gets. Where there are several memory nodes they are tied to these, because weights lie with their readers.
static tmac_status place_threads(const tmac_start_options *options, const tmac_cpu_list *cpus,
                                 tmac_pool *pool)
{
    if (options->cpus) TMAC_TRY(tmac_pool_pin(pool, cpus->cpu, cpus->count));
    tmac_cpu_list places; // one of each core first, the fastest kind first
    tmac_cpu_list_allowed(&places);
    tmac_topology topology;
    if (tmac_topology_read("", &places, &topology).code != TMAC_OK) return tmac_ok();
    const bool mixed = topology.mixed;
    for (uint32_t i = 0; i < topology.count; i++)
        places.cpu[i] = topology.processors[i].cpu;
    if (!mixed && !options->cpus) tmac_topology_tie(&topology, pool);
    tmac_topology_free(&topology);
    if (!mixed) return tmac_ok();
    if (!options->cpus && (tmac_pool_threads(pool) > places.count ||
                           tmac_pool_pin(pool, places.cpu, places.count).code != TMAC_OK))
        return tmac_ok(); // threads that wander have no speed of their own
    tmac_pool_measure_speeds(pool);
    return tmac_ok();
}

static tmac_status open_all(const char *model, const tmac_start_options *options,
                            const tmac_program *program, tmac_start *start)
{
    tmac_open_options open = {0};
    uint32_t threads = 1;
    tmac_cpu_list cpus = {.count = 0};
    TMAC_TRY(check_options(options, &open, &threads, &cpus, start));
    char cache[1024];
    const bool cached = !options->no_cache && tmac_cache_directory(cache, sizeof cache);
    TMAC_TRY(
        tmac_converted_open(model, &open, cached ? cache : NULL, program->name, &start->source));
    if (start->batch > start->source.context) start->batch = start->source.context;
    if (!options->no_text) TMAC_TRY(make_tokenizer(model, options->tokenizer, start));
    tmac_plan plan;
    TMAC_TRY(make_plan(options, program, threads, start, &plan));
    TMAC_TRY(tmac_pool_new(threads, &start->pool));
    // Before the model: weights lie in the memory node of the worker that writes them first.
    TMAC_TRY(place_threads(options, &cpus, start->pool));
    const tmac_model_options model_options = {.pool = start->pool,
                                              .plan = &plan,
                                              .isa = start->isa,
                                              .batch_capacity = start->batch,
                                              .cache = cached ? cache : NULL,
                                              .head = start->head,
                                              .screen_bits = start->screen_bits};
    return tmac_model_new(&start->source, &model_options, &start->model);
}

tmac_status tmac_start_open(const char *model, const tmac_start_options *options,
                            const tmac_program *program, tmac_start *start)
{
    memset(start, 0, sizeof *start);
    tmac_status status = open_all(model, options, program, start);
    if (status.code != TMAC_OK) tmac_start_close(start);
    return status;
}

tmac_status tmac_start_session(tmac_start *start, uint32_t capacity)
{
    return tmac_session_new(start->model, capacity, start->kv, &start->session);
}

void tmac_start_close(tmac_start *start)
{
    tmac_session_free(start->session);
    tmac_model_free(start->model);
    tmac_pool_free(start->pool);
    tmac_tokenizer_free(start->tokenizer);
    tmac_source_close(&start->source);
    memset(start, 0, sizeof *start);
}

tmac_status tmac_start_encode(const tmac_start *start, const char *text, size_t bytes,
                              uint32_t **tokens, size_t *count)
{
    TMAC_TRY(tmac_tokenizer_encode(start->tokenizer, text, bytes, tokens, count));
    const int32_t bos = tmac_tokenizer_bos(start->tokenizer);
    if (*count && !start->source.vocabulary.add_bos) return tmac_ok();
    if (bos < 0 && *count) return tmac_ok();
    uint32_t *longer = bos < 0 ? NULL : realloc(*tokens, (*count + 1) * sizeof **tokens);
    if (!longer) {
        free(*tokens);
        *tokens = NULL;
        if (bos < 0)
            return tmac_fail(TMAC_USAGE, "the vocabulary has no BOS token: a text is needed");
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu tokens", *count);
    }
    memmove(longer + 1, longer, *count * sizeof *longer);
    longer[0] = (uint32_t)bos;
    *tokens = longer;
    ++*count;
    return tmac_ok();
}

tmac_status tmac_start_decode(tmac_start *start, const uint32_t *tokens, uint32_t first,
                              uint32_t count, bool every, const float **logits)
{
    tmac_batch_item items[BATCH_MAX];
    for (uint32_t i = 0; i < count; i++)
        items[i] = (tmac_batch_item){start->session, tokens[first + i], first + i,
                                     logits && (every || i + 1 == count)};
    return tmac_decode_top(start->model, items, count, start->top, logits);
}

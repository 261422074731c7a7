// A run: everything is opened and checked, then steps, reports, validations and checkpoints follow each other until the
// last step, a signal, or a loss that is no number.
#include "train/train.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "train/engine.h"
#include "train/model.h"
#include "train/multiply.h"

typedef struct run {
    const tmac_train_options *options;
    tmac_recipe recipe;
    tmac_source init, teacher_source;
    tmac_vocabulary vocabulary; // of options->tokenizer; empty: that of init
    tmac_tokenizer *tokenizer;
    tmac_corpus text, validation;
    uint8_t digest[TMAC_HASH_BYTES]; // of everything that is trained on
    tmac_pool *pool;
    tmac_isa_set isa;
    const char *multiplier; // what multiplies matrices
    tmac_network teacher;
    tmac_train_state state;
    tmac_engine *engine;
    double seconds_before, cpu_before; // of earlier parts of this run
    uint64_t started_ns;
    double loss_sum; // since the last report
    uint64_t loss_steps;
    uint64_t tokens_before; // trained on before this part
} run;

static volatile sig_atomic_t stop_wanted;

static void on_signal(int number)
{
    (void)number;
    stop_wanted = 1;
}

static void path_of(const run *r, const char *suffix, char path[1024])
{
    snprintf(path, 1024, "%s%s", r->options->output, suffix);
}

// -------------------------------------------------------------------------------------------------------- opening

static const tmac_vocabulary *vocabulary_of(const run *r)
{
    return r->vocabulary.size ? &r->vocabulary : &r->init.vocabulary;
}

static tmac_status open_model(const char *path, tmac_source *source)
{
    const tmac_open_options none = {0};
    TMAC_TRY(tmac_source_open(path, &none, source));
    return source->check_weights ? source->check_weights(source) : tmac_ok();
}

static tmac_status open_init(run *r)
{
    tmac_train_shape *shape = &r->recipe.shape;
    TMAC_TRY(open_model(r->options->init, &r->init));
    tmac_train_shape of_file = tmac_train_shape_of(&r->init);
    if (!r->options->keep_kind) of_file.ternary = shape->ternary;
    of_file.sub_norms |= shape->sub_norms && !r->options->keep_kind;
    of_file.half |= shape->half;
    if (shape->context && shape->context < of_file.context) of_file.context = shape->context;
    *shape = of_file;
    return tmac_ok();
}

static tmac_status open_vocabulary(run *r)
{
    const tmac_train_options *o = r->options;
    if (o->tokenizer)
        TMAC_TRY(tmac_vocabulary_open(o->tokenizer, o->init ? r->recipe.shape.vocab : 0,
                                      &r->vocabulary));
    const tmac_vocabulary *vocabulary = vocabulary_of(r);
    if (vocabulary->size == 0)
        return tmac_fail(TMAC_USAGE, "a vocabulary is needed: --tokenizer FILE (tmac-train "
                                     "tokenizer makes one)");
    r->recipe.shape.vocab = vocabulary->size;
    return tmac_tokenizer_new(vocabulary, &r->tokenizer);
}

static tmac_status check_recipe(const tmac_recipe *recipe)
{
    const tmac_train_shape *s = &recipe->shape;
    tmac_source bounds = {.dim = s->dim,
                          .hidden = s->hidden,
                          .layer_count = s->layers,
                          .heads = s->heads,
                          .kv_heads = s->kv_heads,
                          .head_dim = s->head_dim,
                          .vocab = s->vocab,
                          .context = s->context,
                          .rope_dims = s->head_dim};
    TMAC_TRY(tmac_source_check_dimensions(&bounds));
    if (s->head_dim % 2 != 0)
        return tmac_fail(TMAC_USAGE, "heads of %u dimensions cannot be rotated in pairs",
                         s->head_dim);
    if (recipe->shards == 0 || recipe->batch < recipe->shards || recipe->batch > 1u << 20)
        return tmac_fail(TMAC_USAGE,
                         "--batch %llu rows for --shards %llu: a shard needs at least one",
                         (unsigned long long)recipe->batch, (unsigned long long)recipe->shards);
    if (recipe->chunk > 1u << 20)
        return tmac_fail(TMAC_USAGE, "--chunk: at most %u tokens", 1u << 20);
    if (!(recipe->rate > 0) || !(recipe->clip > 0) || recipe->decay < 0 || recipe->beta1 < 0 ||
        recipe->beta1 >= 1 || recipe->beta2 < 0 || recipe->beta2 >= 1 ||
        recipe->teacher_share < 0 || recipe->teacher_share > 1)
        return tmac_fail(TMAC_USAGE, "--rate and --clip are positive, --decay is not negative, "
                                     "--beta1, --beta2 are in [0, 1), --teacher-share in [0, 1]");
    return tmac_ok();
}

static tmac_status open_texts(run *r)
{
    const tmac_train_options *o = r->options;
    const double kept = 1.0 - (double)o->hold_out;
    const tmac_documents documents = (tmac_documents)r->recipe.documents;
    tmac_corpus_options part = {o->texts, o->text_count, documents, r->recipe.shape.context,
                                0,        kept};
    TMAC_TRY(tmac_corpus_open(&part, r->tokenizer, &r->text));
    if (o->validation)
        part = (tmac_corpus_options){&o->validation, 1, documents, r->recipe.shape.context, 0, 1};
    else {
        part.begin = kept;
        part.end = 1;
    }
    if (o->validation || o->hold_out > 0)
        TMAC_TRY(tmac_corpus_open(&part, r->tokenizer, &r->validation));
    if (r->recipe.steps && r->text.row_count < r->recipe.batch)
        return tmac_fail(
            TMAC_BAD_FILE,
            "the texts make %zu rows of up to %u tokens, too few for one batch of %llu: "
            "more text, or a smaller --batch",
            r->text.row_count, r->recipe.shape.context, (unsigned long long)r->recipe.batch);
    return tmac_ok();
}

// Of the tokens, the files of the initial model and the teacher.
static tmac_status take_digest(run *r)
{
    tmac_hash_state hash;
    tmac_hash_begin(&hash);
    tmac_hash_add(&hash, r->text.tokens, r->text.token_count * sizeof *r->text.tokens);
    const char *const files[] = {r->options->init, r->options->teacher};
    for (int i = 0; i < 2; i++) {
        tmac_map map;
        if (!files[i]) continue;
        TMAC_TRY(tmac_map_open(files[i], &map));
        tmac_hash_add(&hash, map.data, map.bytes);
        tmac_map_close(&map);
    }
    tmac_hash_end(&hash, r->digest);
    return tmac_ok();
}

static tmac_status open_teacher(run *r)
{
    TMAC_TRY(open_model(r->options->teacher, &r->teacher_source));
    tmac_train_shape shape = tmac_train_shape_of(&r->teacher_source);
    if (shape.vocab != r->recipe.shape.vocab)
        return tmac_fail(TMAC_USAGE, "%s: the teacher has a vocabulary of %u, the model one of %u",
                         r->options->teacher, shape.vocab, r->recipe.shape.vocab);
    if (shape.context < r->recipe.shape.context)
        return tmac_fail(TMAC_USAGE, "%s: the teacher sees %u tokens, the model %u",
                         r->options->teacher, shape.context, r->recipe.shape.context);
    TMAC_TRY(tmac_network_new(&shape, r->isa, &r->teacher));
    float *parameters = calloc(r->teacher.parameters, sizeof *parameters);
    if (!parameters) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for the teacher");
    tmac_status status = tmac_parameters_read(&r->teacher, &r->teacher_source, parameters);
    if (status.code == TMAC_OK) tmac_network_set(&r->teacher, parameters);
    free(parameters);
    return status;
}

// Parameters to start with, or where an earlier part of the run left off.
static tmac_status begin_state(run *r)
{
    char path[1024];
    path_of(r, ".state", path);
    if (!r->options->fresh) {
        tmac_status status = tmac_state_read(&r->state, &r->recipe, r->digest, path);
        if (status.code != TMAC_NOT_FOUND) return status;
    }
    const tmac_network *network = tmac_engine_network(r->engine);
    if (r->options->init) return tmac_parameters_read(network, &r->init, r->state.weights);
    tmac_parameters_random(network, r->recipe.seed, r->state.weights);
    return tmac_ok();
}

static tmac_status open_run(run *r)
{
    tmac_recipe *recipe = &r->recipe;
    if (strlen(r->options->output) > 1000)
        return tmac_fail(TMAC_USAGE, "the output path is longer than 1000 bytes");
    if (r->options->init) TMAC_TRY(open_init(r));
    TMAC_TRY(open_vocabulary(r));
    if (recipe->chunk < recipe->shape.context) recipe->chunk = recipe->shape.context;
    TMAC_TRY(check_recipe(recipe));
    TMAC_TRY(open_texts(r));
    TMAC_TRY(take_digest(r));
    r->isa = tmac_isa_verified(); // before threads start
    r->multiplier = tmac_multiply_open(r->isa);
    if (r->options->teacher) TMAC_TRY(open_teacher(r));
    TMAC_TRY(tmac_pool_new((uint32_t)r->options->threads, &r->pool));
    tmac_network plan = {.shape = recipe->shape};
    TMAC_TRY(tmac_network_plan(&plan));
    free(plan.tensors);
    TMAC_TRY(tmac_state_new(plan.parameters, &r->state));
    TMAC_TRY(tmac_engine_new(recipe, r->isa, r->pool, &r->state,
                             r->options->teacher ? &r->teacher : NULL, &r->engine));
    return begin_state(r);
}

static void close_run(run *r)
{
    tmac_engine_free(r->engine);
    tmac_state_free(&r->state);
    tmac_network_free(&r->teacher);
    tmac_pool_free(r->pool);
    tmac_corpus_free(&r->text);
    tmac_corpus_free(&r->validation);
    tmac_tokenizer_free(r->tokenizer);
    tmac_vocabulary_free(&r->vocabulary);
    tmac_source_close(&r->init);
    tmac_source_close(&r->teacher_source);
}

// ------------------------------------------------------------------------------------------------------ reporting

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void count_time(run *r)
{
    r->state.seconds = r->seconds_before + 1e-9 * (double)(tmac_now_ns() - r->started_ns);
    r->state.cpu_seconds = r->cpu_before + cpu_seconds();
}

static void describe(const run *r)
{
    const tmac_train_shape *s = &r->recipe.shape;
    size_t numbers = 0;
    const tmac_network *network = tmac_engine_network(r->engine);
    for (uint32_t i = 0; i < network->tensor_count; i++)
        numbers += (size_t)network->tensors[i].rows * network->tensors[i].columns;
    printf("model       %zu parameters, %s%s: dim %u, hidden %u, %u layers, %u heads (%u of keys), "
           "vocabulary %u, context %u\n",
           numbers, s->ternary ? "ternary" : "float", s->sub_norms ? " with sub-norms" : "", s->dim,
           s->hidden, s->layers, s->heads, s->kv_heads, s->vocab, s->context);
    printf("text        %llu bytes, %zu tokens, %zu rows; validation %llu bytes, %zu tokens\n",
           (unsigned long long)r->text.bytes, r->text.token_count, r->text.row_count,
           (unsigned long long)r->validation.bytes, r->validation.token_count);
    printf("arithmetic  %s; %u threads\n", r->multiplier, tmac_pool_threads(r->pool));
    if (r->state.step)
        printf("resuming    at step %llu of %llu\n", (unsigned long long)r->state.step,
               (unsigned long long)r->recipe.steps);
    fflush(stdout);
}

static void report_step(const run *r, const tmac_curve_point *point)
{
    const double seconds = r->state.seconds - r->seconds_before;
    const double speed = seconds > 0 ? (double)(r->state.tokens - r->tokens_before) / seconds : 0;
    const double per_step = (double)r->state.tokens / (double)r->state.step;
    const double left =
        speed > 0 ? (double)(r->recipe.steps - r->state.step) * per_step / speed : 0;
    printf("step %6llu  loss %.4f", (unsigned long long)point->step, point->loss);
    if (!isnan(point->validation)) printf("  validation %.4f", point->validation);
    printf("  rate %.2e  %.0f tokens/s  cpu %.0f s  %um%02us left\n", point->rate, speed,
           r->state.cpu_seconds, (unsigned)left / 60, (unsigned)left % 60);
    fflush(stdout);
}

static tmac_status validate(run *r, tmac_curve_point *point, bool talk)
{
    double nats;
    uint64_t tokens;
    if (r->validation.row_count == 0) return tmac_ok();
    TMAC_TRY(tmac_engine_validate(r->engine, &r->validation, &nats, &tokens));
    point->validation = nats / (double)tokens;
    if (talk)
        printf("validation  %.6f nats a token, %.6f a byte, %.4f a document (%llu tokens, %llu "
               "bytes, %llu documents)\n",
               nats / (double)tokens, nats / (double)r->validation.bytes,
               nats / (double)r->validation.documents, (unsigned long long)tokens,
               (unsigned long long)r->validation.bytes,
               (unsigned long long)r->validation.documents);
    return tmac_ok();
}

// The state last: where it is new, everything else is.
static tmac_status checkpoint(run *r)
{
    char path[1024];
    count_time(r);
    tmac_engine_settle(r->engine);
    TMAC_TRY(
        tmac_network_write(tmac_engine_network(r->engine), vocabulary_of(r), r->options->output));
    path_of(r, ".csv", path);
    TMAC_TRY(tmac_curves_write_csv(&r->state, path));
    path_of(r, ".svg", path);
    TMAC_TRY(tmac_curves_write_svg(&r->state, path));
    path_of(r, ".state", path);
    return tmac_state_write(&r->state, &r->recipe, r->digest, path);
}

// ---------------------------------------------------------------------------------------------------------- steps

static bool due(uint64_t step, uint64_t every, uint64_t last)
{
    return step == last || (every && step % every == 0);
}

static tmac_status one_step(run *r)
{
    const uint64_t last = r->recipe.steps;
    double loss, factor;
    const double rate = tmac_engine_rate(&r->recipe, r->state.step, &factor);
    TMAC_TRY(tmac_engine_step(r->engine, &r->text, &loss));
    r->loss_sum += loss;
    r->loss_steps++;
    const uint64_t step = r->state.step;
    const bool validating = due(step, r->options->validate_every, last);
    if (validating || due(step, r->options->report_every, last)) {
        tmac_curve_point point = {.step = step,
                                  .tokens = r->state.tokens,
                                  .loss = r->loss_sum / (double)r->loss_steps,
                                  .validation = NAN,
                                  .rate = rate};
        if (validating) TMAC_TRY(validate(r, &point, false));
        count_time(r);
        point.seconds = r->state.seconds;
        point.cpu_seconds = r->state.cpu_seconds;
        r->loss_sum = 0;
        r->loss_steps = 0;
        TMAC_TRY(tmac_state_add_point(&r->state, &point));
        report_step(r, &point);
    }
    if (due(step, r->options->checkpoint_every, last)) TMAC_TRY(checkpoint(r));
    return tmac_ok();
}

static tmac_status run_steps(run *r)
{
    const struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    r->started_ns = tmac_now_ns();
    r->seconds_before = r->state.seconds;
    r->cpu_before = r->state.cpu_seconds;
    r->tokens_before = r->state.tokens;
    while (r->state.step < r->recipe.steps) {
        TMAC_TRY(one_step(r));
        if (!stop_wanted || r->state.step == r->recipe.steps) continue;
        TMAC_TRY(checkpoint(r));
        return tmac_fail(TMAC_BUSY, "interrupted at step %llu; the same command resumes",
                         (unsigned long long)r->state.step);
    }
    tmac_curve_point point = {0};
    TMAC_TRY(validate(r, &point, true));
    // A run of no steps still writes the model: its format, its rounding or its vocabulary may be what is wanted.
    if (r->recipe.steps == 0) TMAC_TRY(checkpoint(r));
    printf("trained     %llu tokens in %.0f s, %.0f s of processor time: %s\n",
           (unsigned long long)r->state.tokens, r->state.seconds, r->state.cpu_seconds,
           r->options->output);
    return tmac_ok();
}

tmac_status tmac_train(const tmac_train_options *options)
{
    run *r = calloc(1, sizeof *r);
    if (!r) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    r->options = options;
    r->recipe = options->recipe;
    tmac_status status = open_run(r);
    if (status.code == TMAC_OK) {
        describe(r);
        status = run_steps(r);
    }
    close_run(r);
    free(r);
    return status;
}

// Tokens per second of a model, in the manner of llama-bench: each combination of the lists is a test of its own, for
// prompts (pp) and for tokens one by one (tg), after `n_depth` tokens that are not timed.
//
// The tokens are random and the same in every run; nothing of the model's speed depends on which they are. A run ends
// with the truncation of what it decoded, so the depth is paid for once. What a row says beyond llama-bench's fields:
//
//   bytes_per_token     bytes read per token: packed matrices (once per batch), the head (once per run of a prompt), and
//                       for tg the KV cache at the run's mean length
//   bandwidth           bytes per second that as many threads read from memory (tmac-bench --host)
//   bandwidth_fraction  bytes_per_token * avg_ts / bandwidth: above 1 where the model lives in the caches
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "cli/bench.h"
#include "cli/session.h"

enum { LIST_MAX = 32, REPETITIONS_MAX = 1000, NAME_MAX_BYTES = 16, FIELD_BYTES = 65536 };

typedef struct number_list {
    uint32_t count;
    uint64_t items[LIST_MAX];
} number_list;

typedef struct name_list {
    uint32_t count;
    char items[LIST_MAX][NAME_MAX_BYTES]; // "" stands for the default
} name_list;

// NULL is a list of one 0, which stands for the default.
static tmac_status parse_numbers(const char *text, const char *option, uint64_t most,
                                 number_list *list)
{
    *list = (number_list){.count = 0};
    for (const char *at = text ? text : "0";; at++) {
        char *end;
        errno = 0;
        const unsigned long long value = strtoull(at, &end, 10);
        if (*at < '0' || *at > '9' || errno || value > most || (*end && *end != ','))
            return tmac_fail(TMAC_USAGE,
                             "%s '%.60s': expected numbers up to %llu, separated by commas", option,
                             text, (unsigned long long)most);
        if (list->count == LIST_MAX)
            return tmac_fail(TMAC_USAGE, "%s: at most %d numbers", option, LIST_MAX);
        list->items[list->count++] = value;
        at = end;
        if (!*at) return tmac_ok();
    }
}

static tmac_status parse_names(const char *text, const char *option, name_list *list)
{
    *list = (name_list){.count = 0};
    for (const char *at = text ? text : "";; at++) {
        const size_t length = strcspn(at, ",");
        if (length >= NAME_MAX_BYTES || (text && length == 0) || list->count == LIST_MAX)
            return tmac_fail(TMAC_USAGE, "%s '%.60s': expected names separated by commas", option,
                             text);
        memcpy(list->items[list->count], at, length);
        list->items[list->count++][length] = '\0';
        at += length;
        if (!*at) return tmac_ok();
    }
}

// ---------------------------------------------------------------------------------------------------------- output

typedef struct writer {
    const char *format;
    uint32_t rows;
} writer;

static const char *const FORMATS[] = {"md", "csv", "json", "jsonl", "sql"};

// A field as text: numbers as they are, arrays as JSON.
static void field_text(const json_t *value, char text[FIELD_BYTES])
{
    if (json_is_string(value)) {
        snprintf(text, FIELD_BYTES, "%s", json_string_value(value));
        return;
    }
    const size_t used = json_dumpb(value, text, FIELD_BYTES - 1,
                                   JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    text[used < FIELD_BYTES ? used : 0] = '\0';
}

// Prints `text` between `quote` characters, which are doubled inside.
static void print_quoted(const char *text, char quote)
{
    putchar(quote);
    for (; *text; text++) {
        if (*text == quote) putchar(quote);
        putchar(*text);
    }
    putchar(quote);
}

static double real(const json_t *row, const char *name)
{
    return json_number_value(json_object_get(row, name));
}

static void write_markdown(const writer *w, const json_t *row)
{
    if (w->rows == 0)
        printf("| model | threads | kv | isa | batch | test | tokens/s | median | bytes/token | "
               "bandwidth |\n| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: "
               "|\n");
    const bool prompt = real(row, "n_prompt") > 0;
    char test[64], depth[32] = "";
    if (real(row, "n_depth") > 0) snprintf(depth, sizeof depth, " @ d%.0f", real(row, "n_depth"));
    snprintf(test, sizeof test, "%s%.0f%s", prompt ? "pp" : "tg",
             real(row, prompt ? "n_prompt" : "n_gen"), depth);
    printf("| %s | %.0f | %s | %s | %.0f | %s | %.2f ± %.2f | %.2f | %.1f MB | %.0f %% |\n",
           json_string_value(json_object_get(row, "model_filename")), real(row, "n_threads"),
           json_string_value(json_object_get(row, "type_kv")),
           json_string_value(json_object_get(row, "isa")), real(row, "n_batch"), test,
           real(row, "avg_ts"), real(row, "stddev_ts"), real(row, "median_ts"),
           real(row, "bytes_per_token") / 1e6, 100 * real(row, "bandwidth_fraction"));
}

static void write_columns(const writer *w, json_t *row)
{
    const bool sql = strcmp(w->format, "sql") == 0;
    const char *key;
    json_t *value;
    const char *comma = "";
    if (w->rows == 0) {
        if (sql) printf("CREATE TABLE IF NOT EXISTS tmac_bench (");
        json_object_foreach(row, key, value)
        {
            const char *type = json_is_integer(value) ? " INTEGER" : " REAL";
            if (!json_is_number(value)) type = " TEXT";
            printf("%s%s%s", comma, key, sql ? type : "");
            comma = ",";
        }
        puts(sql ? ");" : "");
    }
    if (sql) printf("INSERT INTO tmac_bench VALUES (");
    comma = "";
    json_object_foreach(row, key, value)
    {
        static char text[FIELD_BYTES];
        field_text(value, text);
        fputs(comma, stdout);
        if (json_is_number(value))
            fputs(text, stdout);
        else
            print_quoted(text, sql ? '\'' : '"');
        comma = ",";
    }
    puts(sql ? ");" : "");
}

static tmac_status write_row(writer *w, json_t *row)
{
    if (!row) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the results");
    if (strcmp(w->format, "md") == 0) {
        write_markdown(w, row);
    } else if (strncmp(w->format, "json", 4) == 0) {
        const bool lines = strcmp(w->format, "jsonl") == 0;
        if (!lines) fputs(w->rows ? ",\n" : "[\n", stdout);
        json_dumpf(row, stdout, (lines ? JSON_COMPACT : JSON_INDENT(2)) | JSON_REAL_PRECISION(9));
        if (lines) putchar('\n');
    } else {
        write_columns(w, row);
    }
    w->rows++;
    json_decref(row);
    if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- one test

typedef struct test {
    uint32_t prompt, generation, depth; // of prompt and generation one is 0
    tmac_kv kv;
    uint32_t repetitions;
    double bandwidth;
} test;

// What a run must know of the model that is open.
typedef struct subject {
    tmac_start *start;
    uint32_t *tokens; // [context]
} subject;

// Decodes positions [first, first + count), `batch` at a time.
static tmac_status decode_range(const subject *s, uint32_t first, uint32_t count, uint32_t batch,
                                bool want_last)
{
    const uint32_t end = first + count;
    for (uint32_t at = first; at < end;) {
        const uint32_t part = end - at < batch ? end - at : batch;
        const bool last = want_last && (batch == 1 || at + part == end);
        const float *logits;
        TMAC_TRY(tmac_start_decode(s->start, s->tokens, at, part, false, last ? &logits : NULL));
        at += part;
    }
    return tmac_ok();
}

static tmac_status time_run(const subject *s, const test *t, uint64_t *ns)
{
    const uint64_t started = tmac_now_ns();
    TMAC_TRY(t->prompt ? decode_range(s, t->depth, t->prompt, s->start->batch, true)
                       : decode_range(s, t->depth, t->generation, 1, true));
    *ns = tmac_now_ns() - started + 1;
    tmac_session_truncate(s->start->session, t->depth);
    return tmac_ok();
}

static double bytes_per_token(const subject *s, const test *t)
{
    tmac_profile profile;
    tmac_model_profile(s->start->model, &profile, false);
    const tmac_source *source = &s->start->source;
    const double matrices = (double)profile.matrix_bytes, head = (double)profile.head_bytes;
    if (t->prompt) {
        const uint32_t batches = (t->prompt + s->start->batch - 1) / s->start->batch;
        return (matrices * batches + head) / t->prompt;
    }
    const double positions = t->depth + (t->generation + 1) / 2.0;
    return matrices + head + (double)tmac_kv_position_bytes(source, t->kv) * positions;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *make_row(const subject *s, const test *t, const uint64_t *ns)
{
    const double count = t->prompt + t->generation;
    double speeds[REPETITIONS_MAX] = {0}, sum = 0, squares = 0, ns_sum = 0;
    json_t *samples = json_array(), *samples_ns = json_array();
    for (uint32_t i = 0; i < t->repetitions; i++) {
        speeds[i] = count * 1e9 / (double)ns[i];
        sum += speeds[i];
        ns_sum += (double)ns[i];
        json_array_append_new(samples, json_real(speeds[i]));
        json_array_append_new(samples_ns, json_integer((json_int_t)ns[i]));
    }
    const double mean = sum / t->repetitions;
    for (uint32_t i = 0; i < t->repetitions; i++)
        squares += (speeds[i] - mean) * (speeds[i] - mean);
    qsort(speeds, t->repetitions, sizeof *speeds, ascending);
    const uint32_t middle = t->repetitions / 2;
    const double median =
        t->repetitions % 2 ? speeds[middle] : (speeds[middle - 1] + speeds[middle]) / 2;
    const double bytes = bytes_per_token(s, t);
    const char *slash = strrchr(s->start->source.path, '/');
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, "
                     "s:f, s:f, s:o, s:o}",                                       //
                     "model_filename", slash ? slash + 1 : s->start->source.path, //
                     "cpu_info", s->start->host.cpu_name,                         //
                     "n_batch", (json_int_t)s->start->batch,                      //
                     "n_threads", (json_int_t)tmac_pool_threads(s->start->pool),  //
                     "type_kv", tmac_kv_name(t->kv),                              //
                     "isa", tmac_isa_name(tmac_isa_best(s->start->isa)),          //
                     "head", tmac_head_name(s->start->head),                      //
                     "n_prompt", (json_int_t)t->prompt,                           //
                     "n_gen", (json_int_t)t->generation,                          //
                     "n_depth", (json_int_t)t->depth,                             //
                     "avg_ns", ns_sum / t->repetitions,                           //
                     "avg_ts", mean,                                              //
                     "stddev_ts",
                     t->repetitions > 1 ? sqrt(squares / (t->repetitions - 1)) : 0.0, //
                     "median_ts", median,                                             //
                     "bytes_per_token", bytes,                                        //
                     "bandwidth", t->bandwidth,                                       //
                     "bandwidth_fraction", t->bandwidth > 0 ? bytes * mean / t->bandwidth : 0.0,
                     "samples_ns", samples_ns, //
                     "samples_ts", samples);
}

static tmac_status run_test(const subject *s, const test *t, writer *w)
{
    const uint64_t positions = (uint64_t)t->depth + t->prompt + t->generation;
    const uint32_t context = tmac_model_context(s->start->model);
    if (positions > context)
        return tmac_fail(
            TMAC_USAGE, "%llu positions (depth %u and %u), but the model's context holds %u",
            (unsigned long long)positions, t->depth, t->prompt + t->generation, context);
    tmac_session_free(s->start->session);
    s->start->session = NULL;
    s->start->kv = t->kv;
    TMAC_TRY(tmac_start_session(s->start, (uint32_t)positions));
    TMAC_TRY(decode_range(s, 0, t->depth, s->start->batch, false));
    uint64_t ns[REPETITIONS_MAX];
    TMAC_TRY(time_run(s, t, &ns[0])); // warms up
    for (uint32_t i = 0; i < t->repetitions; i++)
        TMAC_TRY(time_run(s, t, &ns[i]));
    return write_row(w, make_row(s, t, ns));
}

// ---------------------------------------------------------------------------------------------------------- all tests

typedef struct lists {
    number_list prompts, generations, depths, threads, batches;
    name_list kvs, isas;
} lists;

// Every test on one open model.
static tmac_status run_tests(tmac_start *start, const lists *all, test t, writer *w)
{
    const uint32_t context = tmac_model_context(start->model);
    subject s = {start, malloc(context * sizeof *s.tokens)};
    if (!s.tokens) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u tokens", context);
    tmac_random random = {1};
    for (uint32_t i = 0; i < context; i++)
        s.tokens[i] = tmac_random_below(&random, start->source.vocab);
    tmac_status status = tmac_ok();
    for (uint32_t k = 0; k < all->kvs.count; k++)
        for (uint32_t d = 0; d < all->depths.count; d++) {
            t.kv = TMAC_KV_F16;
            if (all->kvs.items[k][0]) (void)tmac_kv_parse(all->kvs.items[k], &t.kv); // checked
            t.depth = (uint32_t)all->depths.items[d];
            for (uint32_t i = 0; i < all->prompts.count + all->generations.count; i++) {
                const bool prompt = i < all->prompts.count;
                const uint64_t count =
                    prompt ? all->prompts.items[i] : all->generations.items[i - all->prompts.count];
                t.prompt = prompt ? (uint32_t)count : 0;
                t.generation = prompt ? 0 : (uint32_t)count;
                if (count && status.code == TMAC_OK) status = run_test(&s, &t, w);
            }
        }
    free(s.tokens);
    return status;
}

static tmac_status run_model(const tmac_bench_model_options *options, const tmac_program *program,
                             const tmac_start_options *how, const lists *all, writer *w)
{
    tmac_start start;
    TMAC_TRY(tmac_start_open(options->model, how, program, &start));
    start.top = 1; // greedy decoding: what a screened head is for
    while (tmac_model_settling(start.model))
        usleep(1000); // or the copy would be measured too
    test t = {.repetitions = (uint32_t)options->repetitions};
    tmac_status status = tmac_bench_bandwidth(start.pool, options->working_set, &t.bandwidth);
    if (status.code == TMAC_OK) status = run_tests(&start, all, t, w);
    tmac_start_close(&start);
    return status;
}

static tmac_status check_names(const tmac_bench_model_options *options, const lists *all)
{
    bool known = false;
    for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++)
        known |= strcmp(options->output, FORMATS[i]) == 0;
    if (!known)
        return tmac_fail(TMAC_USAGE, "unknown format '%.40s': expected md, csv, json, jsonl or sql",
                         options->output);
    tmac_kv kv;
    for (uint32_t i = 0; i < all->kvs.count; i++)
        if (all->kvs.items[i][0]) TMAC_TRY(tmac_kv_parse(all->kvs.items[i], &kv));
    if (options->repetitions == 0 || options->repetitions > REPETITIONS_MAX)
        return tmac_fail(TMAC_USAGE, "between 1 and %d repetitions", REPETITIONS_MAX);
    return tmac_ok();
}

tmac_status tmac_bench_model(const tmac_bench_model_options *options, const tmac_program *program)
{
    static lists all;
    const uint64_t most = INT32_MAX;
    TMAC_TRY(parse_numbers(options->prompts, "--n-prompt", most, &all.prompts));
    TMAC_TRY(parse_numbers(options->generations, "--n-gen", most, &all.generations));
    TMAC_TRY(parse_numbers(options->depths, "--n-depth", most, &all.depths));
    TMAC_TRY(parse_numbers(options->threads, "--threads", TMAC_POOL_MAX, &all.threads));
    TMAC_TRY(parse_numbers(options->batches, "--batch", most, &all.batches));
    TMAC_TRY(parse_names(options->kvs, "--kv", &all.kvs));
    TMAC_TRY(parse_names(options->isas, "--isa", &all.isas));
    TMAC_TRY(check_names(options, &all));
    writer w = {options->output, 0};
    tmac_start_options how = {.database = options->database,
                              .no_cache = options->no_cache,
                              .cpus = options->cpus,
                              .bit_order = options->bit_order,
                              .head = options->head,
                              .no_text = true};
    tmac_status status = tmac_ok();
    for (uint32_t i = 0; i < all.isas.count; i++)
        for (uint32_t b = 0; b < all.batches.count; b++)
            for (uint32_t j = 0; j < all.threads.count && status.code == TMAC_OK; j++) {
                how.isa = all.isas.items[i][0] ? all.isas.items[i] : NULL;
                how.batch = all.batches.items[b];
                how.threads = all.threads.items[j];
                status = run_model(options, program, &how, &all, &w);
            }
    if (status.code == TMAC_OK && strcmp(w.format, "json") == 0) puts(w.rows ? "\n]" : "[]");
    return status;
}

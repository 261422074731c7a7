// tmac-run: a prompt and what a model makes of it.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/chat.h"
#include "cli/logprobs.h"
#include "cli/sampling.h"
#include "cli/session.h"
#include "cli/stats.h"
#include "runtime/draft.h"

enum { PROMPT_MAX = 1 << 30 };

static tmac_start_options start_options;
static tmac_sampling_options sampling = TMAC_SAMPLING_DEFAULTS;
static uint64_t positions, draft_most, alternatives = 5;
static const char *prompt = "", *system_message, *template, *log_path;
static bool stats_wanted, json_wanted, quiet, chat_wanted, embedding_wanted, require_tuned;

static const tmac_option options[] = {
    {'i', "prompt", TMAC_OPTION_STRING, &prompt, "TEXT",
     "the text to continue; - reads standard input (default: none, BOS alone)"},
    {'n', "tokens", TMAC_OPTION_UNSIGNED, &positions, "N",
     "positions to compute, BOS and prompt included (default, and 0: the model's context)"},
    TMAC_SAMPLING_ROWS(sampling),
    {0, "chat", TMAC_OPTION_FLAG, &chat_wanted, NULL,
     "hold a conversation: messages from standard input, -n tokens an answer at most"},
    {0, "system", TMAC_OPTION_STRING, &system_message, "TEXT", "with --chat: the system message"},
    {0, "template", TMAC_OPTION_STRING, &template, "FORM",
     "with --chat: bitnet, llama2, llama3, chatml, qwen, falcon3 or a Lua file (default: what the "
     "model's files tell)"},
    {0, "embeddings", TMAC_OPTION_FLAG, &embedding_wanted, NULL,
     "print the prompt's embedding instead: the last token's hidden state, of length 1"},
    {0, "logprobs", TMAC_OPTION_STRING, &log_path, "FILE",
     "write a JSON line for each generated token: its log-probability and the likeliest others"},
    {0, "alternatives", TMAC_OPTION_UNSIGNED, &alternatives, "N",
     "with --logprobs: how many others (default 5)"},
    {0, "draft", TMAC_OPTION_UNSIGNED, &draft_most, "N",
     "guess up to N tokens from what followed the same words before and check them in one batch; "
     "changes speed, never the text (default 0: off)"},
    TMAC_START_ROWS(start_options),
    {0, "require-tuned", TMAC_OPTION_FLAG, &require_tuned, NULL,
     "fail unless every matrix was tuned on this very host with this number of threads"},
    {0, "stats", TMAC_OPTION_FLAG, &stats_wanted, NULL,
     "report on standard error where time and memory went, and the SHA-256 of all logits used"},
    {0, "json", TMAC_OPTION_FLAG, &json_wanted, NULL,
     "with --stats: one JSON object as the last line of standard error"},
    {'q', "quiet", TMAC_OPTION_FLAG, &quiet, NULL, "no report of speed and kernels"},
    {0}};

static const tmac_program program = {
    .name = "tmac-run",
    .purpose = "Prints a prompt and its continuation by a model.",
    .operands = "MODEL",
    .operands_max = 1,
    .details =
        "MODEL is a Hugging Face folder or a TM2, GGUF, llama2.c or bitllama2.c file. "
        "'--isa list' prints the instruction sets that were verified on this host and exits. See "
        "tmac-run(1).",
    .options = options,
};

static int list_isa(void)
{
    const tmac_isa_set verified = tmac_isa_verified();
    for (int isa = 0; isa < TMAC_ISA_COUNT; isa++)
        if (tmac_isa_has(verified, (tmac_isa)isa)) puts(tmac_isa_name((tmac_isa)isa));
    return fflush(stdout)
               ? tmac_report(&program, tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno)))
               : 0;
}

// What generation carries from token to token.
typedef struct generation {
    tmac_start *start;
    tmac_sampler *sampler;
    tmac_stats stats;
    uint32_t *tokens; // BOS, prompt, continuation: room for one more than `limit`
    uint32_t count;   // of the prompt, with BOS
    uint64_t began;   // when the program did
    uint32_t limit;   // positions to compute
    bool printed;     // any piece
    tmac_utf8_stream utf8;
    tmac_stop_strings *stop; // NULL: none
    bool stopped;            // by one of them
    tmac_logprobs *log;      // NULL: not wanted
} generation;

// Streams text, whole characters only.
static tmac_status print_text(generation *run, const char *piece, size_t bytes)
{
    while (bytes) {
        char out[256 + 4] = "";
        const size_t part = bytes < 256 ? bytes : 256;
        const size_t whole = tmac_utf8_feed(&run->utf8, piece, part, out);
        fwrite(out, 1, whole, stdout);
        piece += part;
        bytes -= part;
    }
    if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_ok();
}

static tmac_status print_token(generation *run, uint32_t token, bool generated)
{
    size_t bytes;
    const char *piece = tmac_tokenizer_piece(run->start->tokenizer, token, !run->printed, &bytes);
    run->printed = true;
    if (generated && run->stop)
        run->stopped = tmac_stop_strings_feed(run->stop, piece, bytes, &piece, &bytes);
    return print_text(run, piece, bytes);
}

static tmac_status read_prompt(generation *run, uint32_t context)
{
    char *text = NULL;
    size_t bytes = strlen(prompt), count;
    if (strcmp(prompt, "-") == 0) TMAC_TRY(tmac_read_stream(stdin, PROMPT_MAX, &text, &bytes));
    uint32_t *tokens;
    tmac_status status =
        tmac_start_encode(run->start, text ? text : prompt, bytes, &tokens, &count);
    free(text);
    if (status.code != TMAC_OK) return status;
    run->limit = positions == 0 || positions > context ? context : (uint32_t)positions;
    const size_t room = (count > run->limit ? count : run->limit) + (size_t)1;
    run->tokens = count <= context ? realloc(tokens, room * sizeof *tokens) : NULL;
    if (!run->tokens) {
        free(tokens);
        if (count <= context)
            return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu tokens", room);
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the prompt has %zu tokens, but the model's context holds %u", count,
                         context);
    }
    run->count = (uint32_t)count;
    return tmac_ok();
}

// Decodes the prompt in batches and prints it. *logits is the row after its last token.
static tmac_status decode_prompt(generation *run, const float **logits)
{
    // As many pieces as positions are printed, so that a prompt can be longer than what is asked for.
    const uint32_t bos = (uint32_t)tmac_tokenizer_bos(run->start->tokenizer);
    const uint32_t first = run->tokens[0] == bos;
    for (uint32_t i = first; i < run->count && i < run->limit + first; i++)
        TMAC_TRY(print_token(run, run->tokens[i], false));
    if (run->count > run->limit) return tmac_ok();
    const uint64_t started = tmac_now_ns();
    run->stats.start_ns = started - run->began;
    for (uint32_t at = 0; at < run->count;) {
        const uint32_t left = run->count - at;
        const uint32_t part = left < run->start->batch ? left : run->start->batch;
        TMAC_TRY(tmac_start_decode(run->start, run->tokens, at, part, false,
                                   part == left ? logits : NULL));
        at += part;
    }
    run->stats.prompt_tokens = run->count;
    run->stats.prompt_ns = tmac_now_ns() - started;
    return tmac_ok();
}

// Decodes tokens[at], just chosen, and behind it as many guesses as are allowed; *logits is a row for each of the
// `*rows` positions.
static tmac_status decode_with_draft(generation *run, uint32_t at, uint32_t *rows,
                                     const float **logits)
{
    uint32_t room = run->limit - at - 1, most = (uint32_t)draft_most;
    if (most > run->start->batch - 1) most = run->start->batch - 1;
    if (most > room) most = room;
    const uint32_t drafted = tmac_draft(run->tokens, at + 1, most, run->tokens + at + 1);
    TMAC_TRY(tmac_start_decode(run->start, run->tokens, at, 1 + drafted, drafted > 0, logits));
    run->stats.drafted += drafted;
    run->stats.decode_calls++;
    *rows = 1 + drafted;
    return tmac_ok();
}

// Every position is sampled once, in order, from the logits that follow the text so far. Rows are used up as long as
// the token chosen is the one that was guessed for the next of them.
static tmac_status continue_text(generation *run, const float *logits)
{
    const int32_t bos = tmac_tokenizer_bos(run->start->tokenizer);
    const size_t vocab = tmac_model_vocab(run->start->model);
    const uint64_t started = tmac_now_ns();
    uint32_t rows = 1, row = 0;
    tmac_status status = tmac_ok();
    for (uint32_t at = run->count; at <= run->limit; at++) {
        if (run->stats.hashing)
            tmac_hash_add(&run->stats.logits, logits + row * vocab, vocab * sizeof *logits);
        const uint32_t token = tmac_sample(run->sampler, logits + row * vocab);
        run->stats.generated_tokens++;
        if (run->log) tmac_logprobs_write(run->log, logits + row * vocab, token);
        if ((int32_t)token == bos || tmac_tokenizer_is_stop(run->start->tokenizer, token)) break;
        tmac_sampler_accept(run->sampler, token);
        const bool guessed = row + 1 < rows && run->tokens[at] == token;
        run->tokens[at] = token;
        status = print_token(run, token, true);
        if (status.code != TMAC_OK || run->stopped || at == run->limit) break;
        run->stats.decoded_tokens++;
        if (guessed) {
            run->stats.accepted++;
            row++;
            continue;
        }
        tmac_session_truncate(run->start->session, at);
        status = decode_with_draft(run, at, &rows, &logits);
        if (status.code != TMAC_OK) break;
        row = 0;
    }
    run->stats.decode_ns = tmac_now_ns() - started;
    return status;
}

// Everything that options ask for beside the model.
static tmac_status begin(generation *run)
{
    const uint32_t vocab = tmac_model_vocab(run->start->model);
    TMAC_TRY(tmac_sampling_new(&sampling, vocab, &run->sampler, &run->start->top));
    if (sampling.stop.count)
        TMAC_TRY(tmac_stop_strings_new(sampling.stop.items, sampling.stop.count, &run->stop));
    if (!log_path) return tmac_ok();
    run->start->top = 0; // probabilities need all logits
    return tmac_logprobs_open(log_path, run->start->tokenizer, vocab, alternatives, &run->log);
}

static tmac_status generate(generation *run)
{
    if (draft_most > TMAC_DRAFT_MAX)
        return tmac_fail(TMAC_USAGE, "--draft %llu: at most %d", (unsigned long long)draft_most,
                         TMAC_DRAFT_MAX);
    TMAC_TRY(begin(run));
    TMAC_TRY(read_prompt(run, tmac_model_context(run->start->model)));
    TMAC_TRY(tmac_start_session(run->start, run->limit));
    run->stats.hashing = stats_wanted || json_wanted;
    tmac_hash_begin(&run->stats.logits);
    const float *logits = NULL;
    TMAC_TRY(decode_prompt(run, &logits));
    for (uint32_t i = 0; i < run->count; i++)
        tmac_sampler_accept(run->sampler, run->tokens[i]);
    if (logits) TMAC_TRY(continue_text(run, logits));
    if (run->log) {
        tmac_status status = tmac_logprobs_close(run->log);
        run->log = NULL;
        if (status.code != TMAC_OK) return status;
    }

    const char *held = NULL;
    size_t held_bytes = 0;
    if (run->stop && !run->stopped) tmac_stop_strings_flush(run->stop, &held, &held_bytes);
    TMAC_TRY(print_text(run, held, held_bytes));
    char rest[4] = "";
    const size_t unfinished = tmac_utf8_flush(&run->utf8, rest);
    fwrite(rest, 1, unfinished, stdout);
    putchar('\n');
    if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_ok();
}

static tmac_status converse(generation *run)
{
    const tmac_chat_options how = {.template = template,
                                   .system = system_message,
                                   .answer_max = positions,
                                   .stop = &sampling.stop,
                                   .quiet = quiet};
    TMAC_TRY(tmac_sampling_new(&sampling, tmac_model_vocab(run->start->model), &run->sampler,
                               &run->start->top));
    return tmac_chat(run->start, run->sampler, &program, &how);
}

// The hidden state of the prompt's last token, scaled to length 1: nine digits say all of an f32.
static tmac_status embed(generation *run)
{
    TMAC_TRY(read_prompt(run, tmac_model_context(run->start->model)));
    TMAC_TRY(tmac_start_session(run->start, run->count));
    const float *logits = NULL;
    for (uint32_t at = 0; at < run->count;) {
        const uint32_t left = run->count - at;
        const uint32_t part = left < run->start->batch ? left : run->start->batch;
        TMAC_TRY(tmac_start_decode(run->start, run->tokens, at, part, false,
                                   part == left ? &logits : NULL));
        at += part;
    }
    uint32_t dim;
    const float *hidden = tmac_model_hidden(run->start->model, 0, &dim);
    double square = 0.0;
    for (uint32_t i = 0; i < dim; i++)
        square += (double)hidden[i] * (double)hidden[i];
    const double length = square > 0.0 ? sqrt(square) : 1.0;
    for (uint32_t i = 0; i < dim; i++)
        printf("%s%.9g",
               i == 0        ? (json_wanted ? "[" : "")
               : json_wanted ? ","
                             : " ",
               (double)hidden[i] / length);
    puts(json_wanted ? "]" : "");
    if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_ok();
}

static tmac_status report(generation *run)
{
    if (!quiet) tmac_stats_print(&program, &run->stats, run->start);
    if (json_wanted) return tmac_stats_print_json(&run->stats, run->start);
    if (stats_wanted) tmac_stats_print_details(&program, &run->stats, run->start);
    return tmac_ok();
}

// A float model has nothing to tune.
static tmac_status check_tuned(const char *path, const tmac_start *start)
{
    const tmac_plan *plan = tmac_model_plan(start->model);
    const tmac_rung rung = tmac_stats_rung(plan);
    if (!require_tuned || plan->entry_count == 0 || rung == TMAC_RUNG_HOST) return tmac_ok();
    return tmac_fail(TMAC_NOT_FOUND,
                     "%s: not tuned on this host with %u threads (rung %s): run 'tmac-tune --model "
                     "%s -j %u', or leave out --require-tuned",
                     path, tmac_pool_threads(start->pool), tmac_rung_name(rung), path,
                     tmac_pool_threads(start->pool));
}

int main(int argc, char **argv)
{
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    if (start_options.isa && strcmp(start_options.isa, "list") == 0) return list_isa();
    if (operand_count == 0)
        return tmac_report(&program,
                           tmac_fail(TMAC_USAGE, "missing operand: expected MODEL; try '%s --help'",
                                     program.name));
    if (chat_wanted && embedding_wanted)
        return tmac_report(&program,
                           tmac_fail(TMAC_USAGE, "--chat and --embeddings exclude each other"));
    const uint64_t began = tmac_now_ns();
    tmac_start start;
    tmac_status status = tmac_start_open(operands[0], &start_options, &program, &start);
    if (status.code != TMAC_OK) return tmac_report(&program, status);
    generation run = {.start = &start, .began = began};
    status = check_tuned(operands[0], &start);
    if (status.code == TMAC_OK && (chat_wanted || embedding_wanted)) {
        status = chat_wanted ? converse(&run) : embed(&run);
    } else if (status.code == TMAC_OK) {
        status = generate(&run);
        if (status.code == TMAC_OK) status = report(&run);
    }
    free(run.tokens);
    tmac_stop_strings_free(run.stop);
    tmac_logprobs_abort(run.log);
    tmac_sampler_free(run.sampler);
    tmac_start_close(&start);
    return tmac_report(&program, status);
}

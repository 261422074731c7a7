// tmac-eval: how well a model predicts a text.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "cli/eval_windows.h"
#include "cli/session.h"
#include "runtime/math.h"

enum { TEXT_MAX = 1 << 30 };

static tmac_start_options start_options;
static const char *text_path;
static uint64_t chunk, stride, token_limit;
static bool json_wanted;

static const tmac_option options[] = {
    {'f', "file", TMAC_OPTION_STRING, &text_path, "FILE",
     "the text to judge; - reads standard input"},
    {0, "chunk", TMAC_OPTION_UNSIGNED, &chunk, "N",
     "perplexity, compare, kl: tokens of a window, BOS included (default, and 0: the context)"},
    {0, "stride", TMAC_OPTION_UNSIGNED, &stride, "N",
     "tokens between the beginnings of windows (default, and 0: they do not overlap)"},
    {0, "limit", TMAC_OPTION_UNSIGNED, &token_limit, "N",
     "judge the first N tokens of the text (default, and 0: all)"},
    TMAC_START_ROWS(start_options),
    {0, "json", TMAC_OPTION_FLAG, &json_wanted, NULL, "print one JSON object"},
    {0}};

static const tmac_program program = {
    .name = "tmac-eval",
    .purpose = "Prints how well models predict a text.",
    .operands = "nll|perplexity|compare|kl MODEL [OTHER]",
    .operands_min = 2,
    .operands_max = 3,
    .details = "nll judges a text in one pass that must fit the model's context; perplexity judges "
               "one of\n"
               "any length in windows; compare sets OTHER against MODEL token by token; kl also "
               "says how\n"
               "far the distributions are apart. See tmac-eval(1).",
    .options = options,
};

typedef struct judgement {
    size_t tokens; // BOS included
    double nll;    // mean over the tokens after the first
    char logits_sha256[TMAC_HASH_HEX];
} judgement;

static tmac_status read_text(char **text, size_t *bytes)
{
    if (strcmp(text_path, "-") == 0) return tmac_read_stream(stdin, TEXT_MAX, text, bytes);
    FILE *file = fopen(text_path, "re");
    if (!file)
        return tmac_fail(errno == ENOENT ? TMAC_NOT_FOUND : TMAC_IO, "%s: %s", text_path,
                         strerror(errno));
    tmac_status status = tmac_read_stream(file, TEXT_MAX, text, bytes);
    fclose(file);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", text_path);
}

// The rows of logits judge the tokens that follow; the last token judges nothing and is not decoded.
static tmac_status judge_tokens(tmac_start *start, const uint32_t *tokens, judgement *result)
{
    const uint32_t count = (uint32_t)result->tokens - 1, vocab = tmac_model_vocab(start->model);
    TMAC_TRY(tmac_start_session(start, count));
    tmac_hash_state hash;
    tmac_hash_begin(&hash);
    double sum = 0.0;
    for (uint32_t at = 0; at < count;) {
        const uint32_t part = count - at < start->batch ? count - at : start->batch;
        const float *logits = NULL;
        TMAC_TRY(tmac_start_decode(start, tokens, at, part, true, &logits));
        tmac_hash_add(&hash, logits, (size_t)part * vocab * sizeof *logits);
        for (uint32_t i = 0; i < part; i++, at++)
            sum += tmac_negative_log_likelihood(logits + (size_t)i * vocab, vocab, tokens[at + 1]);
    }
    result->nll = sum / (double)count;
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash_end(&hash, digest);
    tmac_hash_hex(digest, result->logits_sha256);
    return tmac_ok();
}

static tmac_status judge(tmac_start *start, judgement *result)
{
    char *text = NULL;
    size_t bytes = 0;
    TMAC_TRY(read_text(&text, &bytes));
    uint32_t *tokens;
    tmac_status status = tmac_start_encode(start, text, bytes, &tokens, &result->tokens);
    free(text);
    if (status.code != TMAC_OK) return status;
    const uint32_t context = tmac_model_context(start->model);
    if (result->tokens < 2)
        status = tmac_fail(TMAC_BAD_FILE, "%s: the text is empty: nothing to judge", text_path);
    else if (result->tokens > context)
        status =
            tmac_fail(TMAC_UNSUPPORTED, "%s: %zu tokens with BOS, but the model's context holds %u",
                      text_path, result->tokens, context);
    else
        status = judge_tokens(start, tokens, result);
    free(tokens);
    return status;
}

static tmac_status print(const judgement *result)
{
    const double perplexity = tmac_exp(result->nll);
    if (json_wanted) {
        json_t *root = json_pack("{s:I, s:f, s:f, s:s}", "tokens", (json_int_t)result->tokens,
                                 "nll", result->nll, "perplexity", perplexity, "logits_sha256",
                                 result->logits_sha256);
        char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
        json_decref(root);
        if (!text) return tmac_fail(TMAC_UNSUPPORTED, "the likelihood is not a finite number");
        puts(text);
        free(text);
    } else {
        printf("tokens %zu  nll %.6f  perplexity %.4f\n", result->tokens, result->nll, perplexity);
    }
    if (fflush(stdout)) return tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_ok();
}

// -------------------------------------------------------------------------------------------------------- windows

static json_t *mean_json(const tmac_mean *mean)
{
    return json_pack("{s:f, s:f}", "mean", mean->mean, "error", tmac_mean_error(mean));
}

static tmac_status print_comparison_json(const tmac_comparison *result, uint32_t models, bool kl)
{
    json_t *root =
        json_pack("{s:I, s:I, s:o, s:f}", "tokens", (json_int_t)result->nll[0].count, "windows",
                  (json_int_t)result->windows, "nll", mean_json(&result->nll[0]), "perplexity",
                  tmac_exp(result->nll[0].mean));
    if (models > 1) {
        json_object_set_new(root, "other_nll", mean_json(&result->nll[1]));
        json_object_set_new(root, "other_perplexity", json_real(tmac_exp(result->nll[1].mean)));
        json_object_set_new(root, "difference", mean_json(&result->difference));
        json_object_set_new(
            root, "same_choice",
            json_real((double)result->same_choice / (double)result->difference.count));
    }
    if (kl) {
        json_object_set_new(root, "divergence", mean_json(&result->divergence));
        json_object_set_new(root, "divergence_median", json_real(result->median));
        json_object_set_new(root, "divergence_p99", json_real(result->p99));
        json_object_set_new(root, "divergence_max", json_real(result->max));
    }
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return tmac_fail(TMAC_UNSUPPORTED, "the likelihood is not a finite number");
    puts(text);
    free(text);
    return tmac_ok();
}

// The error of a perplexity follows from that of the mean it is the exponential of.
static void print_perplexity(const char *label, const tmac_mean *nll)
{
    const double perplexity = tmac_exp(nll->mean);
    printf("%-12s nll %.5f +- %.5f  perplexity %.4f +- %.4f\n", label, nll->mean,
           tmac_mean_error(nll), perplexity, perplexity * tmac_mean_error(nll));
}

static tmac_status print_comparison(const tmac_comparison *result, uint32_t models, bool kl)
{
    if (json_wanted) return print_comparison_json(result, models, kl);
    printf("tokens %llu  windows %u\n", (unsigned long long)result->nll[0].count, result->windows);
    print_perplexity(models > 1 ? "MODEL" : "", &result->nll[0]);
    if (models == 1) return tmac_ok();
    print_perplexity("OTHER", &result->nll[1]);
    printf("%-12s nll %+.5f +- %.5f  perplexity x %.5f\n", "difference", result->difference.mean,
           tmac_mean_error(&result->difference), tmac_exp(result->difference.mean));
    printf("%-12s %.3f %% of tokens\n", "same choice",
           100.0 * (double)result->same_choice / (double)result->difference.count);
    if (kl)
        printf("%-12s mean %.6f +- %.6f  median %.6f  99 %% %.6f  largest %.6f nats\n",
               "divergence", result->divergence.mean, tmac_mean_error(&result->divergence),
               result->median, result->p99, result->max);
    return tmac_ok();
}

static tmac_status encode_text(const tmac_start *start, const char *text, size_t bytes,
                               uint32_t **tokens, size_t *count)
{
    TMAC_TRY(tmac_tokenizer_encode(start->tokenizer, text, bytes, tokens, count));
    if (token_limit && *count > token_limit) *count = token_limit;
    return tmac_ok();
}

static tmac_status judge_windows(tmac_start *const *models, uint32_t model_count, const char *text,
                                 size_t bytes, bool kl)
{
    uint32_t *tokens = NULL, *others = NULL;
    size_t count = 0, other_count = 0;
    uint32_t context = tmac_model_context(models[0]->model);
    tmac_status status = encode_text(models[0], text, bytes, &tokens, &count);
    if (status.code == TMAC_OK && model_count > 1) {
        status = encode_text(models[1], text, bytes, &others, &other_count);
        if (tmac_model_context(models[1]->model) < context)
            context = tmac_model_context(models[1]->model);
        if (status.code == TMAC_OK &&
            (tmac_model_vocab(models[0]->model) != tmac_model_vocab(models[1]->model) ||
             count != other_count || memcmp(tokens, others, count * sizeof *tokens) != 0))
            status = tmac_fail(TMAC_UNSUPPORTED,
                               "the two models have different vocabularies: their tokens cannot be "
                               "compared");
    }
    const uint64_t window = chunk == 0 || chunk > context ? context : chunk;
    const uint64_t step = stride == 0 ? window - 1 : stride;
    tmac_comparison result;
    if (status.code == TMAC_OK && count < 2)
        status = tmac_fail(TMAC_BAD_FILE, "%s: the text is empty: nothing to judge", text_path);
    if (status.code == TMAC_OK && (window < 2 || step > window - 1))
        status = tmac_fail(TMAC_USAGE,
                           "--chunk %llu --stride %llu: a window has at least 2 tokens, and the "
                           "next begins within it",
                           (unsigned long long)chunk, (unsigned long long)stride);
    if (status.code == TMAC_OK)
        status = tmac_eval_windows(models, model_count, tokens, count, (uint32_t)window,
                                   (uint32_t)step, &result);
    if (status.code == TMAC_OK) status = print_comparison(&result, model_count, kl);
    free(tokens);
    free(others);
    return status;
}

static tmac_status eval_windows(char *const *paths, uint32_t model_count, bool kl)
{
    tmac_start starts[2];
    tmac_start *const models[2] = {&starts[0], &starts[1]};
    char *text = NULL;
    size_t bytes = 0;
    uint32_t opened = 0;
    tmac_status status = read_text(&text, &bytes);
    for (; opened < model_count && status.code == TMAC_OK; opened++) {
        status = tmac_start_open(paths[opened], &start_options, &program, &starts[opened]);
        if (status.code != TMAC_OK) break;
    }
    if (status.code == TMAC_OK) status = judge_windows(models, model_count, text, bytes, kl);
    while (opened)
        tmac_start_close(&starts[--opened]);
    free(text);
    if (status.code == TMAC_OK && fflush(stdout))
        status = tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return status;
}

// The measures and how many models each takes.
static const struct {
    const char *name;
    uint32_t models;
} measures[] = {{"nll", 1}, {"perplexity", 1}, {"compare", 2}, {"kl", 2}};

int main(int argc, char **argv)
{
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    uint32_t models = 0;
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++)
        if (strcmp(operands[0], measures[i].name) == 0) models = measures[i].models;
    if (models == 0)
        return tmac_report(
            &program, tmac_fail(TMAC_USAGE,
                                "unknown measure '%.40s': expected nll, perplexity, compare or kl",
                                operands[0]));
    if (operand_count != models + 1)
        return tmac_report(&program,
                           tmac_fail(TMAC_USAGE, "%s judges %u model%s, not %zu", operands[0],
                                     models, models == 1 ? "" : "s", operand_count - 1));
    if (!text_path)
        return tmac_report(
            &program,
            tmac_fail(TMAC_USAGE, "a text is needed: -f FILE; try '%s --help'", program.name));
    if (strcmp(operands[0], "nll") != 0)
        return tmac_report(&program, eval_windows(operands + 1, models, operands[0][0] == 'k'));
    tmac_start start;
    tmac_status status = tmac_start_open(operands[1], &start_options, &program, &start);
    if (status.code != TMAC_OK) return tmac_report(&program, status);
    judgement result;
    status = judge(&start, &result);
    if (status.code == TMAC_OK) status = print(&result);
    tmac_start_close(&start);
    return tmac_report(&program, status);
}

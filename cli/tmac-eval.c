// tmac-eval: how well a model predicts a text.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "cli/session.h"
#include "runtime/math.h"

enum { TEXT_MAX = 1 << 30 };

static tmac_start_options start_options;
static const char *text_path;
static bool json_wanted;

static const tmac_option options[] = {
    {'f', "file", TMAC_OPTION_STRING, &text_path, "FILE",
     "the text to judge; - reads standard input"},
    TMAC_START_ROWS(start_options),
    {0, "json", TMAC_OPTION_FLAG, &json_wanted, NULL, "print one JSON object"},
    {0}};

static const tmac_program program = {
    .name = "tmac-eval",
    .purpose = "Prints the mean negative log-likelihood, in nats, that a model gives to a text.",
    .operands = "nll MODEL",
    .operands_min = 2,
    .operands_max = 2,
    .details = "BOS comes first and is not judged; the text must fit the model's context. See "
               "tmac-eval(1).",
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

int main(int argc, char **argv)
{
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    if (strcmp(operands[0], "nll") != 0)
        return tmac_report(
            &program, tmac_fail(TMAC_USAGE, "unknown measure '%.40s': expected nll", operands[0]));
    if (!text_path)
        return tmac_report(
            &program,
            tmac_fail(TMAC_USAGE, "a text is needed: -f FILE; try '%s --help'", program.name));
    tmac_start start;
    tmac_status status = tmac_start_open(operands[1], &start_options, &program, &start);
    if (status.code != TMAC_OK) return tmac_report(&program, status);
    judgement result;
    status = judge(&start, &result);
    if (status.code == TMAC_OK) status = print(&result);
    tmac_start_close(&start);
    return tmac_report(&program, status);
}

#include "cli/logprobs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "runtime/utf8.h"

enum { ALTERNATIVES_MAX = 1000 };

struct tmac_logprobs {
    const tmac_tokenizer *tokenizer;
    uint32_t vocab, count;
    tmac_token_probability *top;
    tmac_output output;
};

tmac_status tmac_logprobs_open(const char *path, const tmac_tokenizer *tokenizer, uint32_t vocab,
                               uint64_t alternatives, tmac_logprobs **log)
{
    *log = NULL;
    if (alternatives > ALTERNATIVES_MAX)
        return tmac_fail(TMAC_USAGE, "--alternatives %llu: at most %d",
                         (unsigned long long)alternatives, ALTERNATIVES_MAX);
    tmac_logprobs *made = calloc(1, sizeof *made);
    if (made) made->top = calloc((size_t)alternatives + 1, sizeof *made->top);
    if (!made || !made->top) {
        free(made);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %llu alternatives",
                         (unsigned long long)alternatives);
    }
    made->tokenizer = tokenizer;
    made->vocab = vocab;
    made->count = alternatives < vocab ? (uint32_t)alternatives : vocab;
    tmac_status status = tmac_output_open(path, &made->output);
    if (status.code != TMAC_OK) {
        free(made->top);
        free(made);
        return status;
    }
    *log = made;
    return tmac_ok();
}

// Bytes that are no UTF-8, as single bytes of a character are, become U+FFFD.
static json_t *text_of(const tmac_tokenizer *tokenizer, uint32_t token)
{
    size_t bytes, used = 0;
    const char *piece = tmac_tokenizer_piece(tokenizer, token, false, &bytes);
    char *text = malloc(3 * bytes + 1);
    for (size_t at = 0; text && at < bytes;) {
        const int length = tmac_utf8_character(piece + at, bytes - at);
        const size_t taken = length > 0 ? (size_t)length : 1;
        memcpy(text + used, length > 0 ? piece + at : "\xef\xbf\xbd", length > 0 ? taken : 3);
        used += length > 0 ? taken : 3;
        at += taken;
    }
    json_t *made = text ? json_stringn(text, used) : NULL;
    free(text);
    return made;
}

static json_t *entry(const tmac_logprobs *log, uint32_t token, double log_probability)
{
    return json_pack("{s:I, s:o, s:f}", "token", (json_int_t)token, "text",
                     text_of(log->tokenizer, token), "logprob", log_probability);
}

void tmac_logprobs_write(tmac_logprobs *log, const float *logits, uint32_t token)
{
    json_t *one = entry(log, token, -tmac_negative_log_likelihood(logits, log->vocab, token));
    json_t *others = json_array();
    tmac_likeliest(logits, log->vocab, log->count, log->top);
    for (uint32_t i = 0; i < log->count; i++)
        json_array_append_new(others, entry(log, log->top[i].token, log->top[i].log_probability));
    json_object_set_new(one, "top", others);
    char *text = one ? json_dumps(one, JSON_COMPACT) : NULL;
    json_decref(one);
    if (text) {
        tmac_output_write(&log->output, text, strlen(text));
        tmac_output_write(&log->output, "\n", 1);
    } else if (log->output.status.code == TMAC_OK) {
        log->output.status =
            tmac_fail(TMAC_UNSUPPORTED, "a log-probability is not a finite number");
    }
    free(text);
}

tmac_status tmac_logprobs_close(tmac_logprobs *log)
{
    tmac_status status = tmac_output_commit(&log->output);
    free(log->top);
    free(log);
    return status;
}

void tmac_logprobs_abort(tmac_logprobs *log)
{
    if (!log) return;
    tmac_output_abort(&log->output);
    free(log->top);
    free(log);
}

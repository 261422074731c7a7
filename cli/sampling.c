#include "cli/sampling.h"

#include <stdlib.h>
#include <string.h>

enum { BIASES_MAX = 1024 };

static tmac_status parse_biases(const char *text, tmac_logit_bias *biases, uint32_t *count)
{
    *count = 0;
    while (text && *text) {
        char *end;
        const unsigned long long token = strtoull(text, &end, 10);
        const bool numbered = end != text && *text >= '0' && *text <= '9' && *end == ':';
        const char *value = end + 1;
        const float bias = numbered ? strtof(value, &end) : 0.0f;
        if (!numbered || end == value || (*end && *end != ',') || token > UINT32_MAX)
            return tmac_fail(TMAC_USAGE, "--logit-bias: '%.40s' is not ID:BIAS", text);
        if (*count == BIASES_MAX)
            return tmac_fail(TMAC_USAGE, "--logit-bias: at most %d tokens", BIASES_MAX);
        biases[(*count)++] = (tmac_logit_bias){(uint32_t)token, bias};
        text = *end ? end + 1 : end;
    }
    return tmac_ok();
}

tmac_status tmac_sampling_new(const tmac_sampling_options *options, uint32_t vocab,
                              tmac_sampler **sampler, uint32_t *top)
{
    tmac_logit_bias biases[BIASES_MAX];
    tmac_sampler_options how = {
        .temperature = options->temperature,
        .top_p = options->top_p,
        // More than any vocabulary: all.
        .top_k = options->top_k > UINT32_MAX ? 0 : (uint32_t)options->top_k,
        .seed = options->seed,
        .min_p = options->min_p,
        .typical = options->typical,
        .repetition = options->repetition,
        .presence = options->presence,
        .frequency = options->frequency,
        .window = options->window > UINT32_MAX ? UINT32_MAX : (uint32_t)options->window,
        .biases = biases,
    };
    TMAC_TRY(parse_biases(options->bias, biases, &how.bias_count));
    TMAC_TRY(tmac_sampler_new(vocab, &how, sampler));
    *top = tmac_sampler_needs_all(*sampler) ? 0 : how.temperature > 0.0f ? how.top_k : 1;
    return tmac_ok();
}

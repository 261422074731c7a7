// The options that say how tokens are chosen, shared by the programs that generate.
#ifndef TMAC_CLI_SAMPLING_H
#define TMAC_CLI_SAMPLING_H

#include "base/options.h"
#include "runtime/tmac.h"

typedef struct tmac_sampling_options {
    float temperature, top_p, min_p, typical, repetition, presence, frequency;
    uint64_t top_k, window, seed;
    const char *bias;  // "ID:BIAS,ID:BIAS"
    tmac_strings stop; // strings that end the text
} tmac_sampling_options;

#define TMAC_SAMPLING_DEFAULTS                                                                     \
    {                                                                                              \
        .temperature = 1.0f, .top_p = 0.9f, .seed = 1                                              \
    }

// clang-format off
#define TMAC_SAMPLING_ROWS(options)                                                                \
    {'t', "temperature", TMAC_OPTION_FLOAT, &(options).temperature, "T",                           \
     "0 always takes the likeliest token; higher is more random (default 1)"},                     \
    {'p', "top-p", TMAC_OPTION_FLOAT, &(options).top_p, "P",                                       \
     "draw from the likeliest tokens that have this share of probability (default 0.9; 1: all)"},  \
    {'k', "top-k", TMAC_OPTION_UNSIGNED, &(options).top_k, "K",                                    \
     "draw from the K likeliest tokens (default, and 0: all)"},                                    \
    {0, "min-p", TMAC_OPTION_FLOAT, &(options).min_p, "P",                                         \
     "leave out tokens less likely than P times the likeliest (default 0: off)"},                  \
    {0, "typical", TMAC_OPTION_FLOAT, &(options).typical, "P",                                     \
     "draw from the tokens as surprising as expected that have this share of probability "         \
     "(default, and 0 and 1: off)"},                                                               \
    {0, "repeat-penalty", TMAC_OPTION_FLOAT, &(options).repetition, "X",                           \
     "divide the logits of recent tokens by X (default, and 0 and 1: off)"},                       \
    {0, "presence-penalty", TMAC_OPTION_FLOAT, &(options).presence, "X",                           \
     "lower the logits of recent tokens by X (default 0)"},                                        \
    {0, "frequency-penalty", TMAC_OPTION_FLOAT, &(options).frequency, "X",                         \
     "lower the logits of recent tokens by X for each time (default 0)"},                          \
    {0, "penalty-window", TMAC_OPTION_UNSIGNED, &(options).window, "N",                            \
     "tokens that count as recent (default, and 0: 64)"},                                          \
    {0, "logit-bias", TMAC_OPTION_STRING, &(options).bias, "LIST",                                 \
     "add to logits, by token id: 17:-5,42:2.5; -inf forbids a token"},                            \
    {0, "stop", TMAC_OPTION_STRINGS, &(options).stop, "TEXT",                                      \
     "end before TEXT would be printed; may be given several times"},                              \
    {'s', "seed", TMAC_OPTION_UNSIGNED, &(options).seed, "SEED",                                   \
     "seed of the random choice; one seed gives one text (default 1)"}
// clang-format on

// A sampler for a vocabulary of this size. *top is what tmac_decode_top may be told: 0 where all logits matter.
tmac_status tmac_sampling_new(const tmac_sampling_options *options, uint32_t vocab,
                              tmac_sampler **sampler, uint32_t *top);

#endif

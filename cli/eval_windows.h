// Judging a text of any length by one model, or by two side by side.
//
// The text is cut into windows of `chunk` tokens, BOS in front of each. A window begins `stride` tokens after the one
// before it; tokens that an earlier window has judged are context. stride = chunk: windows do not overlap.
#ifndef TMAC_CLI_EVAL_WINDOWS_H
#define TMAC_CLI_EVAL_WINDOWS_H

#include "cli/session.h"

// The mean of many numbers, and how uncertain it is: the standard error, taking the numbers for independent.
typedef struct tmac_mean {
    uint64_t count;
    double mean, squares; // sum of squared distances from the mean
} tmac_mean;
double tmac_mean_error(const tmac_mean *mean);

typedef struct tmac_comparison {
    tmac_mean nll[2];        // nats a token, of each model
    tmac_mean difference;    // of the second less the first
    tmac_mean divergence;    // Kullback-Leibler, of the second from the first, nats
    double median, p99, max; // of the divergences
    uint64_t same_choice;    // tokens for which both have the same likeliest one
    uint32_t windows;
} tmac_comparison;

// tokens: of the whole text, without BOS. models: 1 or 2 of the same vocabulary, each with room for a session.
tmac_status tmac_eval_windows(tmac_start *const *models, uint32_t model_count,
                              const uint32_t *tokens, size_t count, uint32_t chunk, uint32_t stride,
                              tmac_comparison *result);

#endif

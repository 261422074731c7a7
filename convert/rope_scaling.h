// How models stretch RoPE beyond the context they were trained on, as divisors of the frequencies. Private to convert/.
#ifndef TMAC_CONVERT_ROPE_SCALING_H
#define TMAC_CONVERT_ROPE_SCALING_H

#include "runtime/source.h"

typedef enum tmac_rope_kind {
    TMAC_ROPE_PLAIN,
    TMAC_ROPE_LINEAR, // all frequencies divided by the factor
    TMAC_ROPE_LLAMA3, // long wavelengths only, with a smooth passage
    TMAC_ROPE_YARN,   // by dimension, with a ramp between two of them, and larger cosines and sines
} tmac_rope_kind;

typedef struct tmac_rope_parameters {
    tmac_rope_kind kind;
    double factor;
    double original_context; // what the model was trained on: llama3, yarn
    double low, high;        // llama3: wavelengths of original_context / low and longer are divided
    double beta_fast, beta_slow; // yarn; 0: 32 and 1
    double attention_factor;     // yarn; 0: 1 + 0.1 ln(factor)
} tmac_rope_parameters;

// "none" or "default", "linear", "llama3", "yarn"; TMAC_UNSUPPORTED with the list for others.
tmac_status tmac_rope_kind_parse(const char *text, size_t bytes, tmac_rope_kind *kind);

// Sets rope_divisors and rope_magnitude of a source whose rope_theta and rope_dims are known.
tmac_status tmac_rope_scale(tmac_source *source, const tmac_rope_parameters *parameters);

#endif

// Model files in and out.
//
//   tmac_source_open    any file we read -> the neutral form (runtime/source.h)
//   tmac_tm2_write      the neutral form -> TM2
//   tmac_vocabulary_*   a separate tokenizer file -> vocabulary
//   tmac_synth_write    random integer weights at a real shape -> TM2
#ifndef TMAC_CONVERT_CONVERT_H
#define TMAC_CONVERT_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "runtime/source.h"

typedef enum tmac_bit_order {
    TMAC_BIT_ORDER_UNKNOWN, // refuse bitllama2.c files that are not recognised by SHA-256
    TMAC_BIT_ORDER_MSB,     // the first code of a byte is in bits 6-7
    TMAC_BIT_ORDER_LSB,     // in bits 0-1
} tmac_bit_order;

typedef struct tmac_open_options {
    tmac_bit_order bit_order;
    const char *
        tokenizer; // a separate tokenizer file that replaces the vocabulary of the model file; NULL: none
    bool
        defer_checks; // source->check_weights may be left to do: for who may need no weights at all
} tmac_open_options;

// Recognises the format by content and opens it. On failure *source is zeroed and nothing is owned.
tmac_status tmac_source_open(const char *path, const tmac_open_options *options,
                             tmac_source *source);

// "msb" or "lsb"; NULL leaves UNKNOWN.
tmac_status tmac_bit_order_parse(const char *text, tmac_bit_order *order);

// Reads a vocabulary alone: tokenizer.json, tokenizer.model (sentencepiece or tiktoken), a llama2.c tokenizer.bin, a GGUF
// (with or without tensors), a TM2, or a folder with one of the first three. expected: the model's vocabulary size, to
// be checked; 0 takes what the file has. The first two are filled up with unused pieces where the model's table is
// longer. Free with tmac_vocabulary_free.
tmac_status tmac_vocabulary_open(const char *path, uint32_t expected, tmac_vocabulary *vocabulary);

// The vocabulary of a model folder of Hugging Face, with the tokens that its other files name. size 0 where the folder
// has none.
tmac_status tmac_vocabulary_open_folder(const char *path, uint32_t expected,
                                        tmac_vocabulary *vocabulary);
void tmac_vocabulary_free(tmac_vocabulary *vocabulary);

// Writes TM2. strict: only what the oldest readers can read (no extension; scales rounded to f16; refused where the
// body cannot express the model at all).
tmac_status tmac_tm2_write(const tmac_source *source, const char *path, bool strict);

// Reads a TM2 whole and compares every tensor with the SHA-256 that its extension recorded for it.
tmac_status tmac_tm2_verify(const char *path);

typedef struct tmac_synth_shape {
    uint32_t dim, hidden, layers, heads, kv_heads, vocab, context;
    bool bitnet;    // sub-norms and squared ReLU
    bool bf16_head; // embedding stored as bf16 (else f32)
    bool tied;
    float rope_theta;
    // Of the layers: TMAC_TERNARY, TMAC_Q1 .. TMAC_Q4; 0 counts as TMAC_TERNARY.
    tmac_number weights;
    // Weights of a row that share a scale, all of a row that is shorter; 0: one scale for the tensor.
    uint32_t group;
} tmac_synth_shape;

// A named real shape ("bitnet-2b-4t", "bitnet-2b-4t,weights=q4,group=32", ...), or "dim=..,hidden=..,..". TMAC_USAGE with the list when unknown.
tmac_status tmac_synth_parse(const char *text, tmac_synth_shape *shape);
// Deterministic from the seed; TM2 with extension.
tmac_status tmac_synth_write(const tmac_synth_shape *shape, uint64_t seed, const char *path);

#endif

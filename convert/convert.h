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

// The order of digits in uint8 tensors of base-3 digits, which some converters write. It also decides where bytes can be
// read as 2-bit fields too.
typedef enum tmac_base3 {
    TMAC_BASE3_UNKNOWN, // refuse them, and bytes that can be read either way
    TMAC_BASE3_ROWS,    // digit i of byte (r, c): row r + i * rows / 4
    TMAC_BASE3_FLAT,    // four weights side by side
    TMAC_BASE3_NONE,    // refuse them; bytes that can be read either way are 2-bit fields
} tmac_base3;

// How the weights of a GGUF's I2_S tensors lie, which the file does not say.
typedef enum tmac_i2s_layout {
    TMAC_I2S_CANONICAL, // blocks of 128 in 32 bytes
    TMAC_I2S_NEON64, // blocks of 64 in 16 bytes: quantized on 64-bit Arm by bitnet.cpp since 2025-11
    TMAC_I2S_X86X4,  // four rows in a byte: by an x86 build without ACT_PARALLEL
} tmac_i2s_layout;

typedef struct tmac_open_options {
    tmac_bit_order bit_order;
    tmac_base3 base3;
    tmac_i2s_layout i2s_layout;
    const char *
        tokenizer; // a separate tokenizer file that replaces the vocabulary of the model file; NULL: none
    bool
        defer_checks; // source->check_weights may be left to do: for who may need no weights at all
} tmac_open_options;

// Recognises the format by content and opens it. On failure *source is zeroed and nothing is owned.
tmac_status tmac_source_open(const char *path, const tmac_open_options *options,
                             tmac_source *source);

// "msb" or "lsb"; "rows", "flat" or "none"; "canonical", "neon64" or "x86x4". NULL leaves 0.
tmac_status tmac_bit_order_parse(const char *text, tmac_bit_order *order);
tmac_status tmac_base3_parse(const char *text, tmac_base3 *base3);
tmac_status tmac_i2s_layout_parse(const char *text, tmac_i2s_layout *layout);

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

// Writes GGUF with the projections in `type`: f32, f16, bf16, q8_0, tq1_0, tq2_0 or i2_s. note: for the user, where
// the type had to give way to another and where not every program reads the file; else empty.
enum { TMAC_NOTE_BYTES = 256 };
tmac_status tmac_gguf_write(const tmac_source *source, const char *path, const char *type,
                            char note[TMAC_NOTE_BYTES]);

// Writes TMAC v1: codes without scales, the embedding rounded to ternary. Another model than the source.
tmac_status tmac_tmac1_write(const tmac_source *source, const char *path);

// Rounds the float projections of an open source, which then belongs to one thread (convert/quantize.c has the rules).
typedef enum tmac_quantization {
    TMAC_QUANTIZE_TERNARY,        // a scale for each row: TM2's rule
    TMAC_QUANTIZE_TERNARY_TENSOR, // a scale for the tensor: TMAC v1's threshold
    TMAC_QUANTIZE_Q4,             // groups of 32
} tmac_quantization;
typedef struct tmac_quantize_report {
    uint64_t weights, zeros, scales;
    double squared_error, squares, scale_sum; // sums
    float scale_low, scale_high;              // magnitudes
} tmac_quantize_report;
tmac_status tmac_quantize(tmac_source *source, tmac_quantization kind,
                          tmac_quantize_report *report);

// Reads a TM2 whole and compares every tensor with the SHA-256 that its extension recorded for it.
tmac_status tmac_tm2_verify(const char *path);

// What only some architectures have (runtime/source.h).
typedef struct tmac_synth_extras {
    bool bias, head_norms; // of q, k and v; of query and key heads
    uint32_t rank;         // of a correction beside every projection; 0: none
    uint32_t head_dim;     // 0: dim / heads
    uint32_t rope;         // a tmac_rope_kind: 0 plain, 1 linear, 2 llama3, 3 yarn
} tmac_synth_extras;

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
    tmac_synth_extras extras;
} tmac_synth_shape;

// A named real shape ("bitnet-2b-4t", "bitnet-2b-4t,weights=q4,group=32", ...), or "dim=..,hidden=..,..". TMAC_USAGE with the list when unknown.
tmac_status tmac_synth_parse(const char *text, tmac_synth_shape *shape);
// Deterministic from the seed; TM2 with extension.
tmac_status tmac_synth_write(const tmac_synth_shape *shape, uint64_t seed, const char *path);
// The same model as a Hugging Face folder in the layout of microsoft/bitnet-b1.58-2B-4T: scales rounded to bf16.
tmac_status tmac_synth_write_huggingface(const tmac_synth_shape *shape, uint64_t seed,
                                         const char *folder);

#endif

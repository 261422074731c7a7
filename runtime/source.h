// The neutral form of a model: what every reader of model files produces and what the transformer is built from.
//
// A source describes; it rarely copies. Matrices point into the mapped file and come with a function that decodes rows
// on demand, so that a 2B model needs no unpacked copy. Rules that make two files of one model give the same bits:
//   - Q and K rows are in interleaved-pair RoPE order: pair i of a head is rows 2i and 2i+1. Readers of half-split files
//     permute on reading (tmac_matrix.half_split_head).
//   - Absent norms are present as constants. Norm vectors are f32.
//   - A matrix that holds only {-s, 0, +s} per scale group is ternary, whatever its type in the file.
#ifndef TMAC_RUNTIME_SOURCE_H
#define TMAC_RUNTIME_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"

typedef enum tmac_number {
    TMAC_F32,
    TMAC_F16,
    TMAC_BF16,
    TMAC_TERNARY, // integers from here on: -1, 0, +1;
    TMAC_Q1,      // -1, +1;
    TMAC_Q2,      // -2 .. 1;
    TMAC_Q3,      // -4 .. 3;
    TMAC_Q4,      // -8 .. 7
} tmac_number;

// Whether weights are small integers with scales.
static inline bool tmac_number_is_integer(tmac_number number)
{
    return number >= TMAC_TERNARY;
}

// The format of integer weights as layouts and input sets name it: 't', '1' .. '4' (runtime/kernel.h).
static inline char tmac_number_format(tmac_number number)
{
    return "t1234"[number - TMAC_TERNARY];
}

typedef struct tmac_matrix tmac_matrix;
struct tmac_matrix {
    const char *name; // "blk.3.ffn_up", for messages; owned by the source
    tmac_number number;
    uint32_t rows, columns; // (out, in)

    // Integer matrices: w = code * scale.
    uint32_t group; // weights of a row that share a scale: columns for tensor and row scales
    uint32_t
        scale_count; // 1: the tensor's; rows: one a row; rows * ceil(columns / group): group scales, row-major
    const float *scales; // multiplicative, f32

    // Decodes `count` rows from `first`: int8 codes for integer matrices, f32 values for float ones; output
    // is count x columns, row-major. Rows are numbered in neutral order: the permutation has been applied.
    void (*read_codes)(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes);
    void (*read_float)(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values);

    // Float matrices whose rows can be used where they lie, in neutral order (number says how): rows x columns.
    const void *in_place; // NULL when they cannot

    // Private to the reader.
    const void *data;
    uint32_t
        half_split_head; // rows of one head in half-split order; 0: rows are in neutral order already
    uint32_t detail;
};

// The neutral row that a reader of a half-split matrix finds at the returned row of the file. Interleaved row 2i + b of
// a head is half-split row i + b * head / 2. head = 0: the identity.
static inline uint32_t tmac_file_row(uint32_t neutral_row, uint32_t head)
{
    if (head == 0) return neutral_row;
    uint32_t in_head = neutral_row % head;
    return neutral_row - in_head + in_head / 2 + (in_head % 2) * (head / 2);
}

typedef enum tmac_activation { TMAC_SILU, TMAC_RELU2 } tmac_activation; // act(gate) * up

// A correction of low rank: y += up . (down . x), of the float vector that the projection reads.
typedef struct tmac_low_rank {
    uint32_t rank;     // 0: none
    const float *down; // [rank, columns]
    const float *up;   // [rows, rank], rows in neutral order
} tmac_low_rank;

enum { TMAC_SOURCE_PARTS = 7 }; // query, key, value, output, gate, up, down

// What only some architectures have; all zero: nothing (runtime/extras.h).
typedef struct tmac_source_extras {
    const float *bias[3];               // of query, key, value, as many as rows; NULL: none
    const float *query_norm, *key_norm; // [head_dim], of every head before its rotation; NULL: none
    tmac_low_rank low[TMAC_SOURCE_PARTS]; // by projection
} tmac_source_extras;

typedef struct tmac_source_layer {
    const float *attention_norm;   // [dim]
    tmac_matrix query, key, value; // [heads * head_dim, dim], [kv_heads * head_dim, dim] twice
    const float
        *attention_sub_norm;   // [heads * head_dim] before the output projection; NULL: no sub-norm
    tmac_matrix output;        // [dim, heads * head_dim]
    const float *ffn_norm;     // [dim]
    tmac_matrix gate, up;      // [hidden, dim]
    const float *ffn_sub_norm; // [hidden] before the down projection; NULL: no sub-norm
    tmac_matrix down;          // [dim, hidden]
    tmac_source_extras extras;
} tmac_source_layer;

// A vocabulary as files hold it, before a tokenizer is made of it.
typedef enum tmac_piece_kind {
    TMAC_PIECE_NORMAL = 1, // the numbers of GGUF's token_type
    TMAC_PIECE_UNKNOWN = 2,
    TMAC_PIECE_CONTROL = 3,
    TMAC_PIECE_USER = 4,
    TMAC_PIECE_UNUSED = 5,
    TMAC_PIECE_BYTE = 6,
} tmac_piece_kind;

typedef struct tmac_piece {
    const char *text; // `bytes` bytes, no NUL needed; U+2581 already replaced by a space
    uint32_t bytes;
    float score;
    uint8_t kind; // tmac_piece_kind
} tmac_piece;

typedef enum tmac_vocabulary_kind {
    TMAC_VOCABULARY_SPM, // sentencepiece: texts are merged from characters, what is left over becomes bytes
    TMAC_VOCABULARY_BPE, // byte-level BPE: texts are cut into words by a pattern, words are merged from bytes
} tmac_vocabulary_kind;

// Two adjacent pieces that become one, the piece with the bytes of both.
typedef struct tmac_merge {
    uint32_t left, right; // ids
} tmac_merge;

enum { TMAC_PATTERN_BYTES = 1024, TMAC_STOPS_MAX = 16, TMAC_CHAT_NAME_BYTES = 16 };

typedef struct tmac_vocabulary {
    uint32_t size; // 0: the file has none
    tmac_piece *pieces;
    int32_t bos, eos, unknown; // -1: none
    bool add_bos;              // a text starts with BOS
    bool add_space_prefix;     // a non-empty text starts with a space

    tmac_vocabulary_kind kind;
    char pattern
        [TMAC_PATTERN_BYTES]; // BPE: the regular expression (PCRE2) whose matches are words; "": none. Several lines: the
                              // words of one are cut further by the next
    bool nfc;             // a text is brought to Unicode's normal form C first
    bool whole_words;     // BPE: a word that is a piece is that piece, whatever the merges say
    tmac_merge *merges;   // the first is done first; a block of its own
    uint32_t merge_count; // 0: the piece with the best score is merged first

    uint32_t stops[TMAC_STOPS_MAX]; // tokens that end a text, beside eos
    uint32_t stop_count;
    char
        chat[TMAC_CHAT_NAME_BYTES]; // the form of its conversations (runtime/chat.h); "": not known
} tmac_vocabulary;

typedef struct tmac_source {
    char path[1024];
    char format[32];       // "llama2.c v0", "bitllama2.c", "GGUF v3", "TM2": for people
    char architecture[32]; // "llama", "bitnet"

    uint32_t dim, hidden, layer_count, heads, kv_heads, head_dim, vocab, context;
    float norm_epsilon;       // of the norms inside the layers
    float final_norm_epsilon; // of the last one
    float rope_theta;
    uint32_t rope_dims; // leading dimensions of a head that are rotated; == head_dim for all so far
    // RoPE scaling: frequency i is theta^(-2i / rope_dims) / rope_divisors[i], and cosines and sines are multiplied by
    // rope_magnitude.
    const float *rope_divisors; // [rope_dims / 2]; NULL: ones
    float rope_magnitude;       // 0 counts as 1
    tmac_activation activation;
    bool tied_head; // head == embedding

    tmac_matrix embedding;     // [vocab, dim], a float number
    const float *final_norm;   // [dim]
    tmac_matrix head;          // [vocab, dim]; a copy of `embedding` when tied
    tmac_source_layer *layers; // [layer_count]

    tmac_vocabulary vocabulary;

    uint8_t recorded_hash[32]; // what the file itself records of all its tensors, where it does
    bool has_recorded_hash;

    // Opening took looking at every weight, or copying them: a TM2 of this model opens at once.
    bool laborious;

    // Checks what opening left unchecked because it takes reading the whole file: that every weight is one. NULL:
    // nothing. Who reads ternary rows calls it first (tmac_model_new does, unless it has them packed already).
    bool deferring; // the reader may leave it
    tmac_status (*check_weights)(const struct tmac_source *source);

    tmac_map map; // the file
    // A model folder has several instead, which the reader's close unmaps.
    tmac_map *shards;
    uint32_t shard_count;
    void *owned; // whatever the reader allocated; freed by close
    void (*close)(struct tmac_source *source);
} tmac_source;

// Frees everything. Harmless on a zeroed struct.
void tmac_source_close(tmac_source *source);

// Checks the dimensions alone (and the head's): positive, bounded, divisible. Readers call it before they compute a size
// from them: within these bounds the bytes of a whole model fit 63 bits.
tmac_status tmac_source_check_dimensions(const tmac_source *source);

// Checks what no reader may get wrong: every dimension positive and bounded, heads divisible, shapes that fit together,
// scales finite. Readers call it last.
tmac_status tmac_source_check(const tmac_source *source);

#endif

// libtmac: exact ternary and float LLaMA / BitNet inference.
//
//   tmac_model_new      a source (runtime/source.h) and a plan -> a model, weights packed, workspace allocated
//   tmac_session_new    one conversation: its KV cache
//   tmac_decode         a batch of tokens of any sessions -> logits
//
// The same tokens give the same logits to the last bit, whatever the plan, the instruction set, the number of threads,
// and however tokens are cut into batches (docs/DESIGN.md, section 3).
//
// Ownership: whoever calls *_new calls *_free. A model keeps the source open, and must outlive its sessions. A model and
// its sessions belong to one thread at a time. After set-up nothing allocates.
#ifndef TMAC_RUNTIME_TMAC_H
#define TMAC_RUNTIME_TMAC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "base/pool.h"
#include "base/status.h"
#include "runtime/plan.h"
#include "runtime/source.h"

// ---------------------------------------------------------------------------------------------------------- models

typedef struct tmac_model tmac_model;
typedef struct tmac_session tmac_session;

// Numbers in the KV cache. A choice that changes results, as heads do.
typedef enum tmac_kv { TMAC_KV_F16, TMAC_KV_F32, TMAC_KV_INT8 } tmac_kv;
const char *tmac_kv_name(tmac_kv kv); // "f16", "f32", "int8"
tmac_status tmac_kv_parse(const char *name, tmac_kv *kv);

// Bytes of the KV cache per position of a session.
uint64_t tmac_kv_position_bytes(const tmac_source *source, tmac_kv kv);

// Heads: as stored; requantized at start to 8, 6 or 4 bits a weight, with int8 activations; or screened: the stored
// head's choices exactly, from a copy of few bits and the few rows that this leaves open (see tmac_decode_top).
typedef enum tmac_head_kind {
    TMAC_HEAD_STORED,
    TMAC_HEAD_Q8,
    TMAC_HEAD_Q6,
    TMAC_HEAD_Q4,
    TMAC_HEAD_SCREENED,
    TMAC_HEAD_KINDS
} tmac_head_kind;
const char *tmac_head_name(tmac_head_kind kind); // "stored", "q8", ...
tmac_status tmac_head_parse(const char *name, tmac_head_kind *kind);

typedef struct tmac_model_options {
    tmac_pool *pool;         // shared, outlives the model
    const tmac_plan *plan;   // copied; NULL: the built-in rule for the pool's threads and `isa`
    tmac_isa_set isa;        // instruction sets the model may use; 0: all verified ones
    uint32_t batch_capacity; // tokens per tmac_decode at most; 0: 128
    const char *cache;       // folder for packed weights, made when needed; NULL: none
    uint64_t cache_limit;    // bytes that all files of that folder may take; 0: 16 GiB
    tmac_head_kind head;     // 0: as stored
    uint32_t screen_bits;    // of the copy that screens: 4, 5, 6 or 8; 0: by the head's columns
} tmac_model_options;

// The distinct input sets of a model in the order a token meets them: what a plan must cover. sets has room for
// TMAC_PLAN_ENTRIES. A float model has none.
tmac_status tmac_model_input_sets(const tmac_source *source, tmac_input_set *sets, uint32_t *count);

// How many times one token multiplies this set (the layers that have it).
uint32_t tmac_model_set_calls(const tmac_source *source, const tmac_input_set *set);

tmac_status tmac_model_new(const tmac_source *source, const tmac_model_options *options,
                           tmac_model **model);
// Gives a cache file that is being written 3 more seconds, then abandons it: the old one stays.
void tmac_model_free(tmac_model *model);

// The folder that programs use for packed weights: $TMAC_CACHE, else $XDG_CACHE_HOME/tmac, else ~/.cache/tmac. False
// when the environment names none, or one that does not fit `room` bytes.
bool tmac_cache_directory(char *path, size_t room);

// Whether weights still lie in the cache file, on their way to huge pages, or are being written to it: who measures waits.
// False where there is no cache.
bool tmac_model_settling(tmac_model *model);

uint32_t tmac_model_vocab(const tmac_model *model);
uint32_t tmac_model_context(const tmac_model *model);
// Bits of the copy that screens; 0 where the head is another.
uint32_t tmac_model_screen_bits(const tmac_model *model);
// Makes another copy, of 4, 5, 6 or 8 bits, and screens with it from now on: a tuner tries each in turn. For a model
// whose head is stored or screened.
tmac_status tmac_model_screen_with(tmac_model *model, uint32_t bits);
uint32_t tmac_model_batch_capacity(const tmac_model *model); // tokens per tmac_decode at most
const tmac_plan *tmac_model_plan(const tmac_model *model);   // what is in force

// Where a token's time went, in nanoseconds since the last reset, measured on the calling thread.
typedef enum tmac_part {
    TMAC_PART_PREPARE,   // norms, quantization, lookup tables
    TMAC_PART_MATMUL,    // ternary (or float) matrices of the layers
    TMAC_PART_ATTENTION, // RoPE, KV cache, scores, softmax, weighted sum
    TMAC_PART_HEAD,      // last norm and logits
    TMAC_PART_COUNT
} tmac_part;
typedef struct tmac_profile {
    uint64_t ns[TMAC_PART_COUNT];
    uint64_t tokens;
    uint64_t waiting_ns; // of that time, what a worker waited for others: the mean of all
    uint64_t matrix_bytes, head_bytes; // packed bytes that one token reads
    // Of a screened head: vectors screened, rows of the stored head computed for them, and vectors for which all rows
    // were computed because too many were left (these are not among head_rows).
    uint64_t head_screened, head_rows, head_fallbacks;
} tmac_profile;
const char *tmac_part_name(tmac_part part);
void tmac_model_profile(tmac_model *model, tmac_profile *profile, bool reset);

// -------------------------------------------------------------------------------------------------------- sessions

// capacity: positions it can hold; at most the model's context.
tmac_status tmac_session_new(tmac_model *model, uint32_t capacity, tmac_kv kv,
                             tmac_session **session);
void tmac_session_free(tmac_session *session);
uint32_t tmac_session_length(const tmac_session *session); // positions filled
// Takes tokens back: positions >= position are forgotten.
void tmac_session_truncate(tmac_session *session, uint32_t position);

// ---------------------------------------------------------------------------------------------------------- decode

typedef struct tmac_batch_item {
    tmac_session *session;
    uint32_t token;
    uint32_t
        position; // must be the session's length plus the items of the same session before this one
    bool want_logits;
} tmac_batch_item;

// Runs the batch. logits: one row of vocab floats for each item that wants them, in order; owned by the model, valid
// until its next tmac_decode. NULL is accepted where none are wanted.
// TMAC_USAGE: too many items, a token outside the vocabulary, a position out of order, a session that is full.
tmac_status tmac_decode(tmac_model *model, const tmac_batch_item *items, uint32_t count,
                        const float **logits);

// The same where no more than the `top` largest logits of each item matter: greedy choice (1) or top-k (k). With a
// screened head these are the stored head's to the last bit, ties going to the lowest id, and all others are minus
// infinity, so that a sampler chooses as it would with all of them, whatever the width of the copy. Other heads give all
// logits. top = 0 is tmac_decode.
tmac_status tmac_decode_top(tmac_model *model, const tmac_batch_item *items, uint32_t count,
                            uint32_t top, const float **logits);

// The last layer's output after the last norm, dim floats, of item `row` among those that wanted logits in the last
// tmac_decode; valid until the next. The hidden state of a text's last token is the text's embedding in models made for
// that; normalising is left to the caller.
const float *tmac_model_hidden(const tmac_model *model, uint32_t row, uint32_t *dim);

// ------------------------------------------------------------------------------------------------------- tokenizer

typedef struct tmac_tokenizer tmac_tokenizer;

// Copies what it needs of the vocabulary.
tmac_status tmac_tokenizer_new(const tmac_vocabulary *vocabulary, tmac_tokenizer **tokenizer);
void tmac_tokenizer_free(tmac_tokenizer *tokenizer);

int32_t tmac_tokenizer_bos(const tmac_tokenizer *tokenizer); // -1: none
int32_t tmac_tokenizer_eos(const tmac_tokenizer *tokenizer);
uint32_t tmac_tokenizer_size(const tmac_tokenizer *tokenizer);

// Whether nothing of the same text or turn can follow this token: eos, what the model's files name as such, and the
// control tokens that everybody uses for it ("<|eot_id|>", "<|im_end|>", ...).
bool tmac_tokenizer_is_stop(const tmac_tokenizer *tokenizer, uint32_t token);

// Text to ids, without BOS. *tokens is malloc'ed, the caller frees it. Any bytes are accepted. Control tokens are not
// recognised: who types "<|eot_id|>" gets the characters typed.
tmac_status tmac_tokenizer_encode(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                                  uint32_t **tokens, size_t *count);

// The same for a text in parts, some of which may hold control tokens: the markup of a chat may, what people and
// models write in it may not. Parts are joined before they are tokenized, so that words may span them; a control token
// lies within one part.
typedef struct tmac_text_part {
    const char *text;
    size_t bytes;
    bool markup; // control tokens are recognised
} tmac_text_part;
tmac_status tmac_tokenizer_encode_parts(const tmac_tokenizer *tokenizer,
                                        const tmac_text_part *parts, size_t part_count,
                                        uint32_t **tokens, size_t *count);

// The bytes of one token as they appear in text. `first` is true for the first token of a text, whose space prefix is
// dropped. The result points into the tokenizer. Control tokens have no bytes.
const char *tmac_tokenizer_piece(const tmac_tokenizer *tokenizer, uint32_t token, bool first,
                                 size_t *bytes);

// Streams UTF-8: feed the bytes of each token, get back as many as end on a character boundary; up to 3 bytes wait.
typedef struct tmac_utf8_stream {
    uint8_t held[4];
    uint32_t held_bytes;
} tmac_utf8_stream;
// out has room for bytes + 4; returns the number written. flush: also hands out an unfinished rest.
size_t tmac_utf8_feed(tmac_utf8_stream *stream, const char *bytes, size_t count, char *out);
size_t tmac_utf8_flush(tmac_utf8_stream *stream, char *out);

// --------------------------------------------------------------------------------------------------------- sampler

typedef struct tmac_sampler tmac_sampler;

typedef struct tmac_logit_bias {
    uint32_t token;
    float bias; // added to the token's logit; minus infinity forbids it
} tmac_logit_bias;

// Fields that are 0 are off, apart from top_p, for which 1 is. In the order in which they act:
// biases and penalties, temperature, top_k, typical, top_p, min_p.
typedef struct tmac_sampler_options {
    float temperature; // 0: greedy, ties to the lowest id
    float top_p;       // in (0, 1]; 1: off
    uint32_t top_k;    // 0: off
    uint64_t seed;
    float min_p; // in [0, 1]: keep tokens at least this likely, as a part of the likeliest
    float
        typical; // in (0, 1]: keep the tokens whose surprise is nearest to the expected one, this share of them
    // Of tokens among the last `window` accepted ones (0: 64): the logit is divided by `repetition` where it is
    // positive and multiplied with it where it is negative (1: off), then lowered by `presence` and by `frequency` for
    // each time the token occurs.
    float repetition, presence, frequency;
    uint32_t window;
    const tmac_logit_bias *biases; // copied
    uint32_t bias_count;
} tmac_sampler_options;

tmac_status tmac_sampler_new(uint32_t vocab, const tmac_sampler_options *options,
                             tmac_sampler **sampler);
void tmac_sampler_free(tmac_sampler *sampler);
uint32_t tmac_sample(tmac_sampler *sampler, const float *logits);

// Tells the sampler of a token of the text, of the prompt or chosen: what penalties count. Without penalties it does
// nothing.
void tmac_sampler_accept(tmac_sampler *sampler, uint32_t token);
void tmac_sampler_forget(tmac_sampler *sampler); // as if none had been accepted

// Whether the sampler may choose differently when it sees only the largest top_k logits (tmac_decode_top).
bool tmac_sampler_needs_all(const tmac_sampler *sampler);

// The `count` likeliest tokens, likeliest first, ties to the lowest id, with the natural logarithms of their
// probabilities under these logits (temperature 1, no penalties).
typedef struct tmac_token_probability {
    uint32_t token;
    double log_probability;
} tmac_token_probability;
void tmac_likeliest(const float *logits, uint32_t vocab, uint32_t count,
                    tmac_token_probability *likeliest);

// Watches a text that is being generated for strings that end it. What may be the beginning of one is held back.
typedef struct tmac_stop_strings tmac_stop_strings;
tmac_status tmac_stop_strings_new(const char *const *strings, uint32_t count,
                                  tmac_stop_strings **stop);
void tmac_stop_strings_free(tmac_stop_strings *stop);
// Takes the next bytes of the text. *out, valid until the next call, are the bytes that may be shown. True: a string
// has come; the text ends before it, and nothing more may be fed.
bool tmac_stop_strings_feed(tmac_stop_strings *stop, const char *bytes, size_t count,
                            const char **out, size_t *out_count);
// The text has ended without one: what was held back.
void tmac_stop_strings_flush(tmac_stop_strings *stop, const char **out, size_t *out_count);

// The negative log-likelihood, in nats, of a token under logits: log(sum exp(l - max)) - (l[token] - max), in double,
// with the library's own exp and log.
double tmac_negative_log_likelihood(const float *logits, uint32_t vocab, uint32_t token);

#endif

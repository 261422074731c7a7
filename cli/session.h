// What the programs that run a model share: their common options and everything between a file name and a session that
// is ready to decode.
#ifndef TMAC_CLI_SESSION_H
#define TMAC_CLI_SESSION_H

#include "base/host.h"
#include "base/options.h"
#include "convert/convert.h"
#include "runtime/tmac.h"

// Strings as the user wrote them; NULL or 0: the default.
typedef struct tmac_start_options {
    const char *tokenizer, *bit_order, *database, *isa, *kv, *head, *cpus;
    uint64_t threads;
    uint64_t batch; // tokens per decode call
    bool no_cache;
    bool no_text; // no tokenizer is needed: for measuring with tokens by number
} tmac_start_options;

// The rows of an option table that fill in `options`, a tmac_start_options.
#define TMAC_START_ROWS(options)                                                                   \
    {'z',                                                                                          \
     "tokenizer",                                                                                  \
     TMAC_OPTION_STRING,                                                                           \
     &(options).tokenizer,                                                                         \
     "FILE",                                                                                       \
     "take the vocabulary from FILE (tokenizer.json, .model or .bin, GGUF, TM2, folder) instead "  \
     "of the model's own"},                                                                        \
        {'j',                                                                                      \
         "threads",                                                                                \
         TMAC_OPTION_UNSIGNED,                                                                     \
         &(options).threads,                                                                       \
         "N",                                                                                      \
         "threads (default: the physical cores this process may use, or the processors of "        \
         "--cpus)"},                                                                               \
        {0,                                                                                        \
         "cpus",                                                                                   \
         TMAC_OPTION_STRING,                                                                       \
         &(options).cpus,                                                                          \
         "LIST",                                                                                   \
         "tie threads to these processors, in this order: 0-3,8"},                                 \
        {0,                                                                                        \
         "kv",                                                                                     \
         TMAC_OPTION_STRING,                                                                       \
         &(options).kv,                                                                            \
         "TYPE",                                                                                   \
         "numbers in the KV cache: f16 (default), f32, int8"},                                     \
        {0,                                                                                        \
         "head",                                                                                   \
         TMAC_OPTION_STRING,                                                                       \
         &(options).head,                                                                          \
         "KIND",                                                                                   \
         "stored (default), q8, q6, q4 (faster, changes results), or screened (faster, exact)"},   \
        {0,                                                                                        \
         "bit-order",                                                                              \
         TMAC_OPTION_STRING,                                                                       \
         &(options).bit_order,                                                                     \
         "ORDER",                                                                                  \
         "msb or lsb: the order of codes in a bitllama2.c file, which does not tell"},             \
        {0,                                                                                        \
         "db",                                                                                     \
         TMAC_OPTION_STRING,                                                                       \
         &(options).database,                                                                      \
         "FILE",                                                                                   \
         "tuning database (default: $TMAC_DB, else $XDG_DATA_HOME/tmac/tune.db)"},                 \
        {0,                                                                                        \
         "isa",                                                                                    \
         TMAC_OPTION_STRING,                                                                       \
         &(options).isa,                                                                           \
         "NAME",                                                                                   \
         "use no instruction set wider than NAME"},                                                \
        {0,                                                                                        \
         "no-cache",                                                                               \
         TMAC_OPTION_FLAG,                                                                         \
         &(options).no_cache,                                                                      \
         NULL,                                                                                     \
         "neither read nor write packed weights in $TMAC_CACHE (default: $XDG_CACHE_HOME/tmac)"},  \
    {                                                                                              \
        0, "batch", TMAC_OPTION_UNSIGNED, &(options).batch, "N",                                   \
            "prompt tokens multiplied at once (default 128); changes speed, never results"         \
    }

typedef struct tmac_start {
    tmac_source source;
    tmac_tokenizer *tokenizer;
    tmac_host host;
    tmac_isa_set isa; // what may be used: verified, and within --isa
    uint32_t batch;   // tokens per decode call
    tmac_kv kv;
    tmac_head_kind head;
    uint32_t screen_bits; // as measured for this model; 0: by rule
    uint32_t top;         // how many of the largest logits matter; 0: all
    tmac_pool *pool;
    tmac_model *model;
    tmac_session *session; // made by tmac_start_session
} tmac_start;

// Opens the model file, its vocabulary, the pool and the model, with the plan that the database gives. What goes wrong
// with a database that nobody asked for by name is a warning on standard error. On failure nothing is owned.
tmac_status tmac_start_open(const char *model, const tmac_start_options *options,
                            const tmac_program *program, tmac_start *start);

// A session with room for `capacity` positions.
tmac_status tmac_start_session(tmac_start *start, uint32_t capacity);
void tmac_start_close(tmac_start *start);

// BOS, where the vocabulary wants it or the text is empty, and the tokens of the text. The caller frees *tokens.
tmac_status tmac_start_encode(const tmac_start *start, const char *text, size_t bytes,
                              uint32_t **tokens, size_t *count);

// Decodes tokens [first, first + count) of a text from position `first` on; at most start->batch of them. logits: as
// tmac_decode, a row for every token (every = true) or for the last one; NULL when not wanted.
tmac_status tmac_start_decode(tmac_start *start, const uint32_t *tokens, uint32_t first,
                              uint32_t count, bool every, const float **logits);

#endif

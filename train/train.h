// Training of BitNet b1.58 and float LLaMA models on the CPU.
//
//   tmac_train              text (and a model to start from, and a teacher) -> a TM2 model, checkpoints, curves
//   tmac_bpe_train          text -> a vocabulary, written in llama2.c's form
//   tmac_tell               a grammar in Lua -> texts and what the best possible likelihood of them is
//   tmac_train_speed        a shape -> how fast it trains here
#ifndef TMAC_TRAIN_TRAIN_H
#define TMAC_TRAIN_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "train/network.h"

typedef enum tmac_schedule {
    TMAC_SCHEDULE_COSINE, // down to a twentieth of the peak
    TMAC_SCHEDULE_TWO_STAGE, // BitNet's: linear decay; from the middle on two thirds of it, and no weight decay
    TMAC_SCHEDULE_CONSTANT,
} tmac_schedule;

// Everything that decides which model comes out, and nothing else does: not the number of threads, not interruptions.
typedef struct tmac_recipe {
    tmac_train_shape shape;
    uint64_t seed, steps, batch, shards, chunk, warmup;
    uint32_t schedule;
    uint32_t documents; // tmac_documents of train/corpus.h: what in the texts has an end of its own
    float rate, decay, clip, beta1, beta2, teacher_share;
} tmac_recipe;

typedef struct tmac_train_options {
    tmac_recipe
        recipe; // shape.vocab, and with `init` all of the shape but what follows, are filled in
    const char *const *texts;
    size_t text_count;
    const char *validation; // NULL: the last part of the texts is held out
    float hold_out;         // that part; 0 where there is `validation`
    const char *tokenizer;  // vocabulary; NULL: that of `init`
    const char *init;       // a model to start from; NULL: random numbers
    const char *teacher;    // a model to learn from; NULL: none
    const char
        *output;   // the model; beside it OUTPUT.state (to resume from), OUTPUT.csv and OUTPUT.svg
    int keep_kind; // with init: 1 trains it as what it is, 0 as recipe.shape.ternary says
    uint64_t validate_every, checkpoint_every, report_every; // steps
    uint64_t threads;
    bool fresh; // start over even if there is OUTPUT.state
} tmac_train_options;

// Trains, or resumes where OUTPUT.state is of the same recipe, and reports on standard output. SIGINT and SIGTERM end it
// at a checkpoint.
tmac_status tmac_train(const tmac_train_options *options);

// Learns `size` pieces: <unk>, <s>, </s>, the 256 bytes, pairs by their frequency inside words, the space. Writes `path` in the
// form of llama2.c's tokenizer.bin.
tmac_status tmac_bpe_train(const char *const *texts, size_t text_count, uint32_t size,
                           const char *path);

// Runs the grammar in `script` `count` times: one text a line to `path`. Prints the mean negative log-likelihood that the
// grammar gives its own texts, in nats a text.
tmac_status tmac_tell(const char *script, uint64_t count, uint64_t seed, const char *path);

// Times a step on one thread against its matrix products alone, on `rows` rows of the shape's context, and prints both.
tmac_status tmac_train_speed(const tmac_train_shape *shape, uint32_t rows);

#endif

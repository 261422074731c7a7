// Texts as rows of tokens.
//
// A row is what a model sees at once: BOS and some tokens, each of which is to be predicted from those before it. A text
// of documents (one a line) gives a row for each, its end included as EOS; a long one is cut. A text without documents is
// one stream cut into rows as long as the context.
#ifndef TMAC_TRAIN_CORPUS_H
#define TMAC_TRAIN_CORPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "runtime/tmac.h"

typedef struct tmac_row {
    size_t at;       // its first token
    uint32_t length; // tokens to predict: 1 .. context
} tmac_row;

typedef struct tmac_corpus {
    uint32_t *tokens; // without BOS
    size_t token_count, token_room;
    tmac_row *rows;
    size_t row_count, row_room;
    uint64_t bytes;     // of text
    uint64_t documents; // lines, or files
    bool stream;        // rows may be shifted
    uint32_t bos, context;
} tmac_corpus;

typedef enum tmac_documents {
    TMAC_DOCUMENTS_NONE,  // every file is a stream
    TMAC_DOCUMENTS_LINES, // every line that is not empty is one
    TMAC_DOCUMENTS_FILES, // every file is one
} tmac_documents;

typedef struct tmac_corpus_options {
    const char *const *paths;
    size_t path_count;
    tmac_documents documents;
    uint32_t context; // tokens of a row at most
    double begin,
        end; // the part of the whole that is wanted, 0 .. 1: of the lines or files, or of the bytes
} tmac_corpus_options;

// Reads all texts. Fails on one that cannot be read and where nothing is left to learn from. The caller calls
// tmac_corpus_free.
tmac_status tmac_corpus_open(const tmac_corpus_options *options, const tmac_tokenizer *tokenizer,
                             tmac_corpus *corpus);
void tmac_corpus_free(tmac_corpus *corpus); // harmless on a zeroed struct

// Writes a row to inputs and targets, which have room for `context` tokens; returns its length. shift moves the rows of
// a stream by that many tokens as far as there are any; documents stay where they are.
uint32_t tmac_corpus_row(const tmac_corpus *corpus, size_t row, uint32_t shift, uint32_t *inputs,
                         uint32_t *targets);

#endif

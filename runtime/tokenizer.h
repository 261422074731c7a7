// The tokenizer's insides, shared by tokenizer.c (tables, decoding) and tokenizer_encode.c. Private to runtime/.
#ifndef TMAC_RUNTIME_TOKENIZER_H
#define TMAC_RUNTIME_TOKENIZER_H

#include "runtime/tmac.h"

enum { TMAC_NO_PIECE = UINT32_MAX };

typedef struct tmac_token_piece {
    size_t offset;  // of the bytes it stands for, in `text`
    uint32_t bytes; // 0 for control pieces
    float score;
    uint8_t kind;
} tmac_token_piece;

struct tmac_tokenizer {
    uint32_t size;
    tmac_token_piece *pieces;
    char *text;             // the bytes of all pieces, one after the other
    uint32_t byte_ids[256]; // the piece of each byte, TMAC_NO_PIECE where the vocabulary has none

    // The pieces that text can match, by their bytes: open addressing, linear probing, at most half full.
    struct slot {
        uint32_t hash, id; // id TMAC_NO_PIECE: free
    } * slots;
    uint32_t slot_mask;

    // Lengths of the user-defined pieces, each once, longest first.
    uint32_t *user_lengths;
    uint32_t user_length_count;

    int32_t bos, eos, unknown;
    bool add_space_prefix;
};

// The piece that stands for exactly these bytes and that text may match, the lowest id if there are several;
// TMAC_NO_PIECE when there is none.
uint32_t tmac_tokenizer_find(const tmac_tokenizer *tokenizer, const char *bytes, size_t count);

#endif

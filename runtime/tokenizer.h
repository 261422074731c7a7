// The tokenizer's insides, shared by tokenizer*.c. Private to runtime/.
//
//   tokenizer.c          tables, decoding
//   tokenizer_special.c  pieces that are recognised in a text as a whole: user-defined and control pieces
//   tokenizer_split.c    words by regular expressions
//   tokenizer_normal.c   normal form C
//   tokenizer_merge.c    merging adjacent symbols
//   tokenizer_encode.c   text to ids, by way of all these
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

typedef struct tmac_special {
    size_t offset; // of its spelling, in `text`
    uint32_t bytes, id;
    bool control; // recognised in markup only
} tmac_special;

typedef struct tmac_splitter tmac_splitter;

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

    // Merges by what they join: the same kind of table, at most two thirds full. NULL: merged by score.
    struct merge_slot {
        uint32_t left, right; // left TMAC_NO_PIECE: free
        uint32_t rank, result;
    } * merges;
    uint32_t merge_mask;

    tmac_special *specials; // sorted by their spelling
    uint32_t special_count;
    uint32_t special_first[257]; // those that begin with byte b are [special_first[b], [b + 1])

    bool *stops;             // [size]
    tmac_splitter *splitter; // NULL: a text is one word
    tmac_vocabulary_kind kind;
    int32_t bos, eos, unknown;
    bool add_space_prefix, whole_words, nfc;
};

// The piece that stands for exactly these bytes and that text may match, the lowest id if there are several;
// TMAC_NO_PIECE when there is none.
uint32_t tmac_tokenizer_find(const tmac_tokenizer *tokenizer, const char *bytes, size_t count);

// The merge of two pieces; NULL: none.
const struct merge_slot *tmac_tokenizer_merge(const tmac_tokenizer *tokenizer, uint32_t left,
                                              uint32_t right);

// ----------------------------------------------------------------------------------------------- tokenizer_special.c

// Makes the table; the spellings are in tokenizer->text already and specials hold them, in any order.
void tmac_specials_sort(tmac_tokenizer *tokenizer);

// The longest special piece that the text begins with; NULL: none. control: control pieces count, if they end within
// the first `markup` bytes; user: user-defined ones count.
const tmac_special *tmac_special_at(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                                    size_t markup, bool user);

// ------------------------------------------------------------------------------------------------- tokenizer_split.c

tmac_status tmac_splitter_new(const char *pattern, tmac_splitter **splitter);
void tmac_splitter_free(tmac_splitter *splitter);

typedef tmac_status (*tmac_word)(void *context, const char *word, size_t bytes);

// Calls `word` for every match and for every stretch between matches, in order: together they are the text.
tmac_status tmac_split(const tmac_splitter *splitter, const char *text, size_t bytes,
                       tmac_word word, void *context);

// ------------------------------------------------------------------------------------------------ tokenizer_normal.c

// The text in Unicode's normal form C, where it is UTF-8; other bytes stay. *normal is malloc'ed, with a
// spare byte before the text, and the caller frees it; NULL: the text is in that form already. At most three times as
// long.
tmac_status tmac_normal_form(const char *text, size_t bytes, char **normal, size_t *normal_bytes);

// ------------------------------------------------------------------------------------------------- tokenizer_merge.c

// Working memory of one encoding: grows as needed, used for one word after the other.
typedef struct tmac_merger {
    const tmac_tokenizer *tokenizer;
    const char *text;
    struct symbol *symbols;
    struct pair *heap;
    size_t room; // symbols
    uint32_t symbol_count, heap_count;
} tmac_merger;

// Tokenizes one word (the whole text, where nothing cuts it) and appends its ids; there must be room for one a byte.
tmac_status tmac_merge_word(tmac_merger *merger, const char *text, size_t bytes, uint32_t *tokens,
                            size_t *count);
void tmac_merger_free(tmac_merger *merger);

#endif

// SentencePiece BPE, from text to ids.
//
//   1. A space in front of a text that is not empty, where the vocabulary asks for it.
//   2. The text is cut into symbols: user-defined pieces (the longest that match), else characters of UTF-8, else,
//      where the bytes are no UTF-8, single bytes.
//   3. Again and again the adjacent pair whose joined bytes are the piece with the best score becomes one symbol; the
//      leftmost of equals. User-defined symbols stay as they are.
//   4. A symbol that is no piece becomes the byte pieces of its bytes.
//
// Step 3 keeps candidate pairs in a heap. A pair that has changed since is recognised when it comes up: a symbol only
// ever grows, to the right, or disappears (0 bytes) into its left neighbour, so that the pair is as it was exactly if
// its left symbol lives and the lengths add up to what they were. Every merge takes one entry out and adds at most two,
// and n symbols allow n - 1 merges: the heap holds at most 2n entries and the whole takes O(n log n).
#include "runtime/tokenizer.h"
#include "runtime/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { NONE = UINT32_MAX, TEXT_MAX = 1 << 30 };

typedef struct symbol {
    uint32_t start, bytes; // in the text; bytes 0: merged away
    uint32_t previous, next;
    bool frozen; // user-defined
} symbol;

typedef struct pair {
    float score;
    uint32_t left, bytes; // the left symbol and the length of both
} pair;

typedef struct merger {
    const tmac_tokenizer *tokenizer;
    char *text;
    symbol *symbols;
    uint32_t symbol_count;
    pair *heap;
    uint32_t heap_count;
} merger;

// ------------------------------------------------------------------------------------------------------------ heap

static bool better(const pair *a, const pair *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void push(merger *work, pair entry)
{
    uint32_t at = work->heap_count++;
    while (at && better(&entry, &work->heap[(at - 1) / 2])) {
        work->heap[at] = work->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    work->heap[at] = entry;
}

static pair pop(merger *work)
{
    const pair top = work->heap[0], last = work->heap[--work->heap_count];
    uint32_t at = 0;
    for (uint32_t child; (child = 2 * at + 1) < work->heap_count; at = child) {
        if (child + 1 < work->heap_count && better(&work->heap[child + 1], &work->heap[child]))
            child++;
        if (!better(&work->heap[child], &last)) break;
        work->heap[at] = work->heap[child];
    }
    work->heap[at] = last;
    return top;
}

// --------------------------------------------------------------------------------------------------------- symbols

// The length of the longest user-defined piece that the text continues with; 0: none.
static uint32_t user_piece_at(const tmac_tokenizer *tokenizer, const char *text, size_t rest)
{
    for (uint32_t i = 0; i < tokenizer->user_length_count; i++) {
        const uint32_t length = tokenizer->user_lengths[i];
        if (length > rest) continue;
        const uint32_t id = tmac_tokenizer_find(tokenizer, text, length);
        if (id != TMAC_NO_PIECE && tokenizer->pieces[id].kind == TMAC_PIECE_USER) return length;
    }
    return 0;
}

static void cut(merger *work, uint32_t bytes)
{
    for (uint32_t at = 0; at < bytes;) {
        const uint32_t user = user_piece_at(work->tokenizer, work->text + at, bytes - at);
        const int character = tmac_utf8_character(work->text + at, bytes - at);
        const uint32_t length = user ? user : character > 0 ? (uint32_t)character : 1;
        const uint32_t index = work->symbol_count++;
        work->symbols[index] = (symbol){at, length, index ? index - 1 : NONE, index + 1, user > 0};
        at += length;
    }
    work->symbols[work->symbol_count - 1].next = NONE;
}

// Adds the pair that begins with symbol `left`, if its bytes are a piece.
static void consider(merger *work, uint32_t left)
{
    if (left == NONE || work->symbols[left].next == NONE) return;
    const symbol *a = &work->symbols[left], *b = &work->symbols[a->next];
    if (a->frozen || b->frozen) return;
    const uint32_t bytes = a->bytes + b->bytes;
    const uint32_t id = tmac_tokenizer_find(work->tokenizer, work->text + a->start, bytes);
    if (id == TMAC_NO_PIECE) return;
    push(work, (pair){work->tokenizer->pieces[id].score, left, bytes});
}

static void merge_all(merger *work)
{
    for (uint32_t i = 0; i < work->symbol_count; i++)
        consider(work, i);
    while (work->heap_count) {
        const pair best = pop(work);
        symbol *left = &work->symbols[best.left];
        if (left->bytes == 0 || left->next == NONE) continue;
        symbol *right = &work->symbols[left->next];
        if (left->bytes + right->bytes != best.bytes) continue;
        left->bytes = best.bytes;
        left->next = right->next;
        right->bytes = 0;
        if (left->next != NONE) work->symbols[left->next].previous = best.left;
        consider(work, left->previous);
        consider(work, best.left);
    }
}

// Writes the ids; a token stands for at least one byte, so that there is room. Returns how many.
static tmac_status emit(const merger *work, uint32_t *tokens, size_t *count)
{
    const tmac_tokenizer *tokenizer = work->tokenizer;
    *count = 0;
    for (uint32_t i = 0; i != NONE; i = work->symbols[i].next) {
        const char *text = work->text + work->symbols[i].start;
        const uint32_t bytes = work->symbols[i].bytes;
        const uint32_t id = tmac_tokenizer_find(tokenizer, text, bytes);
        if (id != TMAC_NO_PIECE) {
            tokens[(*count)++] = id;
            continue;
        }
        for (uint32_t j = 0; j < bytes; j++) {
            uint32_t byte_id = tokenizer->byte_ids[(unsigned char)text[j]];
            if (byte_id == TMAC_NO_PIECE) byte_id = (uint32_t)tokenizer->unknown;
            if (byte_id >= tokenizer->size)
                return tmac_fail(TMAC_UNSUPPORTED,
                                 "the vocabulary has no piece for byte 0x%02x and no unknown token",
                                 (unsigned char)text[j]);
            tokens[(*count)++] = byte_id;
        }
    }
    return tmac_ok();
}

tmac_status tmac_tokenizer_encode(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                                  uint32_t **tokens, size_t *count)
{
    *tokens = NULL;
    *count = 0;
    if (bytes > TEXT_MAX)
        return tmac_fail(TMAC_USAGE, "a text of %zu bytes: at most %d can be tokenized", bytes,
                         TEXT_MAX);
    const size_t prefix = bytes && tokenizer->add_space_prefix;
    const size_t length = bytes + prefix;
    // TEXT_MAX * 2 * sizeof(pair) is below 2^36: no overflow where size_t has 64 bits, and calloc checks elsewhere.
    merger work = {.tokenizer = tokenizer};
    work.text = malloc(length + 1);
    work.symbols = calloc(length + 1, sizeof *work.symbols);
    work.heap = calloc(2 * (length + 1), sizeof *work.heap);
    *tokens = calloc(length + 1, sizeof **tokens);
    tmac_status status = tmac_ok();
    if (!work.text || !work.symbols || !work.heap || !*tokens) {
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory tokenizing %zu bytes", bytes);
    } else if (length) {
        if (prefix) work.text[0] = ' ';
        memcpy(work.text + prefix, text, bytes);
        cut(&work, (uint32_t)length);
        merge_all(&work);
        status = emit(&work, *tokens, count);
    }
    free(work.text);
    free(work.symbols);
    free(work.heap);
    if (status.code != TMAC_OK) {
        free(*tokens);
        *tokens = NULL;
        *count = 0;
    }
    return status;
}

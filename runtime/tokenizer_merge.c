// Merging: a word is cut into symbols, and again and again one pair of neighbours becomes one symbol.
//
//   1. Symbols: user-defined pieces (the longest that match; sentencepiece only, elsewhere the text has been cut at
//      them), else characters of UTF-8 (sentencepiece) or bytes (BPE), else, where the bytes are no UTF-8, single bytes.
//   2. The pair to merge is the best one, the leftmost of equals: by the vocabulary's list of merges, where it has one;
//      else the one whose joined bytes are the piece with the best score. User-defined symbols stay as they are.
//   3. A symbol that is no piece becomes the byte pieces of its bytes.
//
// Step 2 keeps candidate pairs in a heap. A pair that has changed since is recognised when it comes up: a symbol only
// ever grows, to the right, or disappears (0 bytes) into its left neighbour, so that the pair is as it was exactly if
// its left symbol lives and the lengths add up to what they were. Every merge takes one entry out and adds at most two,
// and n symbols allow n - 1 merges: the heap holds at most 2n entries and the whole takes O(n log n).
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer.h"
#include "runtime/utf8.h"

enum { NONE = UINT32_MAX };

typedef struct symbol {
    uint32_t start, bytes; // in the text; bytes 0: merged away
    uint32_t previous, next;
    uint32_t id; // TMAC_NO_PIECE: no piece
    bool frozen; // user-defined
} symbol;

typedef struct pair {
    float score;
    uint32_t left, bytes; // the left symbol and the length of both
    uint32_t id;          // what becomes of them
} pair;

// ------------------------------------------------------------------------------------------------------------ heap

static bool better(const pair *a, const pair *b)
{
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void push(tmac_merger *work, pair entry)
{
    uint32_t at = work->heap_count++;
    while (at && better(&entry, &work->heap[(at - 1) / 2])) {
        work->heap[at] = work->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    work->heap[at] = entry;
}

static pair pop(tmac_merger *work)
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

static void cut(tmac_merger *work, uint32_t bytes)
{
    const tmac_tokenizer *tokenizer = work->tokenizer;
    const bool characters = tokenizer->kind == TMAC_VOCABULARY_SPM;
    work->symbol_count = 0;
    for (uint32_t at = 0; at < bytes;) {
        const char *text = work->text + at;
        const tmac_special *user =
            characters ? tmac_special_at(tokenizer, text, bytes - at, 0, true) : NULL;
        const int character = characters ? tmac_utf8_character(text, bytes - at) : 1;
        const uint32_t length = user ? user->bytes : character > 0 ? (uint32_t)character : 1;
        const uint32_t id = user         ? user->id
                            : characters ? tmac_tokenizer_find(tokenizer, text, length)
                                         : tokenizer->byte_ids[(unsigned char)text[0]];
        const uint32_t index = work->symbol_count++;
        work->symbols[index] =
            (symbol){at, length, index ? index - 1 : NONE, index + 1, id, user != NULL};
        at += length;
    }
    work->symbols[work->symbol_count - 1].next = NONE;
}

// Adds the pair that begins with symbol `left`, if it can be merged.
static void consider(tmac_merger *work, uint32_t left)
{
    if (left == NONE || work->symbols[left].next == NONE) return;
    const symbol *a = &work->symbols[left], *b = &work->symbols[a->next];
    if (a->frozen || b->frozen) return;
    const uint32_t bytes = a->bytes + b->bytes;
    if (work->tokenizer->merges) {
        const struct merge_slot *merge = tmac_tokenizer_merge(work->tokenizer, a->id, b->id);
        if (merge) push(work, (pair){-(float)merge->rank, left, bytes, merge->result});
        return;
    }
    const uint32_t id = tmac_tokenizer_find(work->tokenizer, work->text + a->start, bytes);
    if (id != TMAC_NO_PIECE) push(work, (pair){work->tokenizer->pieces[id].score, left, bytes, id});
}

static void merge_all(tmac_merger *work)
{
    work->heap_count = 0;
    for (uint32_t i = 0; i < work->symbol_count; i++)
        consider(work, i);
    while (work->heap_count) {
        const pair best = pop(work);
        symbol *left = &work->symbols[best.left];
        if (left->bytes == 0 || left->next == NONE) continue;
        symbol *right = &work->symbols[left->next];
        if (left->bytes + right->bytes != best.bytes) continue;
        left->bytes = best.bytes;
        left->id = best.id;
        left->next = right->next;
        right->bytes = 0;
        if (left->next != NONE) work->symbols[left->next].previous = best.left;
        consider(work, left->previous);
        consider(work, best.left);
    }
}

static tmac_status emit(const tmac_merger *work, uint32_t *tokens, size_t *count)
{
    const tmac_tokenizer *tokenizer = work->tokenizer;
    for (uint32_t i = 0; i != NONE; i = work->symbols[i].next) {
        const symbol *one = &work->symbols[i];
        if (one->id != TMAC_NO_PIECE) {
            tokens[(*count)++] = one->id;
            continue;
        }
        for (uint32_t j = 0; j < one->bytes; j++) {
            const unsigned char byte = (unsigned char)work->text[one->start + j];
            uint32_t byte_id = tokenizer->byte_ids[byte];
            if (byte_id == TMAC_NO_PIECE) byte_id = (uint32_t)tokenizer->unknown;
            if (byte_id >= tokenizer->size)
                return tmac_fail(TMAC_UNSUPPORTED,
                                 "the vocabulary has no piece for byte 0x%02x and no unknown token",
                                 byte);
            tokens[(*count)++] = byte_id;
        }
    }
    return tmac_ok();
}

static tmac_status grow(tmac_merger *work, size_t bytes)
{
    if (bytes <= work->room) return tmac_ok();
    const size_t room = bytes + bytes / 2 + 64;
    tmac_merger_free(work);
    // A text has at most 2^31 bytes (tokenizer_encode.c), which no product here can overflow in 64 bits.
    work->symbols = calloc(room, sizeof *work->symbols);
    work->heap = calloc(2 * room, sizeof *work->heap);
    if (!work->symbols || !work->heap)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory tokenizing %zu bytes", bytes);
    work->room = room;
    return tmac_ok();
}

tmac_status tmac_merge_word(tmac_merger *merger, const char *text, size_t bytes, uint32_t *tokens,
                            size_t *count)
{
    if (bytes == 0) return tmac_ok();
    if (merger->tokenizer->whole_words) {
        const uint32_t id = tmac_tokenizer_find(merger->tokenizer, text, bytes);
        if (id != TMAC_NO_PIECE) {
            tokens[(*count)++] = id;
            return tmac_ok();
        }
    }
    TMAC_TRY(grow(merger, bytes));
    merger->text = text;
    cut(merger, (uint32_t)bytes);
    merge_all(merger);
    return emit(merger, tokens, count);
}

void tmac_merger_free(tmac_merger *merger)
{
    free(merger->symbols);
    free(merger->heap);
    merger->symbols = NULL;
    merger->heap = NULL;
    merger->room = 0;
}

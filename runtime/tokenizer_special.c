// Pieces that a text is searched for as they are spelled, before anything else: user-defined ones everywhere, control
// pieces in markup. They are sorted by spelling, so that all that share a beginning are neighbours: matching narrows
// the range byte by byte, and the last exact end seen is the longest match. The cost at a place in a text is bounded by
// the longest spelling times the logarithm of their number, whatever the text.
#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer.h"

static int by_spelling(const void *left, const void *right, void *context)
{
    const tmac_special *a = left, *b = right;
    const char *text = context;
    const uint32_t shorter = a->bytes < b->bytes ? a->bytes : b->bytes;
    const int order = memcmp(text + a->offset, text + b->offset, shorter);
    if (order != 0) return order;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

void tmac_specials_sort(tmac_tokenizer *tokenizer)
{
    qsort_r(tokenizer->specials, tokenizer->special_count, sizeof *tokenizer->specials, by_spelling,
            tokenizer->text);
    uint32_t at = 0;
    for (uint32_t byte = 0; byte <= 256; byte++) {
        while (at < tokenizer->special_count &&
               (unsigned char)tokenizer->text[tokenizer->specials[at].offset] < byte)
            at++;
        tokenizer->special_first[byte] = at;
    }
}

// The first of [low, high) whose byte at `depth` is not below `byte`. All are longer than depth.
static uint32_t lower_bound(const tmac_tokenizer *tokenizer, uint32_t low, uint32_t high,
                            uint32_t depth, uint32_t byte)
{
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const char *text = tokenizer->text + tokenizer->specials[middle].offset;
        if ((unsigned char)text[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const tmac_special *tmac_special_at(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                                    size_t markup, bool user)
{
    const tmac_special *best = NULL;
    const unsigned char *at = (const unsigned char *)text;
    uint32_t low = tokenizer->special_first[at[0]], high = tokenizer->special_first[at[0] + 1];
    for (uint32_t depth = 1; low < high; depth++) {
        // Those that end here come first in the range.
        for (; low < high && tokenizer->specials[low].bytes == depth; low++) {
            const tmac_special *special = &tokenizer->specials[low];
            const bool counts = special->control ? depth <= markup : user;
            if (counts && (!best || best->bytes < depth)) best = special;
        }
        if (depth >= bytes) break;
        low = lower_bound(tokenizer, low, high, depth, at[depth]);
        high = lower_bound(tokenizer, low, high, depth, at[depth] + 1u);
    }
    return best;
}

// The search walks backwards over the text once per match length. That is a few microseconds for the thousands of
// tokens of a context, against tens of milliseconds for a token, so there is no index to keep in step.
#include "runtime/draft.h"

#include <string.h>

// Where the latest earlier occurrence of the last `length` tokens ends, 0 when there is none.
static uint32_t find_end(const uint32_t *tokens, uint32_t count, uint32_t length)
{
    const uint32_t *suffix = tokens + count - length;
    for (uint32_t end = count - 1; end >= length; end--)
        if (memcmp(tokens + end - length, suffix, length * sizeof *tokens) == 0) return end;
    return 0;
}

uint32_t tmac_draft(const uint32_t *tokens, uint32_t count, uint32_t most, uint32_t *draft)
{
    if (count < 2) return 0;
    uint32_t length = count - 1 < TMAC_DRAFT_MATCH ? count - 1 : TMAC_DRAFT_MATCH;
    for (; length > 0; length--) {
        const uint32_t end = find_end(tokens, count, length);
        if (end == 0) continue;
        // Behind the end of the text follow the drafted tokens themselves.
        for (uint32_t i = 0; i < most; i++)
            draft[i] = end + i < count ? tokens[end + i] : draft[end + i - count];
        return most;
    }
    return 0;
}

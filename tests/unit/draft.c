#include <criterion/criterion.h>

#include "runtime/draft.h"

static void expect(const uint32_t *tokens, uint32_t count, uint32_t most, const uint32_t *draft,
                   uint32_t drafted)
{
    uint32_t got[TMAC_DRAFT_MAX];
    cr_assert_eq(tmac_draft(tokens, count, most, got), drafted);
    for (uint32_t i = 0; i < drafted; i++)
        cr_assert_eq(got[i], draft[i], "token %u: %u, expected %u", i, got[i], draft[i]);
}

Test(draft, nothing_repeats)
{
    const uint32_t tokens[] = {1, 2, 3, 4};
    for (uint32_t count = 0; count <= 4; count++)
        expect(tokens, count, 8, NULL, 0);
}

Test(draft, the_longest_match_wins_over_a_later_one)
{
    const uint32_t tokens[] = {1, 2, 3, 7, 8, 9, 3, 6, 1, 2, 3};
    expect(tokens, 11, 3, (const uint32_t[]){7, 8, 9}, 3);
}

Test(draft, the_latest_of_equal_matches_wins)
{
    const uint32_t tokens[] = {5, 1, 5, 2, 5};
    expect(tokens, 5, 2, (const uint32_t[]){2, 5}, 2);
}

Test(draft, a_match_that_overlaps_the_end_goes_on_in_its_period)
{
    const uint32_t tokens[] = {4, 4};
    expect(tokens, 2, 4, (const uint32_t[]){4, 4, 4, 4}, 4);
    const uint32_t pair[] = {1, 2, 1, 2, 1};
    expect(pair, 5, 5, (const uint32_t[]){2, 1, 2, 1, 2}, 5);
}

Test(draft, no_more_than_asked_for)
{
    const uint32_t tokens[] = {4, 4};
    expect(tokens, 2, 0, NULL, 0);
    expect(tokens, 2, 1, (const uint32_t[]){4}, 1);
}

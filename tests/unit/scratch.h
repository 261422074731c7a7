// What tests that write files share: a folder of their own, and the assertion that something went well.
#ifndef TMAC_TESTS_UNIT_SCRATCH_H
#define TMAC_TESTS_UNIT_SCRATCH_H

#include <criterion/criterion.h>

#include "base/status.h"

#define OK(expression)                                                                             \
    do {                                                                                           \
        tmac_status ok_ = (expression);                                                            \
        cr_assert_eq(ok_.code, TMAC_OK, "%s", ok_.message);                                        \
    } while (0)

// Makes /tmp/tmac-WORD-... and writes its path to `folder`.
void scratch_make(const char *word, char folder[64]);
// Removes it with all that is in it.
void scratch_remove(const char *folder);

#endif

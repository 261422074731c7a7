#include "tests/unit/scratch.h"

#include <stdio.h>
#include <stdlib.h>

void scratch_make(const char *word, char folder[64])
{
    snprintf(folder, 64, "/tmp/tmac-%s-XXXXXX", word);
    cr_assert_not_null(mkdtemp(folder));
}

void scratch_remove(const char *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

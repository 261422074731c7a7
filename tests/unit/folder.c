// Making folders.
#include "base/folder.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/scratch.h"

static bool is_folder(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

Test(folder, made_with_those_above_it)
{
    char scratch[64], path[128], above[128], file[128];
    scratch_make("folder", scratch);
    snprintf(path, sizeof path, "%s/a//b/c", scratch);
    for (int twice = 0; twice < 2; twice++)
        cr_assert_eq(tmac_folder_make(path, 0700).code, TMAC_OK);
    cr_assert(is_folder(path));
    snprintf(above, sizeof above, "%s/d/e", scratch);
    snprintf(file, sizeof file, "%s/d/e/f", scratch);
    cr_assert_eq(tmac_folder_make_above(file, 0700).code, TMAC_OK);
    cr_assert(is_folder(above) && !is_folder(file));
    cr_assert_eq(tmac_folder_make_above("f", 0700).code, TMAC_OK);
    cr_assert(!is_folder("f"));
    scratch_remove(scratch);
}

// What is in the way is named, and not what would have come below it.
Test(folder, a_file_is_in_the_way)
{
    char scratch[64], path[128], file[128];
    scratch_make("folder", scratch);
    snprintf(file, sizeof file, "%s/a", scratch);
    FILE *stream = fopen(file, "w");
    cr_assert(stream);
    fclose(stream);
    snprintf(path, sizeof path, "%s/a/b", scratch);
    tmac_status status = tmac_folder_make(path, 0700);
    cr_assert_eq(status.code, TMAC_IO);
    char expected[192];
    snprintf(expected, sizeof expected, "%s: cannot create this folder: File exists", file);
    cr_assert_str_eq(status.message, expected);
    cr_assert_eq(tmac_folder_make(file, 0700).code, TMAC_IO);
    scratch_remove(scratch);
}

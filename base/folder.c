#include "base/folder.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { PATH_BYTES = 4096 };

// Whether it can be made says nothing about what is there: of that, file systems may refuse it for other reasons.
static tmac_status make_one(const char *path, mode_t mode)
{
    struct stat facts;
    if (mkdir(path, mode) == 0) return tmac_ok();
    const int why = errno;
    if (stat(path, &facts) == 0 && S_ISDIR(facts.st_mode)) return tmac_ok();
    return tmac_fail(TMAC_IO, "%s: cannot create this folder: %s", path, strerror(why));
}

tmac_status tmac_folder_make_above(const char *path, mode_t mode)
{
    char part[PATH_BYTES];
    if (strlen(path) >= sizeof part) return tmac_fail(TMAC_USAGE, "%.100s...: too long", path);
    strcpy(part, path);
    for (char *slash = part; *slash && (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        TMAC_TRY(make_one(part, mode));
        *slash = '/';
    }
    return tmac_ok();
}

tmac_status tmac_folder_make(const char *path, mode_t mode)
{
    TMAC_TRY(tmac_folder_make_above(path, mode));
    return make_one(path, mode);
}

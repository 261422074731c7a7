// Where real models and vocabularies lie, for the tests that need them.
#ifndef TMAC_TESTS_UNIT_DATA_H
#define TMAC_TESTS_UNIT_DATA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// The path of a file of the data folder; false when it is not there.
static inline bool data_path(const char *name, char path[1024])
{
    const char *folder = getenv("TMAC_DATA");
    snprintf(path, 1024, "%s/%s", folder && *folder ? folder : "../shared/data", name);
    return access(path, R_OK) == 0;
}

#endif

// Making folders.
#ifndef TMAC_BASE_FOLDER_H
#define TMAC_BASE_FOLDER_H

#include <sys/types.h>

#include "base/status.h"

// Makes the folder and those above it that are missing. TMAC_IO names the first that is not there and cannot be made.
tmac_status tmac_folder_make(const char *path, mode_t mode);

// The same for the folders above `path` alone: those that will hold a file.
tmac_status tmac_folder_make_above(const char *path, mode_t mode);

#endif

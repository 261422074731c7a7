// Files: read whole by mapping, written under a temporary name and renamed when complete.
#ifndef TMAC_BASE_FILE_H
#define TMAC_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

typedef struct tmac_map {
    const uint8_t *data; // NULL when the file is empty
    size_t bytes;
} tmac_map;

// Maps a regular file for reading. Refuses directories, devices and what cannot be read, with the reason and the name.
tmac_status tmac_map_open(const char *path, tmac_map *map);
void tmac_map_close(tmac_map *map); // harmless on a zeroed struct

// Reads a whole stream (a pipe, standard input) into malloc'ed memory with a NUL after the last byte.
// TMAC_BAD_FILE when it is longer than `limit`. The caller frees *text.
tmac_status tmac_read_stream(FILE *stream, size_t limit, char **text, size_t *bytes);

// Writes PATH.tmp.PID beside `path`; tmac_output_commit flushes, syncs and renames it onto `path`, tmac_output_abort
// removes it. Exactly one of the two is called, and the struct is then dead. A failed write is remembered and reported
// by commit, which then leaves `path` as it was.
typedef struct tmac_output {
    FILE *stream;
    char path[1024], temporary[1100];
    uint64_t offset;    // bytes written so far
    tmac_status status; // the first failure
} tmac_output;
tmac_status tmac_output_open(const char *path, tmac_output *output);
void tmac_output_write(tmac_output *output, const void *data, size_t bytes);
void tmac_output_pad(tmac_output *output,
                     size_t alignment); // zero bytes up to a multiple of alignment
tmac_status tmac_output_commit(tmac_output *output);
void tmac_output_abort(tmac_output *output);

#endif

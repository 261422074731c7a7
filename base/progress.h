// A progress bar on standard error, drawn only when that is a terminal.
#ifndef TMAC_BASE_PROGRESS_H
#define TMAC_BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tmac_progress {
    char label[48];
    uint64_t total, done;
    uint64_t started_ns, drawn_ns;
    bool visible;
} tmac_progress;

// total is in whatever unit the caller counts (bytes, measurements). Draws at most ten times a second.
void tmac_progress_begin(tmac_progress *progress, const char *label, uint64_t total);
void tmac_progress_advance(tmac_progress *progress, uint64_t by);
void tmac_progress_relabel(tmac_progress *progress, const char *label);
void tmac_progress_end(tmac_progress *progress); // clears the line

#endif

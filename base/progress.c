#include "base/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { BAR_CELLS = 30, DRAW_EVERY_NS = 100000000 };

static void draw(tmac_progress *progress, uint64_t now)
{
    progress->drawn_ns = now;
    double part = progress->total ? (double)progress->done / (double)progress->total : 1.0;
    if (part > 1.0) part = 1.0;
    int filled = (int)(part * BAR_CELLS);
    char bar[BAR_CELLS + 1];
    memset(bar, '#', (size_t)filled);
    memset(bar + filled, '.', (size_t)(BAR_CELLS - filled));
    bar[BAR_CELLS] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %3d%%", progress->label, bar, (int)(part * 100.0));
    // Remaining time by the rate so far; meaningless before there is one.
    double elapsed = (double)(now - progress->started_ns) * 1e-9;
    if (part > 0.0 && elapsed > 0.5) {
        double left = elapsed * (1.0 - part) / part;
        uint64_t seconds = left < 359999.0 ? (uint64_t)(left + 0.5) : 359999;
        if (seconds >= 3600)
            fprintf(stderr, " %uh%02um left", (unsigned)(seconds / 3600),
                    (unsigned)(seconds / 60 % 60));
        else
            fprintf(stderr, " %u:%02u left", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
    }
    fflush(stderr);
}

void tmac_progress_begin(tmac_progress *progress, const char *label, uint64_t total)
{
    memset(progress, 0, sizeof *progress);
    progress->total = total;
    progress->started_ns = tmac_now_ns();
    progress->visible = isatty(STDERR_FILENO);
    tmac_progress_relabel(progress, label);
}

void tmac_progress_relabel(tmac_progress *progress, const char *label)
{
    // Labels may carry names out of files: nothing in them may drive the terminal.
    snprintf(progress->label, sizeof progress->label, "%s", label);
    for (char *c = progress->label; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    if (progress->visible) draw(progress, tmac_now_ns());
}

void tmac_progress_advance(tmac_progress *progress, uint64_t by)
{
    progress->done += by;
    if (!progress->visible) return;
    uint64_t now = tmac_now_ns();
    if (now - progress->drawn_ns >= DRAW_EVERY_NS) draw(progress, now);
}

void tmac_progress_end(tmac_progress *progress)
{
    if (progress->visible) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
    progress->visible = false;
}

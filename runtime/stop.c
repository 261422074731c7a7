// Strings that end a text (runtime/tmac.h).
//
// What has been fed and not yet been shown is held: at most one byte less than the longest string, since only a
// beginning of one has to wait. The earliest place where any of them begins ends the text.
#include <stdlib.h>
#include <string.h>

#include "runtime/tmac.h"

struct tmac_stop_strings {
    char **strings;
    size_t *lengths;
    uint32_t count;
    char *held;
    size_t held_bytes, shown, room; // held [0, shown) was handed out by the last call
};

tmac_status tmac_stop_strings_new(const char *const *strings, uint32_t count,
                                  tmac_stop_strings **stop)
{
    *stop = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (!strings[i][0]) return tmac_fail(TMAC_USAGE, "a stop string is empty");
    tmac_stop_strings *made = calloc(1, sizeof *made);
    bool complete = made != NULL;
    if (made) {
        made->strings = calloc((size_t)count + 1, sizeof *made->strings);
        made->lengths = calloc((size_t)count + 1, sizeof *made->lengths);
        complete = made->strings && made->lengths;
    }
    for (uint32_t i = 0; i < count && complete; i++) {
        made->strings[i] = strdup(strings[i]);
        made->lengths[i] = strlen(strings[i]);
        made->count++;
        complete = made->strings[i] != NULL;
    }
    if (!complete) {
        tmac_stop_strings_free(made);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for stop strings");
    }
    *stop = made;
    return tmac_ok();
}

void tmac_stop_strings_free(tmac_stop_strings *stop)
{
    if (!stop) return;
    for (uint32_t i = 0; i < stop->count; i++)
        free(stop->strings[i]);
    free(stop->strings);
    free(stop->lengths);
    free(stop->held);
    free(stop);
}

static void drop_shown(tmac_stop_strings *stop)
{
    stop->held_bytes -= stop->shown;
    if (stop->shown) memmove(stop->held, stop->held + stop->shown, stop->held_bytes);
    stop->shown = 0;
}

bool tmac_stop_strings_feed(tmac_stop_strings *stop, const char *bytes, size_t count,
                            const char **out, size_t *out_count)
{
    drop_shown(stop);
    if (stop->held_bytes + count > stop->room) {
        char *longer = realloc(stop->held, 2 * (stop->held_bytes + count) + 64);
        // Without memory the text goes on unwatched rather than be lost.
        if (!longer) {
            *out = bytes;
            *out_count = count;
            return false;
        }
        stop->held = longer;
        stop->room = 2 * (stop->held_bytes + count) + 64;
    }
    if (count) memcpy(stop->held + stop->held_bytes, bytes, count);
    stop->held_bytes += count;

    size_t at = 0;
    bool found = false;
    for (; at < stop->held_bytes; at++) {
        const size_t left = stop->held_bytes - at;
        bool begins = false;
        for (uint32_t i = 0; i < stop->count && !found; i++) {
            const size_t compared = left < stop->lengths[i] ? left : stop->lengths[i];
            if (memcmp(stop->held + at, stop->strings[i], compared) != 0) continue;
            found = compared == stop->lengths[i];
            begins = true;
        }
        if (begins) break;
    }
    *out = stop->held;
    *out_count = stop->shown = at;
    return found;
}

void tmac_stop_strings_flush(tmac_stop_strings *stop, const char **out, size_t *out_count)
{
    drop_shown(stop);
    *out = stop->held;
    *out_count = stop->shown = stop->held_bytes;
}

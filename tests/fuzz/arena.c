// Memory for jansson, whose many small blocks are most of the time of the targets that read JSON: blocks lie one after the
// other in one array and are given back together when an input is done with. As with the sanitizer's own blocks, what lies
// between them and what has been freed is poisoned; and whoever keeps one beyond the input is found, too.
#include <jansson.h>
#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

enum { ARENA_BYTES = 16 << 20, UNIT = 16 };

// Each block: a unit with its size, which stays poisoned but for the time it is looked at; the bytes; a gap.
static _Alignas(UNIT) char arena[ARENA_BYTES];
static size_t used;
static long live;

static void *take(size_t bytes)
{
    if (bytes > ARENA_BYTES / 2) return NULL;
    const size_t whole = UNIT + (bytes + 2 * UNIT - 1) / UNIT * UNIT;
    if (whole > ARENA_BYTES - used) return NULL;
    char *block = arena + used;
    ASAN_UNPOISON_MEMORY_REGION(block, UNIT + bytes);
    *(size_t *)(void *)block = bytes;
    ASAN_POISON_MEMORY_REGION(block, UNIT);
    used += whole;
    live++;
    return block + UNIT;
}

static void give(void *memory)
{
    if (!memory) return;
    char *block = (char *)memory - UNIT;
    ASAN_UNPOISON_MEMORY_REGION(block, UNIT);
    ASAN_POISON_MEMORY_REGION(block, UNIT + *(const size_t *)(const void *)block);
    live--;
}

void fuzz_begin(void)
{
    static bool ready;
    if (ready) return;
    ready = true;
    json_object_seed(1); // the same order of keys every time
    json_set_alloc_funcs(take, give);
    ASAN_POISON_MEMORY_REGION(arena, ARENA_BYTES);
}

void fuzz_end(void)
{
    if (live != 0) {
        fprintf(stderr, "%ld blocks of JSON were not freed\n", live);
        abort();
    }
    ASAN_POISON_MEMORY_REGION(arena, used);
    used = 0;
    fuzz_files(NULL, 0);
}

// The packed-weight cache: packed weights in a file, so that the next start neither packs nor waits. Private to runtime/,
// but for the two words about its folder, which cli/converted.c shares.
//
// A cache is a convenience: nothing here fails. Where there is no folder to write to, no space, or a file that is not
// what it should be, the model is packed as if there were no cache.
#ifndef TMAC_RUNTIME_CACHE_H
#define TMAC_RUNTIME_CACHE_H

#include "base/hash.h"
#include "base/pool.h"
#include "runtime/source.h"

// How its files' names end, and how many bytes they take together where nobody says another number.
#define TMAC_CACHE_SUFFIX ".tmacpack"
#define TMAC_CACHE_LIMIT  (16ull << 30)

typedef struct tmac_cache tmac_cache;

// One matrix of the model in the form that its kernels read.
typedef struct tmac_cache_piece {
    char tensor[64]; // which matrix; unique within the model
    char layout[64]; // in which form
    uint8_t sample
        [TMAC_HASH_BYTES]; // of what the form makes of some weights: a changed form is another one
    uint32_t rows, columns, group;
    size_t bytes;
    void *pointer; // where the pointer is, to data of any type, that is to point at the bytes
    const uint8_t
        *found;    // set by tmac_cache_open: the bytes in the cache file, NULL when it has none
    uint8_t *home; // set by the caller: where they belong
} tmac_cache_piece;

// Looks the model up under `directory`. pieces are copied; those that the file holds undamaged are marked, which takes
// reading them all, on the pool. limit: bytes that all files of the folder may take together; 0: 16 GiB. NULL only when
// out of memory.
tmac_cache *tmac_cache_open(const char *directory, uint64_t limit, tmac_pool *pool,
                            const tmac_source *source, tmac_cache_piece *pieces, uint32_t count);

// Every piece was found: points the model at the file and starts a thread that copies them to their homes.
void tmac_cache_move(tmac_cache *cache);

// All pieces are at home: starts a thread that writes them to a new file, with what other plans had in the old one.
void tmac_cache_write(tmac_cache *cache);

// Points the model at the pieces that have arrived at home since the last call. Between batches, by the thread that
// decodes. True while some are still on their way.
bool tmac_cache_settle(tmac_cache *cache);

// Whether the thread of tmac_cache_write is still at work.
bool tmac_cache_writing(const tmac_cache *cache);

// Stops a move. Gives a write 3 more seconds, then abandons it and leaves no trace of it. NULL is harmless.
void tmac_cache_close(tmac_cache *cache);

#endif

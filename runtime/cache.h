// The packed-weight cache: packed tiles in a file, so that the next start neither packs nor waits. Private to runtime/.
//
// A cache is a convenience: nothing here fails. Where there is no folder to write to, no space, or a file that is not
// what it should be, the model is packed as if there were no cache.
#ifndef TMAC_RUNTIME_CACHE_H
#define TMAC_RUNTIME_CACHE_H

#include "runtime/model_private.h"

typedef struct tmac_cache tmac_cache;

// One matrix of the model as the kernels read it.
typedef struct tmac_cache_piece {
    const tmac_matrix *matrix;
    const tmac_layout *layout; // NULL: rows of f32
    size_t bytes;
    tmac_linear *linear; // whose tiles (or weights) are to point at it
    const uint8_t
        *found;    // set by tmac_cache_open: the bytes in the cache file, NULL when it has none
    uint8_t *home; // set by the caller before _move or _write: where they belong
} tmac_cache_piece;

// Looks the model up under `directory`. pieces are copied; those that the file holds are marked. limit: bytes that all
// files of the folder may take together; 0: 16 GiB. NULL only when out of memory.
tmac_cache *tmac_cache_open(const char *directory, uint64_t limit, const tmac_source *source,
                            tmac_cache_piece *pieces, uint32_t count);

// Every piece was found: points the model at the file and starts a thread that copies them to their homes.
void tmac_cache_move(tmac_cache *cache, const tmac_cache_piece *pieces);

// Starts a thread that writes all pieces, which are at home, to a new file.
void tmac_cache_write(tmac_cache *cache, const tmac_cache_piece *pieces);

// Points the model at the pieces that have arrived at home since the last call. Between batches, by the thread that
// decodes. True while some are still on their way.
bool tmac_cache_settle(tmac_cache *cache);

// Stops a move, completes a write. NULL is harmless.
void tmac_cache_close(tmac_cache *cache);

#endif

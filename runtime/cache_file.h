// What the two halves of the cache share: the file's structure and the state of a cache. Included by cache*.c only.
#ifndef TMAC_RUNTIME_CACHE_FILE_H
#define TMAC_RUNTIME_CACHE_FILE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/file.h"
#include "runtime/cache.h"

enum { TMAC_CACHE_PAGE = 4096, TMAC_CACHE_PART = 1 << 20, TMAC_CACHE_PATH = 1000 };

typedef struct tmac_cache_header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t file_bytes;
    uint32_t entries, reserved;
    uint8_t key[TMAC_HASH_BYTES];
    uint8_t hash[TMAC_HASH_BYTES]; // of the header, this field zero, and the entries
    uint8_t padding[32];
} tmac_cache_header;

typedef struct tmac_cache_entry {
    // What it is; compared as bytes:
    char tensor[64];
    char layout[64];
    uint8_t sample[TMAC_HASH_BYTES];
    uint32_t rows, columns, group, reserved;
    uint64_t bytes;
    // Where it is, and what is known of it:
    uint64_t offset;
    uint64_t
        checksum;     // the sum of tmac_checksum over its parts of 1 MiB, seeded with their numbers
    uint64_t written; // 1 for the first plan of the file, counting up: who was wanted last
} tmac_cache_entry;

_Static_assert(sizeof(tmac_cache_header) == 128 && sizeof(tmac_cache_entry) == 208,
               "the file has no holes");

struct tmac_cache {
    char directory[TMAC_CACHE_PATH], path[TMAC_CACHE_PATH + 128];
    uint64_t limit;
    uint8_t key[TMAC_HASH_BYTES];
    uint32_t count;
    tmac_cache_piece *pieces;
    tmac_map map; // the file found; no data: none
    bool damaged; // something in it was not as it had been written

    pthread_t thread;
    bool running;
    atomic_ullong deadline; // when the thread is to give up, in nanoseconds
    atomic_uint arrived;    // pieces copied so far
    atomic_bool writing;    // the thread writes a file
    uint32_t settled;       // pieces swapped so far
};

// cache.c: maps the model's file. *count entries; NULL, and no map, when there is no file of this model whose index is
// whole.
const tmac_cache_entry *tmac_cache_read(const tmac_cache *cache, tmac_map *map, uint32_t *count);

// cache.c: the entry that the piece would have, as far as its description goes.
tmac_cache_entry tmac_cache_describe(const tmac_cache_piece *piece);

// cache.c: whether they are the same matrix in the same form.
bool tmac_cache_same(const tmac_cache_entry *a, const tmac_cache_entry *b);

// cache.c: the hash of header and entries that the header carries.
void tmac_cache_hash(tmac_cache_header head, const tmac_cache_entry *entries,
                     uint8_t hash[TMAC_HASH_BYTES]);

static inline size_t tmac_cache_parts(size_t bytes)
{
    return (bytes + TMAC_CACHE_PART - 1) / TMAC_CACHE_PART;
}

// The checksum of one part of a piece.
uint64_t tmac_cache_part(const uint8_t *data, size_t bytes, size_t part);

// cache_write.c: the body of the writing thread; argument: the cache.
void *tmac_cache_write_main(void *argument);

extern const char tmac_cache_magic[8];
enum { TMAC_CACHE_VERSION = 2, TMAC_CACHE_BYTE_ORDER = 0x01020304 };

#endif

// One file per model, DIRECTORY/KEY.tmacpack, in the byte order of the machine that wrote it:
//
//   header   128 bytes
//   entries  header.entries of them: which tensor, in which form, where, its checksum
//   pieces   each on a page boundary
//
// One tensor can be there in several forms: those of the present plan, and what earlier plans and other heads wanted
// (cache_write.c says how much of it is kept).
//
// Rules. A file is complete or absent: it is written under a temporary name and renamed, and never changed afterwards,
// so any number of processes may map it while another replaces it. The key is the SHA-256 of what the model is: the
// hash that its file records (else device, inode, size and time), its dimensions, and one decoded row of every matrix,
// which tells apart two readings of one file. A form is known by its name and by what it makes of sample weights, so
// that a file from a build whose form was different is of no use rather than wrong. The header carries the SHA-256 of
// itself and the entries. Every piece that is wanted is read and compared with its checksum before it is used, by all
// threads: some 60 ms for 700 MB, of which half is the page faults that the first token would have. A damaged piece is
// packed again. So nothing needs to be forced to the disk: what a crash swallows is noticed.
//
// A model starts on the mapping at once. A thread copies piece after piece into huge pages, gives the pages of
// the mapping back as it goes, and raises `arrived`; the decoding thread swaps pointers between batches. A kernel
// that still reads the mapping meanwhile gets the same bytes from the page cache.
#include "runtime/cache_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checksum.h"
#include "base/clock.h"
#include "runtime/tmac.h"

const char tmac_cache_magic[8] = {'T', 'M', 'A', 'C', 'P', 'A', 'C', 'K'};
enum { ENTRIES_MAX = 1 << 20 };
static const uint64_t LAST_WAIT_NS = 3000000000ull;

bool tmac_cache_directory(char *path, size_t room)
{
    static const struct {
        const char *variable, *below;
    } PLACES[] = {{"TMAC_CACHE", ""}, {"XDG_CACHE_HOME", "/tmac"}, {"HOME", "/.cache/tmac"}};
    for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++) {
        const char *value = getenv(PLACES[i].variable); // NOLINT(concurrency-mt-unsafe)
        if (!value || !*value) continue;
        const int length = snprintf(path, room, "%s%s", value, PLACES[i].below);
        return length > 0 && (size_t)length < room;
    }
    return false;
}

// ------------------------------------------------------------------------------------------------------------- keys

static void add_row(tmac_hash_state *state, const tmac_matrix *matrix, void *buffer)
{
    const uint32_t row = matrix->rows / 2;
    const uint32_t facts[] = {matrix->rows, matrix->columns, matrix->group,
                              (uint32_t)matrix->number};
    tmac_hash_add(state, facts, sizeof facts);
    if (tmac_number_is_integer(matrix->number)) {
        matrix->read_codes(matrix, row, 1, buffer);
        tmac_hash_add(state, buffer, matrix->columns);
    } else {
        matrix->read_float(matrix, row, 1, buffer);
        tmac_hash_add(state, buffer, matrix->columns * sizeof(float));
    }
}

static bool make_key(tmac_cache *cache, const tmac_source *source)
{
    tmac_hash_state state;
    tmac_hash_begin(&state);
    if (source->has_recorded_hash) {
        tmac_hash_add(&state, source->recorded_hash, sizeof source->recorded_hash);
    } else {
        struct stat facts;
        if (stat(source->path, &facts) != 0) return false;
        const uint64_t numbers[] = {(uint64_t)facts.st_dev, (uint64_t)facts.st_ino,
                                    (uint64_t)facts.st_size, (uint64_t)facts.st_mtim.tv_sec,
                                    (uint64_t)facts.st_mtim.tv_nsec};
        tmac_hash_add(&state, numbers, sizeof numbers);
    }
    size_t widest = source->dim;
    if (source->hidden > widest) widest = source->hidden;
    if ((size_t)source->heads * source->head_dim > widest)
        widest = (size_t)source->heads * source->head_dim;
    void *buffer = calloc(widest, sizeof(float));
    if (!buffer) return false;
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_source_layer *layer = &source->layers[l];
        const tmac_matrix *const matrices[] = {&layer->query,  &layer->key,  &layer->value,
                                               &layer->output, &layer->gate, &layer->up,
                                               &layer->down};
        for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
            add_row(&state, matrices[i], buffer);
    }
    add_row(&state, &source->head, buffer);
    free(buffer);
    tmac_hash_end(&state, cache->key);
    return true;
}

tmac_cache_entry tmac_cache_describe(const tmac_cache_piece *piece)
{
    tmac_cache_entry entry;
    memset(&entry, 0, sizeof entry);
    snprintf(entry.tensor, sizeof entry.tensor, "%s", piece->tensor);
    snprintf(entry.layout, sizeof entry.layout, "%s", piece->layout);
    memcpy(entry.sample, piece->sample, sizeof entry.sample);
    entry.rows = piece->rows;
    entry.columns = piece->columns;
    entry.group = piece->group;
    entry.bytes = piece->bytes;
    return entry;
}

bool tmac_cache_same(const tmac_cache_entry *a, const tmac_cache_entry *b)
{
    return memcmp(a, b, offsetof(tmac_cache_entry, offset)) == 0;
}

// ---------------------------------------------------------------------------------------------------------- reading

void tmac_cache_hash(tmac_cache_header head, const tmac_cache_entry *entries,
                     uint8_t hash[TMAC_HASH_BYTES])
{
    tmac_hash_state state;
    memset(head.hash, 0, sizeof head.hash);
    tmac_hash_begin(&state);
    tmac_hash_add(&state, &head, sizeof head);
    tmac_hash_add(&state, entries, head.entries * sizeof *entries);
    tmac_hash_end(&state, hash);
}

static const tmac_cache_entry *check_file(const tmac_cache *cache, const tmac_map *map,
                                          uint32_t *count)
{
    tmac_cache_header head;
    if (map->bytes < sizeof head) return NULL;
    memcpy(&head, map->data, sizeof head);
    if (memcmp(head.magic, tmac_cache_magic, sizeof head.magic) != 0 ||
        head.version != TMAC_CACHE_VERSION || head.byte_order != TMAC_CACHE_BYTE_ORDER ||
        head.file_bytes != map->bytes || head.entries > ENTRIES_MAX ||
        memcmp(head.key, cache->key, sizeof head.key) != 0)
        return NULL;
    const size_t index = sizeof head + head.entries * sizeof(tmac_cache_entry);
    if (index > map->bytes) return NULL;
    const tmac_cache_entry *entries =
        (const tmac_cache_entry *)(const void *)(map->data + sizeof head);
    uint8_t hash[TMAC_HASH_BYTES];
    tmac_cache_hash(head, entries, hash);
    if (memcmp(hash, head.hash, sizeof hash) != 0) return NULL;
    for (uint32_t i = 0; i < head.entries; i++)
        if (entries[i].offset % TMAC_CACHE_PAGE != 0 || entries[i].offset < index ||
            entries[i].offset > map->bytes || entries[i].bytes > map->bytes - entries[i].offset)
            return NULL;
    *count = head.entries;
    return entries;
}

const tmac_cache_entry *tmac_cache_read(const tmac_cache *cache, tmac_map *map, uint32_t *count)
{
    struct stat facts;
    *count = 0;
    if (tmac_map_open(cache->path, map).code != TMAC_OK) return NULL;
    const tmac_cache_entry *entries = NULL;
    if (stat(cache->path, &facts) == 0 && facts.st_uid == geteuid()) // not somebody else's
        entries = check_file(cache, map, count);
    if (!entries) tmac_map_close(map);
    return entries;
}

uint64_t tmac_cache_part(const uint8_t *data, size_t bytes, size_t part)
{
    const size_t at = part * TMAC_CACHE_PART, left = bytes - at;
    return tmac_checksum(data + at, left < TMAC_CACHE_PART ? left : TMAC_CACHE_PART, part);
}

typedef struct verification {
    const tmac_cache_piece *pieces;
    uint32_t count;
    atomic_ullong *sums; // of the pieces
} verification;

// Each worker reads its share of every piece.
static void verify_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const verification *task = argument;
    for (uint32_t i = 0; i < task->count; i++) {
        const tmac_cache_piece *piece = &task->pieces[i];
        if (!piece->found) continue;
        uint64_t begin, end, sum = 0;
        // Small pieces have one part: they are dealt out in turn.
        const uint32_t seat = (worker + i) % workers;
        tmac_share(tmac_cache_parts(piece->bytes), seat, workers, &begin, &end);
        for (uint64_t part = begin; part < end; part++)
            sum += tmac_cache_part(piece->found, piece->bytes, part);
        if (begin < end) atomic_fetch_add_explicit(&task->sums[i], sum, memory_order_relaxed);
    }
}

// Files of one model are written in one order, so the entry wanted next is nearly always the next one.
static void find_pieces(tmac_cache *cache, tmac_pool *pool)
{
    uint32_t count = 0, next = 0;
    const tmac_cache_entry *entries = tmac_cache_read(cache, &cache->map, &count);
    atomic_ullong *sums = calloc(cache->count + (size_t)1, sizeof *sums);
    uint64_t *wanted = calloc(cache->count + (size_t)1, sizeof *wanted);
    for (uint32_t i = 0; i < cache->count && entries && sums && wanted; i++) {
        const tmac_cache_entry want = tmac_cache_describe(&cache->pieces[i]);
        for (uint32_t tried = 0; tried < count; tried++) {
            const tmac_cache_entry *entry = &entries[(next + tried) % count];
            if (!tmac_cache_same(entry, &want)) continue;
            cache->pieces[i].found = cache->map.data + entry->offset;
            wanted[i] = entry->checksum;
            next = (next + tried + 1) % count;
            break;
        }
    }
    if (entries && sums && wanted) {
        tmac_pool_run(pool, verify_phase, &(verification){cache->pieces, cache->count, sums});
        for (uint32_t i = 0; i < cache->count; i++)
            if (cache->pieces[i].found && atomic_load(&sums[i]) != wanted[i]) {
                cache->pieces[i].found = NULL;
                cache->damaged = true;
            }
        utimensat(AT_FDCWD, cache->path, NULL, 0); // used now: evicted last
    }
    free(sums);
    free(wanted);
}

tmac_cache *tmac_cache_open(const char *directory, uint64_t limit, tmac_pool *pool,
                            const tmac_source *source, tmac_cache_piece *pieces, uint32_t count)
{
    tmac_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return NULL;
    cache->count = count;
    cache->limit = limit ? limit : TMAC_CACHE_LIMIT;
    atomic_init(&cache->deadline, UINT64_MAX);
    cache->pieces = calloc(count + (size_t)1, sizeof *cache->pieces);
    if (!cache->pieces) {
        tmac_cache_close(cache);
        return NULL;
    }
    memcpy(cache->pieces, pieces, count * sizeof *pieces);
    if (strlen(directory) < TMAC_CACHE_PATH && make_key(cache, source)) {
        char hex[TMAC_HASH_HEX];
        tmac_hash_hex(cache->key, hex);
        snprintf(cache->directory, sizeof cache->directory, "%s", directory);
        snprintf(cache->path, sizeof cache->path, "%s/%.32s%s", directory, hex, TMAC_CACHE_SUFFIX);
        find_pieces(cache, pool);
        for (uint32_t i = 0; i < count; i++)
            pieces[i].found = cache->pieces[i].found;
    }
    return cache;
}

// ----------------------------------------------------------------------------------------------------------- moving

static void point(const tmac_cache_piece *piece, const uint8_t *at)
{
    memcpy(piece->pointer, &at, sizeof at);
}

static void *move_main(void *argument)
{
    tmac_cache *cache = argument;
    for (uint32_t i = 0; i < cache->count; i++) {
        const tmac_cache_piece *piece = &cache->pieces[i];
        for (size_t at = 0; at < piece->bytes; at += TMAC_CACHE_PART) {
            if (tmac_now_ns() > atomic_load_explicit(&cache->deadline, memory_order_relaxed))
                return NULL;
            const size_t left = piece->bytes - at;
            memcpy(piece->home + at, piece->found + at,
                   left < TMAC_CACHE_PART ? left : TMAC_CACHE_PART);
        }
        madvise((void *)piece->found, piece->bytes, MADV_DONTNEED);
        atomic_store_explicit(&cache->arrived, i + 1, memory_order_release);
    }
    return NULL;
}

void tmac_cache_move(tmac_cache *cache)
{
    for (uint32_t i = 0; i < cache->count; i++)
        point(&cache->pieces[i], cache->pieces[i].found);
    // Without a thread the model stays on the mapping, which is slower and as right.
    cache->running = pthread_create(&cache->thread, NULL, move_main, cache) == 0;
}

bool tmac_cache_settle(tmac_cache *cache)
{
    if (cache->settled == cache->count) return false;
    const uint32_t arrived = atomic_load_explicit(&cache->arrived, memory_order_acquire);
    for (; cache->settled < arrived; cache->settled++)
        point(&cache->pieces[cache->settled], cache->pieces[cache->settled].home);
    if (cache->settled < cache->count) return cache->running;
    pthread_join(cache->thread, NULL);
    cache->running = false;
    tmac_map_close(&cache->map);
    return false;
}

void tmac_cache_write(tmac_cache *cache)
{
    cache->settled = cache->count; // all at home
    tmac_map_close(&cache->map);
    if (cache->count == 0 || !cache->directory[0]) return;
    atomic_store(&cache->writing, true);
    cache->running = pthread_create(&cache->thread, NULL, tmac_cache_write_main, cache) == 0;
    if (!cache->running) atomic_store(&cache->writing, false);
}

bool tmac_cache_writing(const tmac_cache *cache)
{
    return atomic_load(&cache->writing);
}

void tmac_cache_close(tmac_cache *cache)
{
    if (!cache) return;
    if (cache->running) {
        const bool moving = cache->settled < cache->count;
        atomic_store(&cache->deadline, moving ? 0 : tmac_now_ns() + LAST_WAIT_NS);
        pthread_join(cache->thread, NULL);
    }
    tmac_map_close(&cache->map);
    free(cache->pieces);
    free(cache);
}

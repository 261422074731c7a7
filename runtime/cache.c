// One file per model, DIRECTORY/KEY.tmacpack, in the byte order of the machine that wrote it:
//
//   header   128 bytes: see `header`
//   entries  header.entries of them: which tensor, in which layout, where
//   pieces   each on a page boundary
//
// Rules. A file is complete or absent: it is written under a temporary name, synced and renamed, and never changed
// afterwards, so any number of processes may map it while another replaces it. The key is the SHA-256 of what the model
// is: the hash that its file records (else device, inode, size and time), its dimensions, and one decoded row of every
// matrix, which tells apart two readings of one file. A layout is known by its name and by the bytes it packs a sample
// into, so that a file from a build whose layout was different is of no use rather than wrong. The header carries
// the SHA-256 of itself and the entries; the pieces are not hashed at start, because that takes longer than packing.
//
// A model starts on the mapping at once. A thread copies piece after piece into huge pages, gives the pages of
// the mapping back as it goes, and raises `arrived`; the decoding thread swaps pointers between batches. A kernel
// that still reads the mapping meanwhile gets the same bytes from the page cache.
#include "runtime/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"

static const char MAGIC[8] = {'T', 'M', 'A', 'C', 'P', 'A', 'C', 'K'};
static const char SUFFIX[] = ".tmacpack";
enum { VERSION = 1, BYTE_ORDER_MARK = 0x01020304, PAGE = 4096, COPY_PART = 4 << 20 };
enum { ENTRIES_MAX = 1 << 20, PATH_BYTES = 1000, STALE_SECONDS = 3600 };
static const uint64_t DEFAULT_LIMIT = 16ull << 30;

typedef struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t file_bytes;
    uint32_t entries, reserved;
    uint8_t key[TMAC_HASH_BYTES];
    uint8_t hash[TMAC_HASH_BYTES]; // of the header, this field zero, and the entries
    uint8_t padding[32];
} header;

typedef struct entry {
    char tensor[64]; // its number among the model's matrices, and its name
    char layout[64];
    uint8_t layout_sample[TMAC_HASH_BYTES];
    uint32_t rows, columns, group, reserved;
    uint64_t offset, bytes;
} entry;

_Static_assert(sizeof(header) == 128 && sizeof(entry) == 192, "the file has no holes");

struct tmac_cache {
    char directory[PATH_BYTES], path[PATH_BYTES + 128];
    uint64_t limit;
    uint8_t key[TMAC_HASH_BYTES];
    uint32_t count;
    tmac_cache_piece *pieces;
    entry *entries; // of the pieces; offsets are set when a file is written
    tmac_map map;   // the file found; no data: none

    pthread_t thread;
    bool running;
    atomic_bool stop;
    atomic_uint arrived; // pieces copied so far
    uint32_t settled;    // pieces swapped so far
};

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

// What the layout does with a sample of weights.
static void sample_layout(const tmac_layout *layout, uint8_t hash[TMAC_HASH_BYTES])
{
    static const tmac_shape SHAPES[] = {{0, 160, 160}, {0, 131, 64}};
    tmac_hash_state state;
    tmac_hash_begin(&state);
    for (int i = 0; i < 2; i++) {
        tmac_shape shape = SHAPES[i];
        shape.rows = layout->row_tile;
        const size_t bytes = layout->tile_bytes(&shape);
        const size_t weights = (size_t)shape.rows * shape.columns;
        int8_t *sample = malloc(weights);
        uint8_t *tile = bytes ? aligned_alloc(64, bytes) : NULL;
        if (sample && tile) {
            for (size_t w = 0; w < weights; w++)
                sample[w] = (int8_t)((int)((w * w * 7 + w / 11) % 3) - 1);
            layout->pack_tile(&shape, sample, shape.rows, tile);
            tmac_hash_add(&state, tile, bytes);
        }
        free(sample);
        free(tile);
    }
    tmac_hash_end(&state, hash);
}

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
    size_t widest = 1;
    for (uint32_t i = 0; i < cache->count; i++)
        if (cache->pieces[i].matrix->columns > widest) widest = cache->pieces[i].matrix->columns;
    void *buffer = calloc(widest, sizeof(float));
    if (!buffer) return false;
    for (uint32_t i = 0; i < cache->count; i++)
        add_row(&state, cache->pieces[i].matrix, buffer);
    free(buffer);
    tmac_hash_end(&state, cache->key);
    return true;
}

static void describe_pieces(tmac_cache *cache)
{
    for (uint32_t i = 0; i < cache->count; i++) {
        const tmac_cache_piece *piece = &cache->pieces[i];
        entry *e = &cache->entries[i];
        snprintf(e->tensor, sizeof e->tensor, "%u %.50s", i, piece->matrix->name);
        e->rows = piece->matrix->rows;
        e->columns = piece->matrix->columns;
        e->group = piece->layout ? piece->matrix->group : 0;
        e->bytes = piece->bytes;
        snprintf(e->layout, sizeof e->layout, "%s", piece->layout ? piece->layout->name : "f32");
        if (!piece->layout) continue;
        uint32_t same = 0; // a piece whose layout was sampled already
        while (same < i && cache->pieces[same].layout != piece->layout)
            same++;
        if (same < i)
            memcpy(e->layout_sample, cache->entries[same].layout_sample, TMAC_HASH_BYTES);
        else
            sample_layout(piece->layout, e->layout_sample);
    }
}

// ---------------------------------------------------------------------------------------------------------- reading

static void hash_index(header head, const entry *entries, uint8_t hash[TMAC_HASH_BYTES])
{
    tmac_hash_state state;
    memset(head.hash, 0, sizeof head.hash);
    tmac_hash_begin(&state);
    tmac_hash_add(&state, &head, sizeof head);
    tmac_hash_add(&state, entries, head.entries * sizeof *entries);
    tmac_hash_end(&state, hash);
}

// The entries of the file, NULL when it is not a whole and undamaged cache file of this model.
static const entry *check_file(const tmac_cache *cache, uint32_t *count)
{
    const tmac_map *map = &cache->map;
    header head;
    if (map->bytes < sizeof head) return NULL;
    memcpy(&head, map->data, sizeof head);
    if (memcmp(head.magic, MAGIC, sizeof MAGIC) != 0 || head.version != VERSION ||
        head.byte_order != BYTE_ORDER_MARK || head.file_bytes != map->bytes ||
        head.entries > ENTRIES_MAX || memcmp(head.key, cache->key, sizeof head.key) != 0)
        return NULL;
    const size_t index = sizeof head + head.entries * sizeof(entry);
    if (index > map->bytes) return NULL;
    const entry *entries = (const entry *)(const void *)(map->data + sizeof head);
    uint8_t hash[TMAC_HASH_BYTES];
    hash_index(head, entries, hash);
    if (memcmp(hash, head.hash, sizeof hash) != 0) return NULL;
    for (uint32_t i = 0; i < head.entries; i++)
        if (entries[i].offset % PAGE != 0 || entries[i].offset < index ||
            entries[i].offset > map->bytes || entries[i].bytes > map->bytes - entries[i].offset)
            return NULL;
    *count = head.entries;
    return entries;
}

// Files of one model are written in one order, so the entry wanted next is nearly always the next one.
static void find_pieces(const tmac_cache *cache, tmac_cache_piece *pieces)
{
    uint32_t count = 0, next = 0;
    const entry *entries = check_file(cache, &count);
    for (uint32_t i = 0; i < cache->count && entries; i++)
        for (uint32_t tried = 0; tried < count; tried++) {
            const entry *e = &entries[(next + tried) % count];
            if (memcmp(e, &cache->entries[i], offsetof(entry, offset)) != 0 ||
                e->bytes != pieces[i].bytes)
                continue;
            pieces[i].found = cache->map.data + e->offset;
            next = (next + tried + 1) % count;
            break;
        }
}

static void open_file(tmac_cache *cache)
{
    struct stat facts;
    if (tmac_map_open(cache->path, &cache->map).code != TMAC_OK) return;
    if (stat(cache->path, &facts) != 0 || facts.st_uid != geteuid())
        tmac_map_close(&cache->map); // somebody else's
    else
        utimensat(AT_FDCWD, cache->path, NULL, 0); // used now: evicted last
}

tmac_cache *tmac_cache_open(const char *directory, uint64_t limit, const tmac_source *source,
                            tmac_cache_piece *pieces, uint32_t count)
{
    tmac_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return NULL;
    cache->count = count;
    cache->limit = limit ? limit : DEFAULT_LIMIT;
    cache->pieces = calloc(count + (size_t)1, sizeof *cache->pieces);
    cache->entries = calloc(count + (size_t)1, sizeof *cache->entries);
    if (cache->pieces && cache->entries) {
        memcpy(cache->pieces, pieces, count * sizeof *pieces);
        if (strlen(directory) < PATH_BYTES && make_key(cache, source)) {
            char hex[TMAC_HASH_HEX];
            tmac_hash_hex(cache->key, hex);
            snprintf(cache->directory, sizeof cache->directory, "%s", directory);
            snprintf(cache->path, sizeof cache->path, "%s/%.32s%s", directory, hex, SUFFIX);
            describe_pieces(cache);
            open_file(cache);
            find_pieces(cache, pieces);
        }
        return cache;
    }
    tmac_cache_close(cache);
    return NULL;
}

// ----------------------------------------------------------------------------------------------------------- moving

static void point(const tmac_cache_piece *piece, const uint8_t *at)
{
    if (piece->layout)
        piece->linear->tiles = at;
    else
        piece->linear->weights = at;
}

static void *move_main(void *argument)
{
    tmac_cache *cache = argument;
    for (uint32_t i = 0; i < cache->count; i++) {
        const tmac_cache_piece *piece = &cache->pieces[i];
        for (size_t at = 0; at < piece->bytes; at += COPY_PART) {
            if (atomic_load_explicit(&cache->stop, memory_order_relaxed)) return NULL;
            const size_t part = piece->bytes - at < COPY_PART ? piece->bytes - at : COPY_PART;
            memcpy(piece->home + at, piece->found + at, part);
        }
        madvise((void *)piece->found, piece->bytes, MADV_DONTNEED);
        atomic_store_explicit(&cache->arrived, i + 1, memory_order_release);
    }
    return NULL;
}

void tmac_cache_move(tmac_cache *cache, const tmac_cache_piece *pieces)
{
    memcpy(cache->pieces, pieces, cache->count * sizeof *pieces);
    for (uint32_t i = 0; i < cache->count; i++)
        point(&pieces[i], pieces[i].found);
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

// ---------------------------------------------------------------------------------------------------------- writing

// Makes the folder and those above it.
static bool make_directory(const char *path)
{
    char part[PATH_BYTES];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES)
            return false;
        *slash = '/';
    }
    return mkdir(part, 0700) == 0 || errno == EEXIST;
}

typedef struct cached_file {
    struct timespec used;
    uint64_t bytes;
    char name[256];
} cached_file;

static int by_age(const void *a, const void *b)
{
    const struct timespec *x = &((const cached_file *)a)->used;
    const struct timespec *y = &((const cached_file *)b)->used;
    if (x->tv_sec != y->tv_sec) return (x->tv_sec > y->tv_sec) - (x->tv_sec < y->tv_sec);
    return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

// Removes files, the least recently used first, until the folder holds `room` bytes less than its limit; and what
// writers that died left behind.
static void evict(const tmac_cache *cache, uint64_t room)
{
    DIR *directory = opendir(cache->directory);
    if (!directory) return;
    const int folder = dirfd(directory);
    cached_file *files = NULL;
    size_t count = 0, space = 0;
    uint64_t total = room;
    const struct dirent *item;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this thread's own
    while ((item = readdir(directory))) {
        struct stat facts;
        const char *suffix = strstr(item->d_name, SUFFIX);
        if (!suffix || fstatat(folder, item->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (suffix[sizeof SUFFIX - 1] != '\0') { // a temporary name
            if (facts.st_mtim.tv_sec + STALE_SECONDS < time(NULL))
                unlinkat(folder, item->d_name, 0);
            continue;
        }
        if (count == space) {
            cached_file *more = realloc(files, (space += 64) * sizeof *files);
            if (!more) break;
            files = more;
        }
        files[count] = (cached_file){.used = facts.st_mtim, .bytes = (uint64_t)facts.st_size};
        snprintf(files[count].name, sizeof files[count].name, "%s", item->d_name);
        total += files[count++].bytes;
    }
    if (files) qsort(files, count, sizeof *files, by_age);
    for (size_t i = 0; i < count && total > cache->limit; i++)
        if (unlinkat(folder, files[i].name, 0) == 0) total -= files[i].bytes;
    free(files);
    closedir(directory);
}

static void *write_main(void *argument)
{
    tmac_cache *cache = argument;
    header head = {.version = VERSION, .byte_order = BYTE_ORDER_MARK, .entries = cache->count};
    memcpy(head.magic, MAGIC, sizeof MAGIC);
    memcpy(head.key, cache->key, sizeof head.key);
    uint64_t end = sizeof head + cache->count * sizeof(entry);
    for (uint32_t i = 0; i < cache->count; i++) {
        cache->entries[i].offset = tmac_round_up((size_t)end, PAGE);
        end = cache->entries[i].offset + cache->entries[i].bytes;
    }
    head.file_bytes = end;
    hash_index(head, cache->entries, head.hash);
    if (end > cache->limit || !make_directory(cache->directory)) return NULL;
    unlink(cache->path); // it does not count against the room that evict makes
    evict(cache, end);
    tmac_output output;
    if (tmac_output_open(cache->path, &output).code != TMAC_OK) return NULL;
    fchmod(fileno(output.stream), 0600);
    tmac_output_write(&output, &head, sizeof head);
    tmac_output_write(&output, cache->entries, cache->count * sizeof *cache->entries);
    for (uint32_t i = 0; i < cache->count; i++) {
        tmac_output_pad(&output, PAGE);
        tmac_output_write(&output, cache->pieces[i].home, cache->pieces[i].bytes);
    }
    (void)tmac_output_commit(&output); // a full disk leaves nothing behind, and packing still works
    return NULL;
}

void tmac_cache_write(tmac_cache *cache, const tmac_cache_piece *pieces)
{
    memcpy(cache->pieces, pieces, cache->count * sizeof *pieces);
    cache->settled = cache->count; // all at home
    tmac_map_close(&cache->map);
    if (cache->count && cache->directory[0])
        cache->running = pthread_create(&cache->thread, NULL, write_main, cache) == 0;
}

void tmac_cache_close(tmac_cache *cache)
{
    if (!cache) return;
    atomic_store(&cache->stop, true);
    if (cache->running) pthread_join(cache->thread, NULL);
    tmac_map_close(&cache->map);
    free(cache->pieces);
    free(cache->entries);
    free(cache);
}

// Writing the cache file: what the present plan reads, then what earlier plans wanted, newest first, while the file
// stays below three times the present plan's bytes and below the folder's limit.
//
// In the background, while the first tokens are decoded. The file is not forced to the disk: checksums tell what a crash
// swallowed. Whatever goes wrong, a full disk, a limit on file sizes, the program's end: the temporary file is removed
// and the old one stays.
#include "runtime/cache_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/folder.h"
#include "base/memory.h"

enum { STALE_SECONDS = 3600, KEPT_PLANS = 3 };

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

// Removes other models' files, the least recently used first, until they leave `room` bytes below the folder's limit;
// and what writers that died left behind.
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
        const char *suffix = strstr(item->d_name, TMAC_CACHE_SUFFIX);
        if (!suffix || fstatat(folder, item->d_name, &facts, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (suffix[sizeof TMAC_CACHE_SUFFIX - 1] != '\0') { // a temporary name
            if (facts.st_mtim.tv_sec + STALE_SECONDS < time(NULL))
                unlinkat(folder, item->d_name, 0);
            continue;
        }
        if (strcmp(item->d_name, strrchr(cache->path, '/') + 1) == 0) continue; // to be replaced
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

// One piece of the file being written.
typedef struct outgoing {
    tmac_cache_entry entry;
    const uint8_t *data;
} outgoing;

static uint64_t sum_parts(const uint8_t *data, size_t bytes)
{
    uint64_t sum = 0;
    for (size_t part = 0; part < tmac_cache_parts(bytes); part++)
        sum += tmac_cache_part(data, bytes, part);
    return sum;
}

static int newest_first(const void *a, const void *b)
{
    const tmac_cache_entry *x = &((const outgoing *)a)->entry, *y = &((const outgoing *)b)->entry;
    if (x->written != y->written) return x->written < y->written ? 1 : -1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static bool listed(const outgoing *list, uint32_t count, const tmac_cache_entry *entry)
{
    for (uint32_t i = 0; i < count; i++)
        if (tmac_cache_same(&list[i].entry, entry)) return true;
    return false;
}

// Lists the present plan's pieces in `list`, then what is kept of the old file: room for both. Returns how many, 0 when
// the old file has all that is wanted already, another process having written it.
static uint32_t list_pieces(const tmac_cache *cache, const tmac_map *old,
                            const tmac_cache_entry *entries, uint32_t entry_count, outgoing *list)
{
    uint32_t known = 0, intact = 0, count = cache->count;
    uint64_t newest = 0, bytes = 0;
    for (uint32_t i = 0; i < entry_count; i++)
        if (entries[i].written > newest) newest = entries[i].written;
    for (uint32_t i = 0; i < count; i++) {
        const tmac_cache_piece *piece = &cache->pieces[i];
        list[i] = (outgoing){tmac_cache_describe(piece), piece->home};
        list[i].entry.checksum = sum_parts(piece->home, piece->bytes);
        bytes += tmac_round_up(piece->bytes, TMAC_CACHE_PAGE);
        for (uint32_t e = 0; e < entry_count; e++)
            if (tmac_cache_same(&entries[e], &list[i].entry)) {
                known++;
                intact += entries[e].checksum == list[i].entry.checksum;
            }
    }
    if (intact == count && !cache->damaged) return 0;
    for (uint32_t i = 0; i < count; i++) // a repair is no new plan
        list[i].entry.written = known == count ? newest : newest + 1;
    for (uint32_t i = 0; i < entry_count; i++)
        if (!listed(list, cache->count, &entries[i]))
            list[count++] = (outgoing){entries[i], old->data + entries[i].offset};
    qsort(list + cache->count, count - cache->count, sizeof *list, newest_first);
    const uint64_t index = sizeof(tmac_cache_header) + count * sizeof(tmac_cache_entry);
    const uint64_t most = KEPT_PLANS * bytes;
    uint32_t kept = cache->count;
    for (uint32_t i = cache->count; i < count; i++) {
        const size_t size = list[i].entry.bytes;
        const uint64_t with = bytes + tmac_round_up(size, TMAC_CACHE_PAGE);
        if (with > most || with + index + TMAC_CACHE_PAGE > cache->limit) continue;
        if (sum_parts(list[i].data, size) != list[i].entry.checksum) continue;
        madvise((void *)list[i].data, size, MADV_DONTNEED); // not to count twice in memory
        bytes = with;
        list[kept++] = list[i];
    }
    return kept;
}

// In parts, so that the end of the program is noticed.
static bool put(const tmac_cache *cache, int file, const uint8_t *data, size_t bytes,
                uint64_t offset)
{
    for (size_t at = 0; at < bytes;) {
        if (tmac_now_ns() > atomic_load_explicit(&cache->deadline, memory_order_relaxed))
            return false;
        const size_t left = bytes - at;
        const ssize_t done = pwrite(
            file, data + at, left < TMAC_CACHE_PART ? left : TMAC_CACHE_PART, (off_t)(offset + at));
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        at += (size_t)done;
    }
    return true;
}

static bool put_all(const tmac_cache *cache, int file, const tmac_cache_header *head,
                    const tmac_cache_entry *entries, const outgoing *list)
{
    // Space that is not there is best known before the first byte; what cannot tell is asked by writing.
    if (fallocate(file, 0, 0, (off_t)head->file_bytes) != 0 && errno != EOPNOTSUPP &&
        errno != ENOSYS)
        return false;
    bool good =
        put(cache, file, (const uint8_t *)head, sizeof *head, 0) &&
        put(cache, file, (const uint8_t *)entries, head->entries * sizeof *entries, sizeof *head);
    for (uint32_t i = 0; i < head->entries && good; i++) {
        good = put(cache, file, list[i].data, entries[i].bytes, entries[i].offset);
        if (i >= cache->count) madvise((void *)list[i].data, entries[i].bytes, MADV_DONTNEED);
    }
    return good;
}

static void write_file(const tmac_cache *cache, outgoing *list, uint32_t count)
{
    tmac_cache_header head = {
        .version = TMAC_CACHE_VERSION, .byte_order = TMAC_CACHE_BYTE_ORDER, .entries = count};
    memcpy(head.magic, tmac_cache_magic, sizeof head.magic);
    memcpy(head.key, cache->key, sizeof head.key);
    tmac_cache_entry *entries = calloc(count, sizeof *entries);
    if (!entries) return;
    uint64_t end = sizeof head + count * sizeof *entries;
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = list[i].entry;
        entries[i].offset = tmac_round_up((size_t)end, TMAC_CACHE_PAGE);
        end = entries[i].offset + entries[i].bytes;
    }
    head.file_bytes = end;
    tmac_cache_hash(head, entries, head.hash);
    char temporary[sizeof cache->path + 64];
    snprintf(temporary, sizeof temporary, "%s.tmp.%ld", cache->path, (long)getpid());
    if (end <= cache->limit && tmac_folder_make(cache->directory, 0700).code == TMAC_OK) {
        evict(cache, end);
        const int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (file >= 0) {
            bool good = put_all(cache, file, &head, entries, list);
            good &= close(file) == 0;
            if (!good || rename(temporary, cache->path) != 0) unlink(temporary);
        }
    }
    free(entries);
}

void *tmac_cache_write_main(void *argument)
{
    tmac_cache *cache = argument;
    sigset_t signals; // a limit on file sizes is an error of the write, not the end of the program
    sigemptyset(&signals);
    sigaddset(&signals, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    tmac_map old = {0};
    uint32_t old_count;
    const tmac_cache_entry *entries = tmac_cache_read(cache, &old, &old_count);
    outgoing *list = calloc((size_t)cache->count + old_count, sizeof *list);
    const uint32_t count = list ? list_pieces(cache, &old, entries, old_count, list) : 0;
    if (count) write_file(cache, list, count);
    free(list);
    tmac_map_close(&old);
    atomic_store(&cache->writing, false);
    return NULL;
}

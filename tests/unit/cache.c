// The packed-weight cache file by itself: what it keeps of several plans, what it forgets, and what becomes of it when
// the disk, the folder or the file will not do.
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checksum.h"
#include "runtime/cache.h"

enum { PIECES = 5, COLUMNS = 64 };

// One start of a program: pieces of one plan, and where they lie once they are home.
typedef struct start {
    tmac_cache *cache;
    tmac_cache_piece pieces[PIECES];
    const uint8_t *pointer[PIECES];
    uint8_t *home[PIECES];
    uint32_t found;
} start;

static char folder[64];
static tmac_pool *pool;

static void read_row(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    (void)matrix;
    for (uint32_t i = 0; i < count * COLUMNS; i++)
        values[i] = (float)(first + i);
}

static tmac_source model(uint8_t number)
{
    tmac_source source = {.dim = COLUMNS, .has_recorded_hash = true};
    source.recorded_hash[0] = number;
    source.head =
        (tmac_matrix){.number = TMAC_F32, .rows = 3, .columns = COLUMNS, .read_float = read_row};
    return source;
}

static size_t piece_bytes(uint32_t i)
{
    static const size_t BYTES[PIECES] = {1, 4096, 3 << 20, 70001, 1 << 20};
    return BYTES[i];
}

static uint8_t byte_of(uint8_t number, const char *layout, uint32_t i, size_t at)
{
    return (uint8_t)(tmac_checksum(&at, sizeof at, i * 7919u + number) + (uint8_t)layout[0]);
}

// As packing does: asks for the pieces, and has them all at home.
static void begin(start *s, uint8_t number, const char *layout, uint64_t limit)
{
    memset(s, 0, sizeof *s);
    const tmac_source source = model(number);
    for (uint32_t i = 0; i < PIECES; i++) {
        const char *form = i ? layout : "always"; // the first piece is the same whatever the plan
        tmac_cache_piece *piece = &s->pieces[i];
        snprintf(piece->tensor, sizeof piece->tensor, "%u", i);
        snprintf(piece->layout, sizeof piece->layout, "%s", form);
        piece->bytes = piece_bytes(i);
        piece->pointer = &s->pointer[i];
        piece->home = s->home[i] = malloc(piece->bytes);
        cr_assert_not_null(piece->home);
    }
    s->cache = tmac_cache_open(folder, limit, pool, &source, s->pieces, PIECES);
    cr_assert_not_null(s->cache);
    for (uint32_t i = 0; i < PIECES; i++) {
        const uint8_t *found = s->pieces[i].found;
        s->found += found != NULL;
        for (size_t at = 0; at < piece_bytes(i); at++)
            s->home[i][at] = byte_of(number, i ? layout : "always", i, at);
        if (found) cr_assert(memcmp(found, s->home[i], piece_bytes(i)) == 0, "piece %u", i);
    }
}

static void end(start *s)
{
    tmac_cache_close(s->cache);
    for (uint32_t i = 0; i < PIECES; i++)
        free(s->home[i]);
}

// A whole start that writes what it did not find. Returns how many pieces it found.
static uint32_t start_once(uint8_t number, const char *layout, uint64_t limit)
{
    start s;
    begin(&s, number, layout, limit);
    if (s.found < PIECES) tmac_cache_write(s.cache);
    end(&s);
    return s.found;
}

// The files of the folder; *path is the last of them.
static uint32_t files(char path[320], uint64_t *bytes)
{
    uint32_t count = 0;
    *bytes = 0;
    DIR *directory = opendir(folder);
    const struct dirent *item;
    while (directory && (item = readdir(directory))) { // NOLINT(concurrency-mt-unsafe)
        struct stat facts;
        if (item->d_name[0] == '.') continue;
        snprintf(path, 320, "%s/%.255s", folder, item->d_name);
        cr_assert_eq(stat(path, &facts), 0);
        *bytes += (uint64_t)facts.st_size;
        count++;
    }
    if (directory) closedir(directory);
    return count;
}

static void set_up(void)
{
    snprintf(folder, sizeof folder, "/tmp/tmac-cache-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(tmac_pool_new(2, &pool).code, TMAC_OK);
}

static void tear_down(void)
{
    char path[320];
    uint64_t bytes;
    chmod(folder, 0700);
    while (files(path, &bytes))
        unlink(path);
    rmdir(folder);
    tmac_pool_free(pool);
}

TestSuite(cache, .init = set_up, .fini = tear_down);

Test(cache, several_plans_share_one_file)
{
    char path[320];
    uint64_t one, two;
    cr_assert_eq(start_once(1, "first", 0), 0);
    cr_assert_eq(files(path, &one), 1);
    cr_assert_eq(start_once(1, "first", 0), PIECES);
    cr_assert_eq(start_once(1, "second", 0), 1, "what no plan changes is found");
    cr_assert_eq(start_once(1, "first", 0), PIECES);
    cr_assert_eq(start_once(1, "second", 0), PIECES);
    cr_assert_eq(files(path, &two), 1);
    cr_assert_lt(two, 2 * one, "the common piece is there once");
}

Test(cache, old_plans_are_forgotten_in_time)
{
    static const char *const PLANS[] = {"a", "b", "c", "d", "e"};
    char path[320];
    uint64_t one, all;
    start_once(1, PLANS[0], 0);
    files(path, &one);
    for (int i = 1; i < 5; i++)
        start_once(1, PLANS[i], 0);
    cr_assert_eq(files(path, &all), 1);
    cr_assert_leq(all, 3 * one + 65536);
    cr_assert_eq(start_once(1, "e", 0), PIECES);
    cr_assert_eq(start_once(1, "d", 0), PIECES);
    cr_assert_lt(start_once(1, "a", 0), PIECES);
}

Test(cache, the_folder_has_a_limit)
{
    char path[320];
    uint64_t one, all;
    start_once(1, "plan", 0);
    files(path, &one);
    const uint64_t limit = 2 * one + 4096;
    for (uint8_t number = 2; number <= 5; number++) {
        usleep(20000); // files have ages
        cr_assert_eq(start_once(number, "plan", limit), 0);
        files(path, &all);
        cr_assert_leq(all, limit);
    }
    cr_assert_eq(start_once(5, "plan", limit), PIECES);
    cr_assert_eq(start_once(4, "plan", limit), PIECES);
    cr_assert_eq(start_once(1, "plan", limit), 0, "the least recently used one went first");
    cr_assert_eq(start_once(9, "plan", one - 1), 0);
    cr_assert_eq(start_once(9, "plan", one - 1), 0, "a model above the limit is not written");
    // A limit that leaves room for one plan only.
    start_once(7, "other", one + 4096);
    cr_assert_eq(start_once(7, "plan", one + 4096), 1);
    cr_assert_eq(start_once(7, "plan", one + 4096), PIECES);
}

Test(cache, every_flipped_bit_is_noticed)
{
    char path[320];
    uint64_t bytes;
    start_once(1, "plan", 0);
    cr_assert_eq(files(path, &bytes), 1);
    // Page boundaries are between pieces: what lies there is no weight.
    for (uint64_t at = 5000; at < bytes; at += bytes / 23) {
        const int file = open(path, O_RDWR);
        uint8_t byte;
        cr_assert(file >= 0 && pread(file, &byte, 1, (off_t)at) == 1);
        byte ^= 16;
        cr_assert(pwrite(file, &byte, 1, (off_t)at) == 1);
        close(file);
        start s; // begin() compares what is found with what it should be
        begin(&s, 1, "plan", 0);
        if (s.found < PIECES) tmac_cache_write(s.cache);
        end(&s);
        cr_assert_eq(start_once(1, "plan", 0), PIECES, "repaired");
    }
    cr_assert_eq(truncate(path, (off_t)bytes / 2), 0);
    cr_assert_eq(start_once(1, "plan", 0), 0, "a torn file is of no use");
    cr_assert_eq(start_once(1, "plan", 0), PIECES);
}

Test(cache, the_other_plan_of_a_damaged_file_is_not_carried_over)
{
    char path[320];
    uint64_t bytes;
    start_once(1, "first", 0);
    cr_assert_eq(files(path, &bytes), 1);
    const int file = open(path, O_RDWR);
    cr_assert(file >= 0 && pwrite(file, "\377\0\377", 3, (off_t)bytes - 5000) == 3);
    close(file);
    cr_assert_eq(start_once(1, "second", 0), 1);
    cr_assert_eq(start_once(1, "first", 0), PIECES - 1, "the damaged piece was left behind");
    cr_assert_eq(start_once(1, "second", 0), PIECES);
}

Test(cache, weights_move_home)
{
    start_once(1, "plan", 0);
    start s;
    begin(&s, 1, "plan", 0);
    cr_assert_eq(s.found, PIECES);
    for (uint32_t i = 0; i < PIECES; i++)
        memset(s.home[i], 0, piece_bytes(i));
    tmac_cache_move(s.cache);
    for (uint32_t i = 0; i < PIECES; i++)
        cr_assert_eq(s.pointer[i], s.pieces[i].found);
    while (tmac_cache_settle(s.cache))
        usleep(1000);
    for (uint32_t i = 0; i < PIECES; i++) {
        cr_assert_eq(s.pointer[i], s.home[i]);
        for (size_t at = 0; at < piece_bytes(i); at++)
            cr_assert_eq(s.home[i][at], byte_of(1, i ? "plan" : "always", i, at));
    }
    end(&s);
    begin(&s, 1, "plan", 0); // and a program that ends in the middle of it
    tmac_cache_move(s.cache);
    end(&s);
}

// In a child, which has no workers but its own.
static uint32_t start_in_child(const char *layout)
{
    tmac_pool_new(1, &pool);
    return start_once(1, layout, 0);
}

// The limit is for good.
static int start_with_small_files(void)
{
    const struct rlimit limit = {1 << 20, 1 << 20};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 9;
    return start_in_child("second") == 1 ? 0 : 1;
}

Test(cache, a_limit_on_file_sizes_is_survived)
{
    char path[320];
    uint64_t before, after;
    start_once(1, "first", 0);
    cr_assert_eq(files(path, &before), 1);
    const pid_t child = fork();
    if (child == 0) _exit(start_with_small_files());
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0, "the child ended with %#x", (unsigned)status);
    cr_assert_eq(files(path, &after), 1, "nothing half-written is left");
    cr_assert_eq(after, before);
    cr_assert_eq(start_once(1, "first", 0), PIECES);
}

Test(cache, a_folder_that_cannot_be_written)
{
    start_once(1, "first", 0);
    if (geteuid() == 0) { // root may write anywhere: a name that is no folder does as well
        char path[320];
        uint64_t bytes;
        files(path, &bytes);
        snprintf(folder, sizeof folder, "/proc/nowhere");
        cr_assert_eq(start_once(1, "first", 0), 0);
        *strrchr(path, '/') = '\0';
        snprintf(folder, sizeof folder, "%.63s", path);
    } else {
        cr_assert_eq(chmod(folder, 0500), 0);
        cr_assert_eq(start_once(1, "second", 0), 1);
    }
    cr_assert_eq(start_once(1, "first", 0), PIECES);
}

Test(cache, two_writers_at_once)
{
    start a, b;
    begin(&a, 1, "first", 0);
    begin(&b, 1, "second", 0);
    tmac_cache_write(a.cache);
    const pid_t child = fork(); // a temporary name belongs to a process
    if (child == 0) {
        _exit(start_in_child("third") == PIECES);
    }
    int status = -1;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    end(&a);
    tmac_cache_write(b.cache);
    end(&b);
    char path[320];
    uint64_t bytes;
    cr_assert_eq(files(path, &bytes), 1);
    cr_assert_eq(start_once(1, "second", 0), PIECES, "the last one is whole");
}

Test(checksum, every_bit_and_every_length_counts)
{
    uint8_t data[200];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t bytes = 1; bytes < sizeof data; bytes++) {
        const uint64_t want = tmac_checksum(data, bytes, 5);
        cr_assert_neq(tmac_checksum(data, bytes - 1, 5), want);
        cr_assert_neq(tmac_checksum(data, bytes, 6), want);
        for (size_t bit = 0; bit < 8 * bytes; bit++) {
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            cr_assert_neq(tmac_checksum(data, bytes, 5), want);
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    // The top bits of two words of one lane: a product alone would let them cancel.
    uint8_t words[256] = {0};
    const uint64_t zeros = tmac_checksum(words, sizeof words, 0);
    words[7] = words[71] = 128;
    cr_assert_neq(tmac_checksum(words, sizeof words, 0), zeros);
}

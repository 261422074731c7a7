#include "cli/converted.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "base/folder.h"
#include "base/hash.h"
#include "base/version.h"
#include "runtime/cache.h"

enum { PATH_BYTES = sizeof((tmac_output *)0)->path }; // no longer path can be written

// The sum of the files' digests does not depend on the order in which a folder lists them.
static void add_file(const char *name, const struct stat *facts, uint8_t sum[TMAC_HASH_BYTES])
{
    tmac_hash_state hash;
    uint8_t digest[TMAC_HASH_BYTES];
    const int64_t numbers[] = {facts->st_size, facts->st_mtim.tv_sec, facts->st_mtim.tv_nsec};
    tmac_hash_begin(&hash);
    tmac_hash_add(&hash, name, strlen(name) + 1);
    tmac_hash_add(&hash, numbers, sizeof numbers);
    tmac_hash_end(&hash, digest);
    for (int i = 0; i < TMAC_HASH_BYTES; i++)
        sum[i] ^= digest[i];
}

// All files of a folder; false when it cannot be listed.
static bool add_folder(const char *path, uint8_t sum[TMAC_HASH_BYTES])
{
    DIR *directory = opendir(path);
    if (!directory) return false;
    for (struct dirent *entry; (entry = readdir(directory));) { // NOLINT(concurrency-mt-unsafe)
        struct stat facts;
        if (fstatat(dirfd(directory), entry->d_name, &facts, 0) == 0 && S_ISREG(facts.st_mode))
            add_file(entry->d_name, &facts, sum);
    }
    closedir(directory);
    return true;
}

// Where the model's file in the cache is or will be; false when the model is not there.
static bool name_file(const char *model, const tmac_open_options *options, const char *cache,
                      char path[PATH_BYTES])
{
    struct stat facts;
    uint8_t sum[TMAC_HASH_BYTES] = {0}, digest[TMAC_HASH_BYTES];
    char hex[TMAC_HASH_HEX], *real = stat(model, &facts) == 0 ? realpath(model, NULL) : NULL;
    const bool found = real && (S_ISREG(facts.st_mode) || add_folder(model, sum));
    if (found && S_ISREG(facts.st_mode)) add_file("", &facts, sum);
    if (found) {
        const uint32_t readings[] = {options->base3, options->bit_order, options->i2s_layout};
        tmac_hash_state hash;
        tmac_hash_begin(&hash);
        tmac_hash_add(&hash, TMAC_VERSION, sizeof TMAC_VERSION);
        tmac_hash_add(&hash, real, strlen(real) + 1);
        tmac_hash_add(&hash, readings, sizeof readings);
        tmac_hash_add(&hash, sum, sizeof sum);
        tmac_hash_end(&hash, digest);
        tmac_hash_hex(digest, hex);
    }
    free(real);
    return found &&
           snprintf(path, PATH_BYTES, "%s/%s.tm2%s", cache, hex, TMAC_CACHE_SUFFIX) < PATH_BYTES;
}

typedef const tmac_matrix *layer_parts[TMAC_SOURCE_PARTS];

static void list_parts(const tmac_source_layer *layer, layer_parts parts)
{
    const layer_parts all = {&layer->query, &layer->key, &layer->value, &layer->output,
                             &layer->gate,  &layer->up,  &layer->down};
    memcpy(parts, all, sizeof all);
}

// Whether starting from a TM2 of this model is faster than from what was opened. Where a vocabulary is missing nothing
// starts.
static bool is_slow(const tmac_source *source)
{
    if (strcmp(source->format, "TM2") == 0 || source->vocabulary.size == 0) return false;
    if (source->laborious || !source->embedding.in_place || !source->head.in_place) return true;
    for (uint32_t l = 0; l < source->layer_count; l++) {
        layer_parts parts;
        list_parts(&source->layers[l], parts);
        for (int i = 0; i < TMAC_SOURCE_PARTS; i++)
            if (!tmac_number_is_integer(parts[i]->number) && !parts[i]->in_place) return true;
    }
    return false;
}

static uint64_t matrix_bytes(const tmac_matrix *matrix)
{
    static const uint64_t bits[] = {
        [TMAC_F32] = 32, [TMAC_F16] = 16, [TMAC_BF16] = 16, [TMAC_TERNARY] = 2,
        [TMAC_Q1] = 1,   [TMAC_Q2] = 2,   [TMAC_Q3] = 3,    [TMAC_Q4] = 4};
    return (uint64_t)matrix->rows * matrix->columns * bits[matrix->number] / 8 +
           4 * (uint64_t)matrix->scale_count;
}

// Whether the file leaves the cache, and the disk, as much again.
static bool has_room(const tmac_source *source, const char *cache)
{
    uint64_t bytes = matrix_bytes(&source->embedding);
    if (!source->tied_head) bytes += matrix_bytes(&source->head);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        layer_parts parts;
        list_parts(&source->layers[l], parts);
        for (int i = 0; i < TMAC_SOURCE_PARTS; i++)
            bytes += matrix_bytes(parts[i]);
    }
    struct statvfs disk;
    return bytes < TMAC_CACHE_LIMIT / 2 && statvfs(cache, &disk) == 0 &&
           bytes / disk.f_frsize < disk.f_bavail / 2;
}

// The model as a file. Without another tokenizer: the file is the model's, whoever asks for it.
static bool convert(const char *model, const tmac_open_options *options, const char *cache,
                    const char *path)
{
    tmac_source source;
    tmac_open_options own = *options;
    own.tokenizer = NULL;
    own.defer_checks = false;
    if (tmac_source_open(model, &own, &source).code != TMAC_OK) return false;
    const bool done =
        has_room(&source, cache) && tmac_tm2_write(&source, path, false).code == TMAC_OK;
    tmac_source_close(&source);
    return done;
}

tmac_status tmac_converted_open(const char *model, const tmac_open_options *options,
                                const char *cache, const char *program, tmac_source *source)
{
    struct stat facts;
    char path[PATH_BYTES];
    if (!cache || !name_file(model, options, cache, path))
        return tmac_source_open(model, options, source);
    if (stat(path, &facts) == 0 && tmac_source_open(path, options, source).code == TMAC_OK) {
        utimensat(AT_FDCWD, path, NULL, 0); // used now: dropped last
        return tmac_ok();
    }
    if (stat(model, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        if (tmac_folder_make(cache, 0700).code != TMAC_OK || !convert(model, options, cache, path))
            return tmac_source_open(model, options, source);
    } else {
        TMAC_TRY(tmac_source_open(model, options, source));
        if (!is_slow(source) || tmac_folder_make(cache, 0700).code != TMAC_OK ||
            !has_room(source, cache))
            return tmac_ok();
        // What is slow has been checked, for only TM2's reader defers that; another tokenizer has replaced its vocabulary.
        if (options->tokenizer ? !convert(model, options, cache, path)
                               : tmac_tm2_write(source, path, false).code != TMAC_OK)
            return tmac_ok();
        tmac_source_close(source);
    }
    fprintf(stderr, "%s: %s was converted to a file in %s, which later starts use\n", program,
            model, cache);
    return tmac_source_open(path, options, source);
}

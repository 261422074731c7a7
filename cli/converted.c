#include "cli/converted.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/version.h"
#include "runtime/cache_file.h"

enum { PATH_BYTES = 1200 };

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

// Where the folder's file is or will be; false when the folder cannot be listed.
static bool name_file(const char *folder, const tmac_open_options *options, const char *cache,
                      char path[PATH_BYTES])
{
    DIR *directory = opendir(folder);
    char *real = realpath(folder, NULL), hex[TMAC_HASH_HEX];
    uint8_t sum[TMAC_HASH_BYTES] = {0}, digest[TMAC_HASH_BYTES];
    if (directory && real) {
        for (struct dirent *entry; (entry = readdir(directory));) { // NOLINT(concurrency-mt-unsafe)
            struct stat facts;
            if (fstatat(dirfd(directory), entry->d_name, &facts, 0) == 0 && S_ISREG(facts.st_mode))
                add_file(entry->d_name, &facts, sum);
        }
        tmac_hash_state hash;
        const uint32_t base3 = options->base3;
        tmac_hash_begin(&hash);
        tmac_hash_add(&hash, TMAC_VERSION, sizeof TMAC_VERSION);
        tmac_hash_add(&hash, real, strlen(real) + 1);
        tmac_hash_add(&hash, &base3, sizeof base3);
        tmac_hash_add(&hash, sum, sizeof sum);
        tmac_hash_end(&hash, digest);
        tmac_hash_hex(digest, hex);
    }
    const bool found = directory && real;
    if (directory) closedir(directory);
    free(real);
    return found && snprintf(path, PATH_BYTES, "%s/%s.tm2%s", cache, hex, TMAC_CACHE_SUFFIX) < 1000;
}

static bool make_folder(const char *path)
{
    char part[PATH_BYTES];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = part; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(part, 0700);
        *slash = '/';
    }
    struct stat facts;
    mkdir(part, 0700);
    return stat(part, &facts) == 0 && S_ISDIR(facts.st_mode);
}

// The folder as a file. Without another tokenizer: the file is the folder's, whoever asks for it.
static bool convert(const char *folder, const tmac_open_options *options, const char *path)
{
    tmac_source source;
    tmac_open_options own = *options;
    own.tokenizer = NULL;
    own.defer_checks = false;
    if (tmac_source_open(folder, &own, &source).code != TMAC_OK) return false;
    const bool done = tmac_tm2_write(&source, path, false).code == TMAC_OK;
    tmac_source_close(&source);
    return done;
}

tmac_status tmac_converted_open(const char *model, const tmac_open_options *options,
                                const char *cache, const char *program, tmac_source *source)
{
    struct stat facts;
    char path[PATH_BYTES];
    if (!cache || stat(model, &facts) != 0 || !S_ISDIR(facts.st_mode) ||
        !name_file(model, options, cache, path))
        return tmac_source_open(model, options, source);
    if (stat(path, &facts) == 0 && tmac_source_open(path, options, source).code == TMAC_OK) {
        utimensat(AT_FDCWD, path, NULL, 0); // used now: dropped last
        return tmac_ok();
    }
    if (!make_folder(cache) || !convert(model, options, path))
        return tmac_source_open(model, options, source);
    fprintf(stderr, "%s: %s was converted to a file in %s, which later starts use\n", program,
            model, cache);
    return tmac_source_open(path, options, source);
}

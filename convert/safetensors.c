// safetensors, in one file or several:
//
//   0   u64 header bytes h
//   8   JSON: {"name": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, "__metadata__": {..}}
//   8+h the data; offsets count from here. The tensors tile it: no holes, no overlaps, nothing behind the last.
//
// A sharded model has model.safetensors.index.json, whose "weight_map" says for every tensor which file has it.
//
// The headers come from strangers: sizes are checked against the file before use, names may not repeat within or across
// files, and file names in an index may not leave the folder.
#include "convert/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "convert/bytes.h"
#include "convert/neutral.h"

enum { HEADER_MAX = 100 << 20, SHARDS_MAX = 1000, PATH_BYTES = 1200 };

static const struct {
    const char *name;
    tmac_st_type type;
    uint32_t bytes;
} types[] = {
    {"F32", TMAC_ST_F32, 4},   {"F16", TMAC_ST_F16, 2},       {"BF16", TMAC_ST_BF16, 2},
    {"U8", TMAC_ST_U8, 1},     {"I8", TMAC_ST_OTHER, 1},      {"BOOL", TMAC_ST_OTHER, 1},
    {"I16", TMAC_ST_OTHER, 2}, {"U16", TMAC_ST_OTHER, 2},     {"I32", TMAC_ST_OTHER, 4},
    {"U32", TMAC_ST_OTHER, 4}, {"I64", TMAC_ST_OTHER, 8},     {"U64", TMAC_ST_OTHER, 8},
    {"F64", TMAC_ST_OTHER, 8}, {"F8_E4M3", TMAC_ST_OTHER, 1}, {"F8_E5M2", TMAC_ST_OTHER, 1},
};

// -------------------------------------------------------------------------------------------------------- a header

static tmac_status take_shape(const json_t *shape, uint32_t unit, tmac_st_tensor *tensor)
{
    size_t count = unit;
    tensor->dimensions = (uint32_t)json_array_size(shape);
    if (!json_is_array(shape) || tensor->dimensions > TMAC_ST_DIMENSIONS)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has no shape of up to %d dimensions",
                         tensor->name, TMAC_ST_DIMENSIONS);
    for (uint32_t d = 0; d < TMAC_ST_DIMENSIONS; d++) {
        json_int_t extent =
            d < tensor->dimensions ? json_integer_value(json_array_get(shape, d)) : 1;
        if (extent <= 0 || !tmac_size_multiply(count, (size_t)extent, &count) ||
            count > (size_t)1 << 48)
            return tmac_fail(TMAC_BAD_FILE, "tensor %s has an absurd shape", tensor->name);
        tensor->extent[d] = (uint64_t)extent;
    }
    tensor->bytes = count;
    return tmac_ok();
}

static tmac_status take_tensor(const json_t *entry, const uint8_t *data, uint64_t data_bytes,
                               tmac_st_tensor *tensor)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const char *type_name = json_string_value(json_object_get(entry, "dtype"));
    size_t kind = 0;
    while (type_name && kind < sizeof types / sizeof *types &&
           strcmp(types[kind].name, type_name) != 0)
        kind++;
    if (!type_name || kind == sizeof types / sizeof *types)
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %s has dtype %.20s, which we do not know",
                         tensor->name, type_name ? type_name : "(none)");
    tensor->type = types[kind].type;
    snprintf(tensor->type_name, sizeof tensor->type_name, "%s", type_name);
    TMAC_TRY(take_shape(json_object_get(entry, "shape"), types[kind].bytes, tensor));
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last) ||
        begin < 0 || end < begin)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has no proper data_offsets", tensor->name);
    if ((uint64_t)end > data_bytes)
        return tmac_fail(TMAC_BAD_FILE,
                         "tensor %s ends at byte %lld of the data but the file has %llu: truncated "
                         "download?",
                         tensor->name, (long long)end, (unsigned long long)data_bytes);
    if ((uint64_t)(end - begin) != tensor->bytes)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has %lld bytes, its shape needs %llu",
                         tensor->name, (long long)(end - begin), (unsigned long long)tensor->bytes);
    tensor->data = data + begin;
    return tmac_ok();
}

static tmac_status add_tensor(tmac_safetensors *files, const char *name, const json_t *entry,
                              const uint8_t *data, uint64_t data_bytes)
{
    if (files->tensor_count == files->tensor_room) {
        size_t room = 2 * files->tensor_room + 256;
        tmac_st_tensor *larger = realloc(files->tensors, room * sizeof *larger);
        if (!larger) return tmac_no_memory();
        files->tensors = larger;
        files->tensor_room = room;
    }
    tmac_st_tensor *tensor = &files->tensors[files->tensor_count];
    memset(tensor, 0, sizeof *tensor);
    tensor->name = strdup(name);
    if (!tensor->name) return tmac_no_memory();
    files->tensor_count++;
    return take_tensor(entry, data, data_bytes, tensor);
}

static tmac_status read_header(tmac_safetensors *files, const tmac_map *map, tmac_hash_state *hash)
{
    if (map->bytes < 10)
        return tmac_fail(TMAC_BAD_FILE, "no safetensors file: it has only %zu bytes", map->bytes);
    uint64_t header = tmac_load_u64(map->data);
    if (header < 2 || header > HEADER_MAX || map->data[8] != '{')
        return tmac_fail(TMAC_BAD_FILE, "no safetensors file: its header makes no sense");
    if (header > map->bytes - 8)
        return tmac_fail(TMAC_BAD_FILE,
                         "the header ends at byte %llu but the file has %zu: truncated download?",
                         (unsigned long long)header + 8, map->bytes);
    tmac_hash_add(hash, map->data, (size_t)header + 8);
    json_error_t error;
    json_t *root =
        json_loadb((const char *)map->data + 8, (size_t)header, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return tmac_fail(TMAC_BAD_FILE, "the header is not a JSON object: %s at byte %d",
                         error.text, error.position);
    }
    tmac_status status = tmac_ok();
    const char *name;
    json_t *entry;
    uint64_t data_bytes = map->bytes - 8 - header, sum = 0;
    json_object_foreach(root, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0) continue;
        status = add_tensor(files, name, entry, map->data + 8 + header, data_bytes);
        if (status.code != TMAC_OK) break;
        sum += files->tensors[files->tensor_count - 1].bytes;
    }
    json_decref(root);
    if (status.code == TMAC_OK && sum != data_bytes)
        status = tmac_fail(TMAC_BAD_FILE,
                           "its tensors have %llu bytes together but the data has %llu: damaged",
                           (unsigned long long)sum, (unsigned long long)data_bytes);
    return status;
}

// -------------------------------------------------------------------------------------------------------- the files

static tmac_status add_file(tmac_safetensors *files, const char *folder, const char *name,
                            tmac_hash_state *hash)
{
    char path[PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return tmac_fail(TMAC_UNSUPPORTED, "the path is too long");
    tmac_map *map = &files->shards[files->shard_count];
    TMAC_TRY(tmac_map_open(path, map));
    files->shard_count++;
    struct stat facts;
    if (stat(path, &facts) == 0) {
        const int64_t known[] = {facts.st_size, facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec,
                                 (int64_t)facts.st_ino};
        tmac_hash_add(hash, known, sizeof known);
    }
    tmac_status status = read_header(files, map, hash);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", name);
}

static bool is_plain_name(const char *name)
{
    size_t length = strlen(name);
    return length > 12 && length < 200 && !strchr(name, '/') && name[0] != '.' &&
           strcmp(name + length - 12, ".safetensors") == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The files that the index names, each once, in order.
static tmac_status open_indexed(tmac_safetensors *files, const char *folder, const json_t *map,
                                tmac_hash_state *hash)
{
    size_t count = 0, all = json_object_size(map);
    const char **names = calloc(all + 1, sizeof *names);
    if (!names) return tmac_no_memory();
    tmac_status status = tmac_ok();
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, file)
    {
        const char *name = json_string_value(file);
        if (!name || !is_plain_name(name))
            status = tmac_fail(TMAC_BAD_FILE,
                               "the index names no proper file for tensor %.200s: '%.200s' is no "
                               "*.safetensors file of this folder",
                               tensor, name ? name : "");
        else
            names[count++] = name;
    }
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count && status.code == TMAC_OK; i++) {
        if (i && strcmp(names[i], names[i - 1]) == 0) continue;
        status = files->shard_count == SHARDS_MAX
                     ? tmac_fail(TMAC_UNSUPPORTED, "more than %d files", SHARDS_MAX)
                     : add_file(files, folder, names[i], hash);
    }
    free(names);
    return status;
}

// The only *.safetensors of a folder without an index.
static tmac_status open_only(tmac_safetensors *files, const char *folder, tmac_hash_state *hash)
{
    DIR *directory = opendir(folder);
    if (!directory) return tmac_fail(TMAC_IO, "%s", strerror(errno));
    char only[256] = "";
    uint32_t count = 0;
    bool pickled = false;
    for (struct dirent *entry; (entry = readdir(directory));) { // NOLINT(concurrency-mt-unsafe)
        size_t length = strlen(entry->d_name);
        if (length > 4 && strcmp(entry->d_name + length - 4, ".bin") == 0) pickled = true;
        if (!is_plain_name(entry->d_name)) continue;
        count++;
        snprintf(only, sizeof only, "%s", entry->d_name);
        if (strcmp(only, "model.safetensors") == 0) break;
    }
    closedir(directory);
    if (strcmp(only, "model.safetensors") == 0 || count == 1)
        return add_file(files, folder, only, hash);
    if (count == 0)
        return tmac_fail(TMAC_NOT_FOUND, "no model weights (*.safetensors) found%s",
                         pickled ? "; PyTorch's pickled *.bin files are not read, because loading "
                                   "one can run any program: convert them to safetensors"
                                 : "");
    return tmac_fail(TMAC_BAD_FILE, "%u files *.safetensors but no model.safetensors.index.json",
                     count);
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const tmac_st_tensor *)a)->name, ((const tmac_st_tensor *)b)->name);
}

static tmac_status sort(tmac_safetensors *files, const json_t *index)
{
    if (files->tensor_count) // NULL without
        qsort(files->tensors, files->tensor_count, sizeof *files->tensors, compare_tensors);
    for (size_t i = 1; i < files->tensor_count; i++)
        if (compare_tensors(&files->tensors[i - 1], &files->tensors[i]) == 0)
            return tmac_fail(TMAC_BAD_FILE, "tensor %s is there twice", files->tensors[i].name);
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)index, name, file)
    {
        if (!tmac_safetensors_find(files, name))
            return tmac_fail(TMAC_BAD_FILE, "tensor %s, which the index puts into %s, is not there",
                             name, json_string_value(file));
    }
    return tmac_ok();
}

tmac_status tmac_safetensors_open(const char *folder, tmac_safetensors *files)
{
    memset(files, 0, sizeof *files);
    char path[PATH_BYTES];
    struct stat facts;
    json_t *index = NULL, *map = NULL;
    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder) >=
        sizeof path)
        return tmac_fail(TMAC_UNSUPPORTED, "the path is too long");
    if (stat(path, &facts) == 0) {
        json_error_t error;
        index = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        map = json_object_get(index, "weight_map");
        if (!json_is_object(map)) {
            tmac_status status =
                index ? tmac_fail(TMAC_BAD_FILE, "the index has no weight_map")
                      : tmac_fail(TMAC_BAD_FILE, "the index, line %d: %s", error.line, error.text);
            json_decref(index);
            return status;
        }
    }
    tmac_hash_state hash;
    tmac_hash_begin(&hash);
    files->shards = calloc(SHARDS_MAX, sizeof *files->shards);
    tmac_status status = !files->shards ? tmac_no_memory()
                         : map          ? open_indexed(files, folder, map, &hash)
                                        : open_only(files, folder, &hash);
    if (status.code == TMAC_OK) status = sort(files, map);
    json_decref(index);
    tmac_hash_end(&hash, files->hash);
    if (status.code != TMAC_OK) tmac_safetensors_close(files);
    return status;
}

void tmac_safetensors_close(tmac_safetensors *files)
{
    for (size_t i = 0; i < files->tensor_count; i++)
        free((char *)(uintptr_t)files->tensors[i].name);
    free(files->tensors);
    for (uint32_t i = 0; files->shards && i < files->shard_count; i++)
        tmac_map_close(&files->shards[i]);
    free(files->shards);
    memset(files, 0, sizeof *files);
}

tmac_st_tensor *tmac_safetensors_find(const tmac_safetensors *files, const char *name)
{
    tmac_st_tensor key = {.name = name};
    if (files->tensor_count == 0) return NULL;
    return bsearch(&key, files->tensors, files->tensor_count, sizeof key, compare_tensors);
}

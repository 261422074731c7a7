// The input in the place of files, and what is done with a model that could be opened.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/neutral.h"
#include "runtime/tmac.h"
#include "tests/fuzz/fuzz.h"

static fuzz_file files[FUZZ_FILES_MAX];
static size_t file_count;

void fuzz_files(const fuzz_file *given, size_t count)
{
    if (count) memcpy(files, given, count * sizeof *files);
    file_count = count;
}

void fuzz_input(const uint8_t *data, size_t bytes)
{
    fuzz_files(&(fuzz_file){FUZZ_FILE, data, bytes}, 1);
}

static const fuzz_file *find(const char *path)
{
    const size_t length = strlen(path);
    for (size_t i = 0; i < file_count; i++) {
        const size_t suffix = strlen(files[i].name);
        if (length >= suffix && strcmp(path + length - suffix, files[i].name) == 0)
            return &files[i];
    }
    return NULL;
}

// The linker puts these in the place of the functions without __wrap_, which it calls __real_.
// NOLINTBEGIN(bugprone-reserved-identifier)
tmac_status __wrap_tmac_map_open(const char *path, tmac_map *map);
void __wrap_tmac_map_close(tmac_map *map);
int __wrap_madvise(void *address, size_t bytes, int advice);
json_t *__wrap_json_load_file(const char *path, size_t flags, json_error_t *error);
json_t *__real_json_load_file(const char *path, size_t flags, json_error_t *error);
int __wrap_access(const char *path, int mode);
int __real_access(const char *path, int mode);
int __wrap_stat(const char *path, struct stat *facts);
int __real_stat(const char *path, struct stat *facts);

tmac_status __wrap_tmac_map_open(const char *path, tmac_map *map)
{
    const fuzz_file *file = find(path);
    *map = (tmac_map){0};
    if (!file) return tmac_fail(TMAC_NOT_FOUND, "%s: only the input is there", path);
    if (file->bytes == 0) return tmac_ok();
    void *copy = malloc(file->bytes);
    if (!copy) return tmac_no_memory();
    memcpy(copy, file->data, file->bytes);
    map->data = copy;
    map->bytes = file->bytes;
    return tmac_ok();
}

void __wrap_tmac_map_close(tmac_map *map)
{
    free((void *)(uintptr_t)map->data);
    *map = (tmac_map){0};
}

// The input is no mapping: taking its pages away would take the heap's.
int __wrap_madvise(void *address, size_t bytes, int advice)
{
    (void)address, (void)bytes, (void)advice;
    return 0;
}

json_t *__wrap_json_load_file(const char *path, size_t flags, json_error_t *error)
{
    const fuzz_file *file = find(path);
    return file ? json_loadb((const char *)file->data, file->bytes, flags, error)
                : __real_json_load_file(path, flags, error);
}

int __wrap_access(const char *path, int mode)
{
    return find(path) ? 0 : __real_access(path, mode);
}

int __wrap_stat(const char *path, struct stat *facts)
{
    const fuzz_file *file = find(path);
    if (!file) return __real_stat(path, facts);
    *facts = (struct stat){.st_mode = S_IFREG, .st_size = (off_t)file->bytes};
    return 0;
}
// NOLINTEND(bugprone-reserved-identifier)

static void read_rows(const tmac_matrix *matrix)
{
    const size_t row = matrix->columns;
    float *values = malloc(row * sizeof *values + 1);
    for (uint32_t r = 0; values && r < matrix->rows; r++) {
        if (tmac_number_is_integer(matrix->number))
            matrix->read_codes(matrix, r, 1, (int8_t *)values);
        else
            matrix->read_float(matrix, r, 1, values);
    }
    free(values);
}

static void tokenize(const tmac_vocabulary *vocabulary)
{
    static const char text[] =
        "The <s>wind</s>  wrote\n12345 \xc3\xa4\xe2\x82\xac\xff<|eot_id|>don't";
    tmac_tokenizer *tokenizer;
    uint32_t *tokens;
    size_t count, bytes;
    if (vocabulary->size == 0 || tmac_tokenizer_new(vocabulary, &tokenizer).code != TMAC_OK) return;
    const tmac_text_part parts[] = {{text, sizeof text - 1, false}, {text, sizeof text - 1, true}};
    if (tmac_tokenizer_encode_parts(tokenizer, parts, 2, &tokens, &count).code == TMAC_OK) {
        for (size_t i = 0; i < count; i++)
            tmac_tokenizer_piece(tokenizer, tokens[i], i == 0, &bytes);
        free(tokens);
    }
    tmac_tokenizer_free(tokenizer);
}

void fuzz_vocabulary_file(const char *path)
{
    tmac_vocabulary vocabulary;
    if (tmac_vocabulary_open(path, 0, &vocabulary).code != TMAC_OK) return;
    tokenize(&vocabulary);
    tmac_vocabulary_free(&vocabulary);
}

bool fuzz_model(const char *path, const tmac_open_options *options)
{
    tmac_source source;
    if (tmac_source_open(path, options, &source).code != TMAC_OK) return false;
    read_rows(&source.embedding);
    read_rows(&source.head);
    for (uint32_t l = 0; l < source.layer_count; l++)
        for (int part = 0; part < TMAC_LAYER_MATRICES; part++)
            read_rows(tmac_layer_part(&source, l, (tmac_part_of_layer)part));
    tokenize(&source.vocabulary);
    tmac_source_close(&source);
    return true;
}

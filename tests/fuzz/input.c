// The input in the place of files, and what is done with a model that could be opened.
#include <stdlib.h>
#include <string.h>

#include "convert/neutral.h"
#include "runtime/tmac.h"
#include "tests/fuzz/fuzz.h"

static const uint8_t *input;
static size_t input_bytes;

void fuzz_input(const uint8_t *data, size_t bytes)
{
    input = data;
    input_bytes = bytes;
}

// The linker puts these in the place of the functions without __wrap_.
tmac_status __wrap_tmac_map_open(const char *path,
                                 tmac_map *map); // NOLINT(bugprone-reserved-identifier)
void __wrap_tmac_map_close(tmac_map *map);       // NOLINT(bugprone-reserved-identifier)

tmac_status __wrap_tmac_map_open(const char *path,
                                 tmac_map *map) // NOLINT(bugprone-reserved-identifier)
{
    const size_t length = strlen(path), suffix = strlen(".safetensors");
    const bool shard = length > suffix && strcmp(path + length - suffix, ".safetensors") == 0;
    *map = (tmac_map){0};
    if (!shard && strcmp(path, FUZZ_FILE) != 0)
        return tmac_fail(TMAC_NOT_FOUND, "%s: only the input is there", path);
    if (input_bytes == 0) return tmac_ok();
    void *copy = malloc(input_bytes);
    if (!copy) return tmac_no_memory();
    memcpy(copy, input, input_bytes);
    *map = (tmac_map){copy, input_bytes};
    return tmac_ok();
}

void __wrap_tmac_map_close(tmac_map *map) // NOLINT(bugprone-reserved-identifier)
{
    free((void *)(uintptr_t)map->data);
    *map = (tmac_map){0};
}

// The input is no mapping: taking its pages away would take the heap's.
int __wrap_madvise(void *address, size_t bytes, int advice); // NOLINT(bugprone-reserved-identifier)
int __wrap_madvise(void *address, size_t bytes, int advice)  // NOLINT(bugprone-reserved-identifier)
{
    (void)address, (void)bytes, (void)advice;
    return 0;
}

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

void fuzz_vocabulary_use(const tmac_vocabulary *vocabulary)
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

void fuzz_model(const char *path, const tmac_open_options *options)
{
    tmac_source source;
    if (tmac_source_open(path, options, &source).code != TMAC_OK) return;
    read_rows(&source.embedding);
    read_rows(&source.head);
    for (uint32_t l = 0; l < source.layer_count; l++)
        for (int part = 0; part < TMAC_LAYER_MATRICES; part++)
            read_rows(tmac_layer_part(&source, l, (tmac_part_of_layer)part));
    fuzz_vocabulary_use(&source.vocabulary);
    tmac_source_close(&source);
}

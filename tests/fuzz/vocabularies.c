// Targets: tokenizer files. Which kind a file is follows from its content; the kinds with a beginning of their own get it.
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

static void open_and_use(const uint8_t *data, size_t bytes, uint32_t expected)
{
    tmac_vocabulary vocabulary;
    fuzz_input(data, bytes);
    if (tmac_vocabulary_open(FUZZ_FILE, expected, &vocabulary).code != TMAC_OK) return;
    fuzz_vocabulary_use(&vocabulary);
    tmac_vocabulary_free(&vocabulary);
}

// tokenizer.bin and tiktoken files.
void fuzz_vocabulary(const uint8_t *data, size_t bytes)
{
    open_and_use(data, bytes, 0);
}

static void beginning_with(char first, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = bytes ? malloc(bytes) : NULL;
    if (!copy) return;
    memcpy(copy, data, bytes);
    copy[0] = (uint8_t)first;
    open_and_use(copy, bytes, 0);
    free(copy);
}

void fuzz_sentencepiece(const uint8_t *data, size_t bytes)
{
    beginning_with('\n', data, bytes); // field 1, of wire type 2
}

void fuzz_tokenizer_json(const uint8_t *data, size_t bytes)
{
    beginning_with('{', data, bytes);
}

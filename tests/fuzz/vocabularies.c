// Targets: tokenizer files. Which kind a file is follows from its content; the kinds with a beginning of their own get it.
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

// tokenizer.bin and tiktoken files.
void fuzz_vocabulary(const uint8_t *data, size_t bytes)
{
    fuzz_input(data, bytes);
    fuzz_vocabulary_file(FUZZ_FILE);
}

static void beginning_with(char first, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = bytes ? malloc(bytes) : NULL;
    if (!copy) return;
    memcpy(copy, data, bytes);
    copy[0] = (uint8_t)first;
    fuzz_input(copy, bytes);
    fuzz_vocabulary_file(FUZZ_FILE);
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

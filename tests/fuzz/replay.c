// Feeds files to fuzz targets: replay TARGET FILE...  Prints how many there were; a crash or a sanitizer ends it before.
// Beside each file itself go its beginnings and changes of single bytes, the same ones every time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { INPUT_MAX = 1 << 20, CHANGES = 200 };

static const struct {
    const char *name;
    fuzz_target *target;
} targets[] = {
    {"tm2", fuzz_tm2},
    {"gguf", fuzz_gguf},
    {"llama2c", fuzz_llama2c},
    {"bitllama", fuzz_bitllama},
    {"edge", fuzz_edge},
    {"folder", fuzz_folder},
    {"safetensors", fuzz_safetensors},
    {"vocabulary", fuzz_vocabulary},
    {"sentencepiece", fuzz_sentencepiece},
    {"tokenizer_json", fuzz_tokenizer_json},
    {"text", fuzz_text},
    {"export", fuzz_export},
};

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void feed(fuzz_target *target, const uint8_t *bytes, size_t size)
{
    fuzz_begin();
    target(bytes, size);
    fuzz_end();
}

static int replay(fuzz_target *target, const char *path)
{
    static uint8_t bytes[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    feed(target, bytes, size);
    uint32_t state = (uint32_t)size;
    for (uint32_t i = 0; i < CHANGES && size; i++) {
        feed(target, bytes, next(&state) % size);
        const size_t at = next(&state) % size;
        const uint8_t before = bytes[at];
        bytes[at] = (uint8_t)next(&state);
        feed(target, bytes, size);
        bytes[at] = before;
    }
    return 1;
}

int main(int argc, char **argv)
{
    fuzz_target *target = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof targets / sizeof *targets; i++)
        if (strcmp(targets[i].name, argv[1]) == 0) target = targets[i].target;
    if (!target) {
        fprintf(stderr, "usage: replay TARGET FILE...\n");
        return 2;
    }
    int done = 0;
    for (int i = 2; i < argc; i++)
        done += replay(target, argv[i]);
    printf("%d\n", done);
    return done == argc - 2 ? 0 : 1;
}

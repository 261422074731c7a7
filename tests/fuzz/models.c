// Targets: model files. Each format gets its magic whatever the input says, so that no time goes into other formats.
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

// The input with `magic` written over its first bytes, as a model.
static void with_magic(const char *magic, size_t magic_bytes, const uint8_t *data, size_t bytes,
                       const tmac_open_options *options)
{
    if (bytes < magic_bytes) return;
    uint8_t *copy = malloc(bytes);
    if (!copy) return;
    memcpy(copy, data, bytes);
    memcpy(copy, magic, magic_bytes);
    fuzz_input(copy, bytes);
    fuzz_model(FUZZ_FILE, options);
    free(copy);
}

void fuzz_tm2(const uint8_t *data, size_t bytes)
{
    with_magic("TM2\0", 4, data, bytes, NULL);
}

// All three layouts of I2_S, chosen by the length.
void fuzz_gguf(const uint8_t *data, size_t bytes)
{
    with_magic("GGUF", 4, data, bytes,
               &(tmac_open_options){.i2s_layout = (tmac_i2s_layout)(bytes % 3)});
}

void fuzz_bitllama(const uint8_t *data, size_t bytes)
{
    with_magic("24ka", 4, data, bytes, &(tmac_open_options){.bit_order = TMAC_BIT_ORDER_MSB});
}

// Version 0, which has no magic: any first bytes.
void fuzz_llama2c(const uint8_t *data, size_t bytes)
{
    fuzz_input(data, bytes);
    fuzz_model(FUZZ_FILE, NULL);
}

void fuzz_edge(const uint8_t *data, size_t bytes)
{
    static const char *const magics[] = {"TMAC", "Q4V1", "Q8V1"};
    if (bytes < 5) return;
    with_magic(magics[data[0] % 3], 4, data, bytes, NULL);
}

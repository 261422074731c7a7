// Targets: model files. Each format gets its magic whatever the input says, so that no time goes into other formats.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "convert/bytes.h"
#include "convert/tm2.h"
#include "tests/fuzz/fuzz.h"

// The input with `magic` written over its first bytes, to be freed.
static uint8_t *with_magic(const char *magic, size_t magic_bytes, const uint8_t *data, size_t bytes)
{
    uint8_t *copy = bytes >= magic_bytes ? malloc(bytes) : NULL;
    if (!copy) return NULL;
    memcpy(copy, data, bytes);
    memcpy(copy, magic, magic_bytes);
    return copy;
}

static void open_model(uint8_t *file, size_t bytes, const tmac_open_options *options)
{
    if (!file) return;
    fuzz_input(file, bytes);
    fuzz_model(FUZZ_FILE, options);
    free(file);
}

// What is no model may hold a vocabulary still.
static void open_both(uint8_t *file, size_t bytes, const tmac_open_options *options)
{
    if (!file) return;
    fuzz_input(file, bytes);
    if (!fuzz_model(FUZZ_FILE, options)) fuzz_vocabulary_file(FUZZ_FILE);
    free(file);
}

// The index of the extension gets the hash that the trailer must record, or no changed one would ever be read.
static void seal_index(uint8_t *file, size_t bytes)
{
    uint8_t *trailer = file + bytes - TMAC_TM2_TRAILER;
    if (bytes < TMAC_TM2_TRAILER || memcmp(trailer, TMAC_TM2_TRAILER_MAGIC, 8) != 0) return;
    const uint64_t index = tmac_load_u64(trailer + 24);
    if (index <= bytes - TMAC_TM2_TRAILER) tmac_hash(trailer - index, index, trailer + 32);
}

void fuzz_tm2(const uint8_t *data, size_t bytes)
{
    uint8_t *file = with_magic("TM2\0", 4, data, bytes);
    if (file) seal_index(file, bytes);
    open_both(file, bytes, NULL);
}

// All three layouts of I2_S, chosen by the length.
void fuzz_gguf(const uint8_t *data, size_t bytes)
{
    open_both(with_magic("GGUF", 4, data, bytes), bytes,
              &(tmac_open_options){.i2s_layout = (tmac_i2s_layout)(bytes % 3)});
}

void fuzz_bitllama(const uint8_t *data, size_t bytes)
{
    open_model(with_magic("24ka", 4, data, bytes), bytes,
               &(tmac_open_options){.bit_order = TMAC_BIT_ORDER_MSB});
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
    open_model(with_magic(magics[data[0] % 3], 4, data, bytes), bytes, NULL);
}

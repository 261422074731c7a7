// Fuzz targets: one function per parser, each of which feeds it any bytes. They are linked twice: with libFuzzer, one
// program a target (`make fuzz`), and with tests/fuzz/replay.c, one program for all, which `make test` runs over the
// committed corpus.
//
// Both programs are linked with --wrap for tmac_map_open, tmac_map_close and madvise (tests/fuzz/input.c), so that no file is
// written: the bytes lie in a block of just their size, where the sanitizer sees a read of one byte too many.
#ifndef TMAC_TESTS_FUZZ_FUZZ_H
#define TMAC_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "convert/convert.h"

// What tmac_map_open finds under FUZZ_FILE, and under every name that ends with ".safetensors", until the next call.
#define FUZZ_FILE "/nonexistent/fuzz"
void fuzz_input(const uint8_t *data, size_t bytes);

// Opens the input as a model, and where that is possible reads all of it and tokenizes something.
void fuzz_model(const char *path, const tmac_open_options *options);
void fuzz_vocabulary_use(const tmac_vocabulary *vocabulary);

typedef void fuzz_target(const uint8_t *data, size_t bytes);
fuzz_target fuzz_tm2, fuzz_gguf, fuzz_llama2c, fuzz_bitllama, fuzz_edge, fuzz_folder,
    fuzz_vocabulary, fuzz_sentencepiece, fuzz_tokenizer_json, fuzz_export;

#endif

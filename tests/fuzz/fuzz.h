// Fuzz targets: one function per parser, each of which feeds it any bytes. They are linked twice: with libFuzzer, one
// program a target (`make fuzz`), and with tests/fuzz/replay.c, one program for all, which `make test` runs over the
// committed corpus.
//
// Both programs are linked with --wrap for every function that our parsers open files with (tests/fuzz/input.c), so that
// no file is written: the bytes lie in a block of just their size, where the sanitizer sees a read of one byte too many.
#ifndef TMAC_TESTS_FUZZ_FUZZ_H
#define TMAC_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "convert/convert.h"

// Around every input (tests/fuzz/arena.c).
void fuzz_begin(void);
void fuzz_end(void);

// A file that is found under every path that ends with `name`.
typedef struct fuzz_file {
    const char *name;
    const uint8_t *data;
    size_t bytes;
} fuzz_file;
enum { FUZZ_FILES_MAX = 8 };

// The files that there are until the next call or the input's end; the bytes stay the caller's.
void fuzz_files(const fuzz_file *files, size_t count);

// One file, FUZZ_FILE.
#define FUZZ_FILE "/nonexistent/fuzz"
void fuzz_input(const uint8_t *data, size_t bytes);

// The path of an empty folder that looks as if model.safetensors were in it; NULL: none could be made.
const char *fuzz_folder_path(void);

// Opens the input as a model and, where that is possible, reads all of it and tokenizes something. False: it is none.
bool fuzz_model(const char *path, const tmac_open_options *options);
// Opens it as a vocabulary and tokenizes something.
void fuzz_vocabulary_file(const char *path);

typedef void fuzz_target(const uint8_t *data, size_t bytes);
fuzz_target fuzz_tm2, fuzz_gguf, fuzz_llama2c, fuzz_bitllama, fuzz_edge, fuzz_folder,
    fuzz_safetensors, fuzz_vocabulary, fuzz_sentencepiece, fuzz_tokenizer_json, fuzz_text,
    fuzz_export;

#endif

// Kernels compiled on this host for the shapes of one model: rendered by the generator inside this program, compiled by the
// host's C compiler, signed, stored, and opened (db/kernels.h).
#ifndef TMAC_TUNE_SPECIALISE_H
#define TMAC_TUNE_SPECIALISE_H

#include "gen/generator.h"
#include "runtime/kernel.h"

typedef struct tmac_compiler {
    char path[256];
    char version[128]; // the first line of --version
} tmac_compiler;

// $TMAC_CC, else gcc, clang or cc of $PATH. TMAC_NOT_FOUND when there is none that answers.
tmac_status tmac_compiler_find(tmac_compiler *compiler);

// Renders and compiles: *object is malloc'ed, the caller frees. built: what the kernels' `compiler` field starts with.
// An error of the compiler comes back with the first line of what it said.
tmac_status tmac_compile_kernels(const tmac_compiler *compiler, const tmac_specialisation *wanted,
                                 size_t count, char built[192], uint8_t **object, size_t *bytes);

// Compiles, opens, and stores what was compiled in the database at `path` (NULL: the default one). *added counts the
// kernels that are new in the registry. No threads and no database handle may exist.
tmac_status tmac_add_specialised(const tmac_compiler *compiler, const char *path,
                                 const tmac_specialisation *wanted, size_t count, uint32_t *added);

#endif

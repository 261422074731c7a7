// Files taken in by the assembler. The Makefile writes gen_embedded.inc into the build folder, one line
// EMBED(identifier, "path") per file, and compiles this with the project root as the current folder.
#include "gen/embedded.h"

#include <string.h>

#define EMBED(identifier, path)                                                                    \
    __asm__(".pushsection .rodata\n"                                                               \
            "embedded_" #identifier "_begin:\n"                                                    \
            ".incbin \"" path "\"\n"                                                               \
            "embedded_" #identifier "_end:\n"                                                      \
            ".byte 0\n"                                                                            \
            ".popsection\n");                                                                      \
    extern const char embedded_##identifier##_begin[], embedded_##identifier##_end[];
#include "gen_embedded.inc"
#undef EMBED

static const struct {
    const char *name, *begin, *end;
} files[] = {
#define EMBED(identifier, path) {path, embedded_##identifier##_begin, embedded_##identifier##_end},
#include "gen_embedded.inc"
#undef EMBED
};

enum { FILE_COUNT = sizeof files / sizeof files[0] };

const tmac_embedded *tmac_embedded_find(const char *name)
{
    static _Thread_local tmac_embedded found;
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (strcmp(files[i].name, name) == 0) {
            found = (tmac_embedded){files[i].name, files[i].begin,
                                    (size_t)(files[i].end - files[i].begin)};
            return &found;
        }
    }
    return NULL;
}

// The Lua files of gen/ and the templates, carried inside the program, so that it works from any directory.
#ifndef TMAC_GEN_EMBEDDED_H
#define TMAC_GEN_EMBEDDED_H

#include <stddef.h>

typedef struct tmac_embedded {
    const char *name; // the path in the source tree: "templates/mad2_avx2.c"
    const char *text; // a NUL follows
    size_t bytes;
} tmac_embedded;

// NULL when there is no such file.
const tmac_embedded *tmac_embedded_find(const char *name);

#endif

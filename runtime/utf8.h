// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. Private to runtime/, train/ and cli/.
#ifndef TMAC_RUNTIME_UTF8_H
#define TMAC_RUNTIME_UTF8_H

#include <stddef.h>

// What the first of `count` >= 1 bytes begin with: 1 to 4, the length of a whole character; 0, the beginning of one
// that more bytes may complete; -1, a byte that belongs to no character.
int tmac_utf8_character(const char *bytes, size_t count);

#endif

// Lines that a person types, or that come out of a file: with editing and history where both ends are a terminal.
#ifndef TMAC_CLI_LINE_H
#define TMAC_CLI_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct tmac_line_reader tmac_line_reader;

tmac_status tmac_line_reader_new(const char *program, tmac_line_reader **reader);
void tmac_line_reader_free(tmac_line_reader *reader); // writes the history

bool tmac_line_reader_interactive(const tmac_line_reader *reader);

// The next message, without its newline: a line; or several, where a line ends with a backslash, or where one that is
// """ opens and another closes them. Ctrl-C begins it anew. *text belongs to the reader, until the next call.
// False: there is none any more.
bool tmac_line_read(tmac_line_reader *reader, const char **text, size_t *bytes);

#endif

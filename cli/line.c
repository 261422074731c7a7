// Editing is libedit's. While a line is edited the terminal sends Ctrl-C as a character, bound here to a command that
// empties the line; at other times it is the signal that stops an answer (cli/chat.c).
#include "cli/line.h"

#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"

enum { HISTORY_LINES = 1000 };

struct tmac_line_reader {
    EditLine *editor; // NULL: plain
    History *history;
    char history_path[1024]; // "": not kept
    bool continued;          // the next line belongs to the same message
    bool cancelled;
    char *line; // getline's
    size_t line_room;
    char *text;
    size_t bytes, room;
};

static const char *show_prompt(EditLine *editor)
{
    tmac_line_reader *reader = NULL;
    el_get(editor, EL_CLIENTDATA, &reader);
    return reader->continued ? ". " : "> ";
}

static unsigned char cancel(EditLine *editor, int key)
{
    (void)key;
    tmac_line_reader *reader = NULL;
    el_get(editor, EL_CLIENTDATA, &reader);
    reader->cancelled = true;
    return CC_NEWLINE;
}

// $XDG_STATE_HOME/tmac/chat_history, else ~/.local/state/tmac/chat_history; "" where the environment names neither.
static void find_history(char *path, size_t room)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int length = 0;
    path[0] = '\0';
    if (state && state[0] == '/')
        length = snprintf(path, room, "%s/tmac/chat_history", state);
    else if (home && home[0] == '/')
        length = snprintf(path, room, "%s/.local/state/tmac/chat_history", home);
    if (length < 0 || (size_t)length >= room) path[0] = '\0';
    if (path[0]) (void)tmac_folder_make_above(path, 0700); // without it there is no history
}

static tmac_status start_editor(const char *program, tmac_line_reader *reader)
{
    HistEvent event;
    reader->editor = el_init(program, stdin, stdout, stderr);
    reader->history = history_init();
    if (!reader->editor || !reader->history)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "cannot start the line editor");
    el_set(reader->editor, EL_CLIENTDATA, reader);
    el_set(reader->editor, EL_PROMPT, show_prompt);
    el_set(reader->editor, EL_EDITOR, "emacs");
    el_set(reader->editor, EL_SIGNAL, 0);
    el_set(reader->editor, EL_SETTY, "-d", "-isig", NULL);
    el_set(reader->editor, EL_ADDFN, "tmac-cancel", "begin the message anew", cancel);
    el_set(reader->editor, EL_BIND, "^C", "tmac-cancel", NULL);
    history(reader->history, &event, H_SETSIZE, HISTORY_LINES);
    history(reader->history, &event, H_SETUNIQUE, 1);
    el_set(reader->editor, EL_HIST, history, reader->history);
    find_history(reader->history_path, sizeof reader->history_path);
    if (reader->history_path[0]) history(reader->history, &event, H_LOAD, reader->history_path);
    el_source(reader->editor, NULL); // ~/.editrc
    return tmac_ok();
}

tmac_status tmac_line_reader_new(const char *program, tmac_line_reader **reader)
{
    *reader = calloc(1, sizeof **reader);
    if (!*reader) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a line");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) return tmac_ok();
    tmac_status status = start_editor(program, *reader);
    if (status.code != TMAC_OK) {
        tmac_line_reader_free(*reader);
        *reader = NULL;
    }
    return status;
}

void tmac_line_reader_free(tmac_line_reader *reader)
{
    if (!reader) return;
    HistEvent event;
    if (reader->editor && reader->history && reader->history_path[0]) {
        // Conversations are private.
        const mode_t before = umask(077);
        history(reader->history, &event, H_SAVE, reader->history_path);
        umask(before);
    }
    if (reader->history) history_end(reader->history);
    if (reader->editor) el_end(reader->editor);
    free(reader->line);
    free(reader->text);
    free(reader);
}

bool tmac_line_reader_interactive(const tmac_line_reader *reader)
{
    return reader->editor != NULL;
}

// One line, without its newline; false at the end of input.
static bool read_line(tmac_line_reader *reader, const char **line, size_t *bytes)
{
    reader->cancelled = false;
    if (reader->editor) {
        int count = 0;
        *line = el_gets(reader->editor, &count);
        if (reader->cancelled) {
            fputs("^C\n", stdout);
            *line = "";
            *bytes = 0;
            return true;
        }
        if (!*line || count <= 0) return false;
        HistEvent event;
        if (count > 1) history(reader->history, &event, H_ENTER, *line);
        *bytes = (size_t)count;
    } else {
        const ssize_t count = getline(&reader->line, &reader->line_room, stdin);
        if (count < 0) return false;
        *line = reader->line;
        *bytes = (size_t)count;
    }
    if (*bytes && (*line)[*bytes - 1] == '\n') --*bytes;
    return true;
}

static bool append(tmac_line_reader *reader, const char *bytes, size_t count)
{
    if (reader->bytes + count + 1 > reader->room) {
        const size_t room = 2 * (reader->bytes + count) + 64;
        char *longer = realloc(reader->text, room);
        if (!longer) return false;
        reader->text = longer;
        reader->room = room;
    }
    if (count) memcpy(reader->text + reader->bytes, bytes, count);
    reader->bytes += count;
    reader->text[reader->bytes] = '\0';
    return true;
}

bool tmac_line_read(tmac_line_reader *reader, const char **text, size_t *bytes)
{
    const char *line;
    size_t count;
    bool block = false;
    reader->continued = false;
    reader->bytes = 0;
    if (!append(reader, "", 0)) return false;
    for (;;) {
        if (!read_line(reader, &line, &count)) {
            if (!reader->continued) return false;
            break; // an unfinished message is one, too
        }
        if (reader->cancelled) {
            reader->continued = block = false;
            reader->bytes = 0;
            reader->text[0] = '\0';
            continue;
        }
        const bool mark = count == 3 && memcmp(line, "\"\"\"", 3) == 0;
        if (mark && (block || !reader->continued)) {
            if (block) break;
            block = reader->continued = true;
            continue;
        }
        const bool more = !block && count && line[count - 1] == '\\';
        if (reader->bytes && !append(reader, "\n", 1)) return false;
        if (!append(reader, line, count - more)) return false;
        if (!more && !block) break;
        reader->continued = true;
    }
    reader->continued = false;
    *text = reader->text;
    *bytes = reader->bytes;
    return true;
}

// Command-line options from a table (base/options.h). The table stays the single truth: parsing, --help and the
// synopsis all walk it. getopt_long is not used because it would need a second and a third table of the same facts.
#include "base/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/version.h"

enum { HELP_COLUMN = 28, LINE_COLUMNS = 80 };

// Ends the program with one line that names the mistake.
__attribute__((noreturn)) static void refuse(const tmac_program *program, tmac_status mistake)
{
    exit(tmac_report(program,
                     tmac_fail(TMAC_USAGE, "%s; try '%s --help'", mistake.message, program->name)));
}

int tmac_report(const tmac_program *program, tmac_status status)
{
    if (status.code != TMAC_OK) {
        fflush(stdout);
        fprintf(stderr, "%s: %s\n", program->name, status.message);
    }
    return tmac_exit_status(status.code);
}

// ------------------------------------------------------------------------------------------------------------ help

static void print_synopsis(const tmac_program *program)
{
    int column = printf("Usage: %s", program->name);
    const int indent = column;
    for (const tmac_option *option = program->options; option->long_name; option++) {
        char word[96];
        const char *argument = option->argument ? option->argument : "";
        const char *space = option->argument ? " " : "";
        if (option->short_name)
            snprintf(word, sizeof word, "[-%c%s%s]", option->short_name, space, argument);
        else
            snprintf(word, sizeof word, "[--%s%s%s]", option->long_name, space, argument);
        if (column + 1 + (int)strlen(word) > LINE_COLUMNS) column = printf("\n%*s", indent, "") - 1;
        column += printf(" %s", word);
    }
    if (program->operands[0] && column + 1 + (int)strlen(program->operands) > LINE_COLUMNS)
        printf("\n%*s", indent, "");
    printf("%s%s\n", program->operands[0] ? " " : "", program->operands);
}

// Prints a line from column `from` on, broken between words where it would be too long.
static void print_wrapped(const char *text, size_t length, int from)
{
    int column = from;
    const char *const end = text + length;
    while (text < end) {
        // Blanks belong to the word that follows them, so that what is aligned stays aligned.
        size_t word = strspn(text, " ");
        word += strcspn(text + word, " \n");
        if (column > from && column + (int)word > LINE_COLUMNS) {
            printf("\n%*s", from, "");
            column = from;
            while (*text == ' ')
                text++, word--;
        }
        column += printf("%.*s", (int)word, text);
        text += word;
    }
    putchar('\n');
}

static void print_option(char short_name, const char *long_name, const char *argument,
                         const char *help)
{
    int column = short_name ? printf("  -%c, ", short_name) : printf("      ");
    column += printf("--%s%s%s", long_name, argument ? " " : "", argument ? argument : "");
    if (column + 2 > HELP_COLUMN) {
        putchar('\n');
        column = 0;
    }
    printf("%*s", HELP_COLUMN - column, "");
    print_wrapped(help, strlen(help), HELP_COLUMN);
}

static void print_help(const tmac_program *program)
{
    print_synopsis(program);
    printf("\n%s\n\n", program->purpose);
    for (const tmac_option *option = program->options; option->long_name; option++)
        print_option(option->short_name, option->long_name, option->argument, option->help);
    print_option(0, "help", NULL, "show this help and exit");
    print_option(0, "version", NULL, "show the version and exit");
    if (!program->details) return;
    putchar('\n');
    for (const char *line = program->details; *line; line += *line == '\n') {
        const size_t length = strcspn(line, "\n");
        print_wrapped(line, length, 0);
        line += length;
    }
}

// What was printed has reached its destination, or the program fails.
__attribute__((noreturn)) static void finish_output(const tmac_program *program)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        exit(tmac_report(program, tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno))));
    exit(0);
}

// --------------------------------------------------------------------------------------------------------- parsing

static const tmac_option *find_long(const tmac_program *program, const char *name, size_t length)
{
    for (const tmac_option *option = program->options; option->long_name; option++)
        if (strlen(option->long_name) == length && memcmp(option->long_name, name, length) == 0)
            return option;
    return NULL;
}

static const tmac_option *find_short(const tmac_program *program, char name)
{
    for (const tmac_option *option = program->options; option->long_name; option++)
        if (option->short_name == name) return option;
    return NULL;
}

// Stores the argument of an option; `shown` is the option as the user wrote it.
static void store(const tmac_program *program, const tmac_option *option, const char *shown,
                  const char *argument)
{
    char *end = NULL;
    errno = 0;
    switch (option->kind) {
    case TMAC_OPTION_FLAG:
        *(bool *)option->value = true;
        return;
    case TMAC_OPTION_STRING:
        *(const char **)option->value = argument;
        return;
    case TMAC_OPTION_STRINGS: {
        tmac_strings *list = option->value;
        if (list->count == TMAC_STRINGS_MAX)
            refuse(program, tmac_fail(TMAC_USAGE, "option '%s': given more than %d times", shown,
                                      TMAC_STRINGS_MAX));
        list->items[list->count++] = argument;
        return;
    }
    case TMAC_OPTION_UNSIGNED: {
        // strtoull would accept blanks, signs and thereby wrap "-1" around.
        unsigned long long number = strtoull(argument, &end, 10);
        if (!isdigit((unsigned char)argument[0]) || *end || errno)
            refuse(program,
                   tmac_fail(TMAC_USAGE, "option '%s': '%s' is not a whole number from 0 to 2^64-1",
                             shown, argument));
        *(uint64_t *)option->value = number;
        return;
    }
    case TMAC_OPTION_FLOAT: {
        float number = strtof(argument, &end);
        bool decimal = argument[0] && strspn(argument, "+-.0123456789eE") == strlen(argument);
        if (!decimal || *end || !isfinite(number))
            refuse(program, tmac_fail(TMAC_USAGE, "option '%s': '%s' is not a decimal number",
                                      shown, argument));
        *(float *)option->value = number;
        return;
    }
    }
}

// Options with an argument take it from the same word when `attached` is not NULL, else from the next one.
static int take(const tmac_program *program, const tmac_option *option, const char *shown,
                const char *attached, int index, int argc, char **argv)
{
    if (option->kind == TMAC_OPTION_FLAG) {
        if (attached)
            refuse(program, tmac_fail(TMAC_USAGE, "option '%s' takes no argument", shown));
        store(program, option, shown, NULL);
        return index;
    }
    if (!attached) {
        if (index + 1 >= argc)
            refuse(program, tmac_fail(TMAC_USAGE, "option '%s' needs an argument: %s", shown,
                                      option->argument));
        attached = argv[++index];
    }
    store(program, option, shown, attached);
    return index;
}

static int parse_long(const tmac_program *program, int index, int argc, char **argv)
{
    const char *name = argv[index] + 2;
    size_t length = strcspn(name, "=");
    const char *attached = name[length] ? name + length + 1 : NULL;
    char shown[64];
    snprintf(shown, sizeof shown, "--%.*s", (int)(length < 48 ? length : 48), name);
    const tmac_option *option = find_long(program, name, length);
    if (option) return take(program, option, shown, attached, index, argc, argv);
    if (!attached && strcmp(name, "help") == 0) {
        print_help(program);
        finish_output(program);
    }
    if (!attached && strcmp(name, "version") == 0) {
        printf("%s %s\n", program->name, TMAC_VERSION);
        finish_output(program);
    }
    refuse(program, tmac_fail(TMAC_USAGE, "unknown option '%s'", shown));
}

// A cluster of short options: "-ab", "-n5", "-n 5".
static int parse_short(const tmac_program *program, int index, int argc, char **argv)
{
    for (const char *name = argv[index] + 1; *name; name++) {
        const char shown[3] = {'-', *name, 0};
        const tmac_option *option = find_short(program, *name);
        if (!option) refuse(program, tmac_fail(TMAC_USAGE, "unknown option '%s'", shown));
        if (option->kind == TMAC_OPTION_FLAG) {
            store(program, option, shown, NULL);
            continue;
        }
        return take(program, option, shown, name[1] ? name + 1 : NULL, index, argc, argv);
    }
    return index;
}

void tmac_options_parse(const tmac_program *program, int argc, char **argv, char ***operands,
                        size_t *operand_count)
{
    size_t count = 0;
    bool options_ended = false;
    // Operands are gathered at argv[1..]: an operand never moves to the right, so nothing unread is overwritten.
    for (int index = 1; index < argc; index++) {
        char *word = argv[index];
        if (options_ended || word[0] != '-' || word[1] == '\0')
            argv[1 + count++] = word;
        else if (strcmp(word, "--") == 0)
            options_ended = true;
        else if (word[1] == '-')
            index = parse_long(program, index, argc, argv);
        else
            index = parse_short(program, index, argc, argv);
    }
    if (count < program->operands_min)
        refuse(program, tmac_fail(TMAC_USAGE, "missing operand: expected %s", program->operands));
    if (count > program->operands_max)
        refuse(program, tmac_fail(TMAC_USAGE, "extra operand '%.100s': expected %s",
                                  argv[1 + program->operands_max],
                                  program->operands[0] ? program->operands : "none"));
    *operands = argv + (argc > 0 ? 1 : 0);
    *operand_count = count;
}

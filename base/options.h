// Command-line options from one table per program: parsing, --help and the synopsis follow from it.
//
// GNU habits: --long, --long=value, -s value, -svalue, "--" ends options, options and operands may mix; --help prints
// to standard output and exits 0, --version likewise; a mistake names the option, points to --help and exits 2.
#ifndef TMAC_BASE_OPTIONS_H
#define TMAC_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef enum tmac_option_kind {
    TMAC_OPTION_FLAG,     // bool *: set to true
    TMAC_OPTION_STRING,   // const char **: points into argv
    TMAC_OPTION_UNSIGNED, // uint64_t *: decimal, whole argument
    TMAC_OPTION_FLOAT,    // float *: finite decimal, whole argument
    TMAC_OPTION_STRINGS,  // tmac_strings *: may be given several times, adds to the list
} tmac_option_kind;

enum { TMAC_STRINGS_MAX = 16 };
typedef struct tmac_strings {
    const char *items[TMAC_STRINGS_MAX]; // point into argv
    uint32_t count;
} tmac_strings;

// In the order in which a table row reads best, which costs a few bytes of padding.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding)
typedef struct tmac_option {
    char short_name;       // 0 when there is none
    const char *long_name; // without the dashes; NULL ends the table
    tmac_option_kind kind;
    void *value;          // where the value goes; holds the default before
    const char *argument; // "FILE", "N": shown in help; NULL for flags
    const char *help;     // one sentence, lower-case start, no full stop
} tmac_option;

typedef struct tmac_program {
    const char *name;     // "tmac-run"
    const char *purpose;  // one line
    const char *operands; // "MODEL" or "IN OUT.tmac2.bin", "" when there are none
    size_t operands_min, operands_max;
    const char *details; // paragraphs after the options in --help; may be NULL
    const tmac_option *options;
} tmac_program;

// Parses argv. On success *operands points to *operand_count strings (inside a permuted argv). On --help and --version
// it prints and exits 0; on a mistake it prints one line to standard error and exits 2.
void tmac_options_parse(const tmac_program *program, int argc, char **argv, char ***operands,
                        size_t *operand_count);

// Prints "NAME: message" to standard error and returns the exit status for main().
int tmac_report(const tmac_program *program, tmac_status status);

#endif

// What every function that can fail returns: a code for the program and a sentence for the person.
//
// A status is a plain value: nothing to free, no global state, safe to pass between threads. The message says what was
// wrong, where, and what to do, and names the file when there is one; it has no trailing full stop or newline.
#ifndef TMAC_BASE_STATUS_H
#define TMAC_BASE_STATUS_H

typedef enum tmac_code {
    TMAC_OK = 0,
    TMAC_USAGE,       // the caller asked for something that makes no sense: programs exit with 2
    TMAC_BAD_FILE,    // the bytes of a file contradict its format, or themselves
    TMAC_UNSUPPORTED, // a valid request that this build, host or format cannot serve
    TMAC_NOT_FOUND,   // no such file, tensor, kernel, record
    TMAC_IO,          // the operating system refused: open, read, write, rename
    TMAC_OUT_OF_MEMORY,
    TMAC_BUSY,     // somebody else holds it; trying later may work
    TMAC_INTERNAL, // a defect of ours
} tmac_code;

enum { TMAC_MESSAGE_BYTES = 512 };

typedef struct tmac_status {
    tmac_code code;
    char message
        [TMAC_MESSAGE_BYTES]; // "" when code is TMAC_OK; cut with "..." when it would not fit
} tmac_status;

// The success value.
tmac_status tmac_ok(void);

// A failure with a printf-formatted message. Control characters in the message (from file contents, say) are replaced
// by '?', so that a hostile file cannot drive the terminal.
tmac_status tmac_fail(tmac_code code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The same failure with "prefix: " in front: callers add the file name or the place they know and the callee did not.
tmac_status tmac_prefix(tmac_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The exit status a program ends with for this code: 0, 2 for TMAC_USAGE, else 1.
int tmac_exit_status(tmac_code code);

// Returns from the enclosing function when the expression fails. For functions that own nothing yet; others test
// status.code and clean up.
#define TMAC_TRY(expression)                                                                       \
    do {                                                                                           \
        tmac_status try_status_ = (expression);                                                    \
        if (try_status_.code != TMAC_OK) return try_status_;                                       \
    } while (0)

#endif

// A conversation at the terminal.
#ifndef TMAC_CLI_CHAT_H
#define TMAC_CLI_CHAT_H

#include "base/options.h"
#include "cli/session.h"

typedef struct tmac_chat_options {
    const char *template; // a name or a Lua file; NULL: what the model's files tell
    const char *system;   // NULL: none
    uint64_t answer_max;  // tokens of an answer; 0: as many as fit
    const tmac_strings *stop;
    bool quiet;
} tmac_chat_options;

// Reads messages from standard input and answers them on standard output until there are no more. start has no session
// yet; the sampler is the caller's.
tmac_status tmac_chat(tmac_start *start, tmac_sampler *sampler, const tmac_program *program,
                      const tmac_chat_options *options);

#endif

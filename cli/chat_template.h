// The form of a conversation: one that runtime/chat.h knows, or a Lua file of the user's.
//
// The Lua file returns a function(messages, open). messages is a list of {role = "system" | "user" | "assistant",
// content = TEXT}; open says whether the assistant's next words are to follow. It returns a list: strings are markup, in
// which control tokens are recognised; a table {TEXT} is text as it is. Its field `bos` says whether BOS comes first.
// The file has string, table, math and utf8, and nothing that reaches outside.
#ifndef TMAC_CLI_CHAT_TEMPLATE_H
#define TMAC_CLI_CHAT_TEMPLATE_H

#include "runtime/chat.h"

typedef struct tmac_chat_template {
    const tmac_chat_form *form; // NULL: Lua's
    struct lua_State *lua;
} tmac_chat_template;

// given: a name or a Lua file; NULL: `recognised`, what the model's files tell ("" where they do not).
tmac_status tmac_chat_template_open(const char *given, const char *recognised,
                                    tmac_chat_template *template);
void tmac_chat_template_close(tmac_chat_template *template);

// The tokens of a conversation, BOS included. The caller frees *tokens.
tmac_status tmac_chat_template_encode(const tmac_chat_template *template,
                                      const tmac_tokenizer *tokenizer,
                                      const tmac_chat_message *messages, size_t count, bool open,
                                      uint32_t **tokens, size_t *token_count);

#endif

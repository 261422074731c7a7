// How conversations are written for a model: what stands around each message.
//
// A form turns messages into text parts (runtime/tmac.h): its own words are markup, in which control tokens are
// recognised; what people and models wrote is not, so that nobody can end a turn by typing its mark.
#ifndef TMAC_RUNTIME_CHAT_H
#define TMAC_RUNTIME_CHAT_H

#include "runtime/tmac.h"

typedef enum tmac_chat_role {
    TMAC_CHAT_SYSTEM,
    TMAC_CHAT_USER,
    TMAC_CHAT_ASSISTANT,
    TMAC_CHAT_ROLES
} tmac_chat_role;
extern const char *const tmac_chat_role_names[TMAC_CHAT_ROLES]; // "system", "user", "assistant"

typedef struct tmac_chat_message {
    tmac_chat_role role;
    const char *text;
    size_t bytes;
} tmac_chat_message;

typedef struct tmac_chat_form tmac_chat_form;

// The form of this name; NULL: none. tmac_chat_form_names: all names, for messages.
const tmac_chat_form *tmac_chat_form_find(const char *name);
extern const char tmac_chat_form_names[];

// Whether a text in this form starts with BOS.
bool tmac_chat_form_bos(const tmac_chat_form *form);

// The parts of a conversation, followed, where `open`, by what stands before the assistant's next words. *parts is
// malloc'ed, the caller frees it; parts point into the messages and into the form.
tmac_status tmac_chat_render(const tmac_chat_form *form, const tmac_chat_message *messages,
                             size_t count, bool open, tmac_text_part **parts, size_t *part_count);

#endif

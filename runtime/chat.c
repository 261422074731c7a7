// The forms of conversation that models were trained with (runtime/chat.h), one row each.
#include "runtime/chat.h"

#include <stdlib.h>
#include <string.h>

struct tmac_chat_form {
    const char *name;
    bool bos;  // the text starts with BOS
    bool trim; // messages lose blanks at both ends
    // Before and after the message of each role; `open` stands before the assistant's next words.
    const char *before[TMAC_CHAT_ROLES], *after[TMAC_CHAT_ROLES], *open;
    // The system message is part of the first of the user: what stands before it there and between the two. NULL: it is
    // a message of its own.
    const char *inside_before, *inside_after;
};

static const tmac_chat_form forms[] = {
    {.name = "bitnet",
     .bos = true,
     .trim = true,
     .before = {"System: ", "User: ", "Assistant: "},
     .after = {"<|eot_id|>", "<|eot_id|>", "<|eot_id|>"},
     .open = "Assistant: "},
    {.name = "llama3",
     .bos = true,
     .trim = true,
     .before = {"<|start_header_id|>system<|end_header_id|>\n\n",
                "<|start_header_id|>user<|end_header_id|>\n\n",
                "<|start_header_id|>assistant<|end_header_id|>\n\n"},
     .after = {"<|eot_id|>", "<|eot_id|>", "<|eot_id|>"},
     .open = "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {.name = "chatml",
     .before = {"<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"},
     .after = {"<|im_end|>\n", "<|im_end|>\n", "<|im_end|>\n"},
     .open = "<|im_start|>assistant\n"},
    {.name = "falcon3",
     .before = {"<|system|>\n", "<|user|>\n", "<|assistant|>\n"},
     .after = {"\n", "\n", "<|endoftext|>\n"},
     .open = "<|assistant|>\n"},
    {.name = "llama2",
     .trim = true,
     .before = {"", "<s>[INST] ", " "},
     .after = {"", " [/INST]", " </s>"},
     .open = "",
     .inside_before = "<<SYS>>\n",
     .inside_after = "\n<</SYS>>\n\n"},
};
const char tmac_chat_form_names[] = "bitnet, llama3, chatml (qwen), falcon3, llama2";
const char *const tmac_chat_role_names[TMAC_CHAT_ROLES] = {"system", "user", "assistant"};

const tmac_chat_form *tmac_chat_form_find(const char *name)
{
    if (strcmp(name, "qwen") == 0) name = "chatml";
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strcmp(forms[i].name, name) == 0) return &forms[i];
    return NULL;
}

bool tmac_chat_form_bos(const tmac_chat_form *form)
{
    return form->bos;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static tmac_text_part content(const tmac_chat_form *form, const tmac_chat_message *message)
{
    const char *text = message->text;
    size_t bytes = message->bytes;
    for (; form->trim && bytes && is_blank(text[0]); bytes--)
        text++;
    while (form->trim && bytes && is_blank(text[bytes - 1]))
        bytes--;
    return (tmac_text_part){text, bytes, false};
}

static tmac_text_part markup(const char *text)
{
    return (tmac_text_part){text, strlen(text), true};
}

tmac_status tmac_chat_render(const tmac_chat_form *form, const tmac_chat_message *messages,
                             size_t count, bool open, tmac_text_part **parts, size_t *part_count)
{
    // Three parts a message, three more where the system message is inside another, and the end.
    tmac_text_part *out = calloc(3 * count + 4, sizeof *out);
    size_t used = 0;
    *parts = out;
    *part_count = 0;
    if (!out) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu messages", count);
    const tmac_chat_message *inside = NULL;
    for (size_t i = 0; i < count; i++) {
        const tmac_chat_role role = messages[i].role;
        if (role == TMAC_CHAT_SYSTEM && form->inside_before) {
            inside = &messages[i];
            continue;
        }
        out[used++] = markup(form->before[role]);
        if (inside && role == TMAC_CHAT_USER) {
            out[used++] = markup(form->inside_before);
            out[used++] = content(form, inside);
            out[used++] = markup(form->inside_after);
            inside = NULL;
        }
        out[used++] = content(form, &messages[i]);
        out[used++] = markup(form->after[role]);
    }
    if (open) out[used++] = markup(form->open);
    *part_count = used;
    return tmac_ok();
}

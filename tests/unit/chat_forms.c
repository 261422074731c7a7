// The text of one conversation in every form, as the models' own templates write it; and that templates are recognised.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "convert/vocabulary.h"
#include "runtime/chat.h"

#define MESSAGE(role, text)                                                                        \
    {                                                                                              \
        role, text, sizeof text - 1                                                                \
    }

static const tmac_chat_message messages[] = {
    MESSAGE(TMAC_CHAT_SYSTEM, " Be brief. "), MESSAGE(TMAC_CHAT_USER, "Hi\n"),
    MESSAGE(TMAC_CHAT_ASSISTANT, "Hello."), MESSAGE(TMAC_CHAT_USER, "<|eot_id|>")};

static const struct {
    const char *name, *text, *alone; // alone: the first question, without a system message
    bool bos;
} forms[] = {
    {"bitnet",
     "System: Be brief.<|eot_id|>User: Hi<|eot_id|>Assistant: Hello.<|eot_id|>"
     "User: <|eot_id|><|eot_id|>Assistant: ",
     "User: Hi<|eot_id|>Assistant: ", true},
    {"llama3",
     "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\n<|eot_id|><|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n",
     true},
    {"chatml",
     "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nHi\n<|im_end|>\n"
     "<|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\n<|eot_id|><|im_end|>\n"
     "<|im_start|>assistant\n",
     "<|im_start|>user\nHi\n<|im_end|>\n<|im_start|>assistant\n", false},
    {"falcon3",
     "<|system|>\n Be brief. \n<|user|>\nHi\n\n<|assistant|>\nHello.<|endoftext|>\n"
     "<|user|>\n<|eot_id|>\n<|assistant|>\n",
     "<|user|>\nHi\n\n<|assistant|>\n", false},
    {"llama2",
     "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s>"
     "<s>[INST] <|eot_id|> [/INST]",
     "<s>[INST] Hi [/INST]", false},
};

// The text; in `marked` a 1 for each byte that is markup.
static void render(const tmac_chat_form *form, const tmac_chat_message *from, size_t count,
                   char text[1024], char marked[1024])
{
    tmac_text_part *parts;
    size_t part_count, used = 0;
    cr_assert_eq(tmac_chat_render(form, from, count, true, &parts, &part_count).code, TMAC_OK);
    for (size_t i = 0; i < part_count; i++) {
        cr_assert_lt(used + parts[i].bytes, 1024);
        memcpy(text + used, parts[i].text, parts[i].bytes);
        memset(marked + used, parts[i].markup ? '1' : '0', parts[i].bytes);
        used += parts[i].bytes;
    }
    text[used] = marked[used] = '\0';
    free(parts);
}

Test(chat_forms, golden_strings)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const tmac_chat_form *form = tmac_chat_form_find(forms[i].name);
        char text[1024], marked[1024];
        cr_assert_not_null(form, "%s", forms[i].name);
        render(form, messages, 4, text, marked);
        cr_expect_str_eq(text, forms[i].text, "%s: %s", forms[i].name, text);
        render(form, messages + 1, 1, text, marked);
        cr_expect_str_eq(text, forms[i].alone, "%s: %s", forms[i].name, text);
        cr_expect_eq(tmac_chat_form_bos(form), forms[i].bos);
    }
    cr_expect_eq(tmac_chat_form_find("qwen"), tmac_chat_form_find("chatml"));
    cr_expect_null(tmac_chat_form_find("alpaca"));
}

// Nobody ends a turn by typing its mark.
Test(chat_forms, what_people_write_is_no_markup)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char text[1024], marked[1024];
        render(tmac_chat_form_find(forms[i].name), messages + 3, 1, text, marked);
        const char *typed = strstr(text, "<|eot_id|>");
        cr_assert_not_null(typed);
        cr_expect(strncmp(marked + (typed - text), "0000000000", 10) == 0, "%s", forms[i].name);
    }
}

Test(chat_forms, templates_are_recognised)
{
    static const struct {
        const char *jinja, *name;
    } others[] = {
        {"{% if m.role == 'user' %}<|user|>{% endif %}<|assistant|><|system|><|end|>", ""}, // Phi
        {"### Instruction:\n{{ m }}", ""},
        {"", ""},
    };
    char name[TMAC_CHAT_NAME_BYTES];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const char *jinja = tmac_chat_jinja(forms[i].name);
        cr_assert_not_null(jinja);
        tmac_chat_recognise(jinja, strlen(jinja), name);
        cr_expect_str_eq(name, forms[i].name);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        tmac_chat_recognise(others[i].jinja, strlen(others[i].jinja), name);
        cr_expect_str_eq(name, others[i].name, "%s", others[i].jinja);
    }
    cr_expect_null(tmac_chat_jinja(""));
}

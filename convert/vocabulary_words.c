// How a tokenizer.json cuts words: pre_tokenizer, one processor or a Sequence of them, each of which becomes a regular
// expression, and one follows the other (runtime/tokenizer_split.c).
//
//   Split        its Regex, or its String taken literally; behavior Isolated
//   ByteLevel    GPT-2's expression, unless use_regex is false
//   Punctuation  characters of punctuation, one by one (Isolated) or together (Contiguous)
//   Digits       characters of numbers, one by one or together
//
// And the normalizer: NFC, or none. Everything else is refused by its name: text cut in another way gives other tokens,
// and a model that was not trained on them.
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "convert/vocabulary.h"

typedef struct writer {
    char *pattern;
    size_t used;
} writer;

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static tmac_status too_long(void)
{
    return tmac_fail(TMAC_UNSUPPORTED, "the tokenizer's word patterns have more than %d bytes",
                     TMAC_PATTERN_BYTES - 1);
}

static tmac_status put(writer *w, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (w->used + 3 > TMAC_PATTERN_BYTES) return too_long();
        // A line end would end the pattern.
        if (text[i] == '\n') w->pattern[w->used++] = '\\';
        w->pattern[w->used++] = (char)(text[i] == '\n' ? 'n' : text[i]);
    }
    w->pattern[w->used] = '\0';
    return tmac_ok();
}

static tmac_status put_step(writer *w, const char *pattern)
{
    if (w->used) {
        if (w->used + 2 > TMAC_PATTERN_BYTES) return too_long();
        w->pattern[w->used++] = '\n';
    }
    return put(w, pattern, strlen(pattern));
}

static tmac_status put_literal(writer *w, const char *text)
{
    TMAC_TRY(put_step(w, ""));
    for (size_t i = 0; text[i]; i++) {
        const char quoted[2] = {'\\', text[i]};
        const bool special = strchr("\\^$.[|()?*+{}]-/#", text[i]) != NULL;
        TMAC_TRY(put(w, special ? quoted : text + i, special ? 2 : 1));
    }
    return tmac_ok();
}

static tmac_status unknown_behavior(const json_t *step)
{
    return tmac_fail(TMAC_UNSUPPORTED,
                     "the tokenizer cuts words in a way we do not know (pre_tokenizer %.20s with "
                     "behavior %.20s%s)",
                     text_of(step, "type"), text_of(step, "behavior"),
                     json_is_true(json_object_get(step, "invert")) ? ", inverted" : "");
}

static tmac_status put_split(writer *w, const json_t *step)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const char *regex = text_of(pattern, "Regex"), *literal = text_of(pattern, "String");
    if (strcmp(text_of(step, "behavior"), "Isolated") != 0 ||
        json_is_true(json_object_get(step, "invert")) || (!regex[0] && !literal[0]))
        return unknown_behavior(step);
    return regex[0] ? put_step(w, regex) : put_literal(w, literal);
}

static tmac_status put_one(writer *w, const json_t *step)
{
    const char *type = text_of(step, "type"), *behavior = text_of(step, "behavior");
    if (strcmp(type, "Split") == 0) return put_split(w, step);
    if (strcmp(type, "ByteLevel") == 0) {
        if (json_is_true(json_object_get(step, "add_prefix_space")))
            return tmac_fail(TMAC_UNSUPPORTED, "the tokenizer's ByteLevel puts a space before "
                                               "every text, which is not supported");
        return json_is_false(json_object_get(step, "use_regex"))
                   ? tmac_ok()
                   : put_step(w, tmac_pattern_named("gpt-2", 5));
    }
    if (strcmp(type, "Punctuation") == 0) {
        const bool alone = strcmp(behavior, "Isolated") == 0 || !behavior[0];
        if (!alone && strcmp(behavior, "Contiguous") != 0) return unknown_behavior(step);
        return put_step(w, alone ? "[\\p{P}$+<=>^`|~]" : TMAC_PATTERN_PUNCTUATION);
    }
    if (strcmp(type, "Digits") == 0)
        return put_step(w, json_is_true(json_object_get(step, "individual_digits")) ? "\\p{N}"
                                                                                    : "\\p{N}+");
    return tmac_fail(TMAC_UNSUPPORTED,
                     "the tokenizer cuts words in a way we do not know (pre_tokenizer %.40s; known "
                     "are Split, ByteLevel, Punctuation and Digits)",
                     type[0] ? type : "without a type");
}

tmac_status tmac_json_words(const json_t *root, char pattern[TMAC_PATTERN_BYTES])
{
    const json_t *before = json_object_get(root, "pre_tokenizer");
    const json_t *steps = json_object_get(before, "pretokenizers"), *one;
    writer w = {.pattern = pattern};
    size_t index;
    pattern[0] = '\0';
    if (strcmp(text_of(before, "type"), "Sequence") != 0)
        TMAC_TRY(put_one(&w, before));
    else
        json_array_foreach(steps, index, one) TMAC_TRY(put_one(&w, one));
    if (w.used == 0)
        return tmac_fail(TMAC_UNSUPPORTED, "the tokenizer's pre_tokenizer cuts no words");
    return tmac_ok();
}

static tmac_status take_form(const json_t *one, bool *nfc)
{
    const char *type = text_of(one, "type");
    if (strcmp(type, "NFC") != 0)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the tokenizer changes a text in a way we do not know (normalizer %.40s; "
                         "known is NFC)",
                         type[0] ? type : "without a type");
    *nfc = true;
    return tmac_ok();
}

tmac_status tmac_json_normal_form(const json_t *root, bool *nfc)
{
    const json_t *normalizer = json_object_get(root, "normalizer"), *one;
    size_t index;
    *nfc = false;
    if (!json_is_object(normalizer)) return tmac_ok();
    if (strcmp(text_of(normalizer, "type"), "Sequence") != 0) return take_form(normalizer, nfc);
    json_array_foreach(json_object_get(normalizer, "normalizers"), index, one)
        TMAC_TRY(take_form(one, nfc));
    return tmac_ok();
}

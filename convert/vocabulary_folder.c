// The tokenizer of a model folder, from what lies there:
//
//   tokenizer.json, else tokenizer.model   the pieces (the latter sentencepiece's or tiktoken's), else tokenizer.bin
//   tokenizer_config.json                  bos_token, eos_token, add_bos_token, chat_template
//   chat_template.jinja                    newer folders keep the template here
//   generation_config.json, config.json    bos_token_id, eos_token_id: numbers or lists of them; every one of a list
//                                          ends a text
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "convert/vocabulary.h"

typedef struct folder {
    const char *path;
    tmac_vocabulary *vocabulary;
} folder;

static bool find_file(const folder *in, const char *name, char path[1100])
{
    const int length = snprintf(path, 1100, "%s/%s", in->path, name);
    return length > 0 && length < 1100 && access(path, F_OK) == 0;
}

// NULL where there is no such file.
static tmac_status load(const folder *in, const char *name, json_t **root)
{
    char path[1100];
    *root = NULL;
    if (!find_file(in, name, path)) return tmac_ok();
    json_error_t error;
    *root = json_load_file(path, JSON_ALLOW_NUL, &error);
    if (*root) return tmac_ok();
    return tmac_fail(TMAC_BAD_FILE, "%s: line %d: %s", name, error.line, error.text);
}

// ------------------------------------------------------------------------------------------- tokenizer_config.json

// The id of a token given by its spelling, or by an object with its `content`; -1: none.
static int32_t token_named(const folder *in, const json_t *from)
{
    const json_t *text = json_is_object(from) ? json_object_get(from, "content") : from;
    if (!json_is_string(text)) return -1;
    const size_t bytes = json_string_length(text);
    for (uint32_t id = 0; id < in->vocabulary->size; id++) {
        const tmac_piece *piece = &in->vocabulary->pieces[id];
        if (piece->bytes == bytes && memcmp(piece->text, json_string_value(text), bytes) == 0)
            return (int32_t)id;
    }
    return -1;
}

// A template, or a list of named ones of which "default" counts.
static void take_template(const folder *in, const json_t *template)
{
    size_t index;
    const json_t *one, *text = template;
    json_array_foreach(template, index, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0) text = json_object_get(one, "template");
    }
    if (json_is_string(text))
        tmac_chat_recognise(json_string_value(text), json_string_length(text),
                            in->vocabulary->chat);
}

static tmac_status read_tokenizer_config(const folder *in)
{
    json_t *root;
    TMAC_TRY(load(in, "tokenizer_config.json", &root));
    const int32_t bos = token_named(in, json_object_get(root, "bos_token"));
    const int32_t eos = token_named(in, json_object_get(root, "eos_token"));
    const json_t *add_bos = json_object_get(root, "add_bos_token");
    if (bos >= 0) in->vocabulary->bos = bos;
    if (eos >= 0) in->vocabulary->eos = eos;
    if (json_is_boolean(add_bos)) in->vocabulary->add_bos = json_is_true(add_bos);
    take_template(in, json_object_get(root, "chat_template"));
    json_decref(root);

    char path[1100];
    if (!find_file(in, "chat_template.jinja", path)) return tmac_ok();
    tmac_map map;
    TMAC_TRY(tmac_map_open(path, &map));
    if (map.bytes) tmac_chat_recognise((const char *)map.data, map.bytes, in->vocabulary->chat);
    tmac_map_close(&map);
    return tmac_ok();
}

// ----------------------------------------------------------------------- generation_config.json and config.json

static tmac_status read_ids(const folder *in, const char *name)
{
    json_t *root;
    TMAC_TRY(load(in, name, &root));
    tmac_vocabulary *vocabulary = in->vocabulary;
    const json_t *bos = json_object_get(root, "bos_token_id");
    const json_t *eos = json_object_get(root, "eos_token_id"), *one;
    const json_int_t first = json_integer_value(json_is_array(eos) ? json_array_get(eos, 0) : eos);
    size_t index;
    if (vocabulary->bos < 0 && json_is_integer(bos) && json_integer_value(bos) >= 0 &&
        json_integer_value(bos) < vocabulary->size)
        vocabulary->bos = (int32_t)json_integer_value(bos);
    if (vocabulary->eos < 0 && eos && first >= 0 && first < vocabulary->size)
        vocabulary->eos = (int32_t)first;
    if (json_is_integer(eos)) tmac_vocabulary_add_stop(vocabulary, json_integer_value(eos));
    json_array_foreach(eos, index, one) if (json_is_integer(one))
        tmac_vocabulary_add_stop(vocabulary, json_integer_value(one));
    json_decref(root);
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- folder

static tmac_status read_folder(const folder *in, uint32_t expected)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tokenizer.bin"};
    char path[1100];
    size_t which = 0;
    while (which < 3 && !find_file(in, names[which], path))
        which++;
    if (which == 3) return tmac_ok();
    TMAC_TRY(tmac_vocabulary_open(path, expected, in->vocabulary));
    TMAC_TRY(read_tokenizer_config(in));
    TMAC_TRY(read_ids(in, "generation_config.json"));
    return read_ids(in, "config.json");
}

tmac_status tmac_vocabulary_open_folder(const char *path, uint32_t expected,
                                        tmac_vocabulary *vocabulary)
{
    memset(vocabulary, 0, sizeof *vocabulary);
    tmac_status status = read_folder(&(folder){path, vocabulary}, expected);
    if (status.code == TMAC_OK) return status;
    tmac_vocabulary_free(vocabulary);
    // tmac_vocabulary_open has named the file already.
    return strncmp(status.message, path, strlen(path)) == 0 ? status
                                                            : tmac_prefix(status, "%s", path);
}

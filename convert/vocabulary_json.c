// tokenizer.json of Hugging Face: BPE, in one of two forms.
//
//   byte-level     a ByteLevel among pre_tokenizer or decoder: pieces are spelled in the byte alphabet, words are cut
//                  by the processors of pre_tokenizer (convert/vocabulary_words.c)
//   sentencepiece  byte_fallback, with U+2581 for spaces: "<0xNN>" are bytes, no words; a prefix space where the
//                  normalizer prepends one
//
// model: {type "BPE", vocab {piece: id}, merges ["a b"] or [["a", "b"]], ignore_merges, byte_fallback, unk_token};
// added_tokens: [{id, content, special}] are spelled as they are: special ones are control pieces, others user-defined.
// post_processor tells whether a text starts with a token, which then is BOS.
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "convert/vocabulary.h"

// Ids need not be all in use, but a few bytes of a file may not claim memory for millions.
enum { GAPS_MAX = 16, GAPS_FEW = 4096 };

bool tmac_is_tokenizer_json(const tmac_map *map)
{
    for (size_t i = 0; i < map->bytes && i < 64; i++)
        if (!strchr(" \t\r\n", (char)map->data[i]) || map->data[i] == 0) return map->data[i] == '{';
    return false;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

// The first object of this type in a processor, which may be a Sequence of others under `list`; NULL: none.
static const json_t *find_type(const json_t *processor, const char *list, const char *type)
{
    if (strcmp(text_of(processor, "type"), type) == 0) return processor;
    size_t index;
    const json_t *one;
    json_array_foreach(json_object_get(processor, list), index,
                       one) if (strcmp(text_of(one, "type"), type) == 0) return one;
    return NULL;
}

// ---------------------------------------------------------------------------------------------------------- pieces

typedef struct reader {
    const json_t *root, *model;
    tmac_vocabulary *vocabulary;
    bool byte_level;
    char *text;
} reader;

static tmac_status count_piece(const json_t *id, size_t bytes, uint32_t *size, size_t *text_bytes)
{
    const json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value < 0 || value >= TMAC_PIECES_MAX)
        return tmac_fail(TMAC_BAD_FILE, "a piece has no id, or one beyond %d", TMAC_PIECES_MAX);
    if ((uint32_t)value >= *size) *size = (uint32_t)value + 1;
    *text_bytes += bytes;
    return tmac_ok();
}

static tmac_status count_pieces(const reader *in, uint32_t *size, size_t *text_bytes)
{
    const char *key;
    json_t *value;
    size_t index;
    json_t *vocab = json_object_get(in->model, "vocab");
    const json_t *added = json_object_get(in->root, "added_tokens");
    json_object_foreach(vocab, key, value)
        TMAC_TRY(count_piece(value, strlen(key), size, text_bytes));
    json_array_foreach(added, index, value) TMAC_TRY(
        count_piece(json_object_get(value, "id"),
                    json_string_length(json_object_get(value, "content")), size, text_bytes));
    const size_t pieces = json_object_size(vocab) + json_array_size(added);
    if (*size > GAPS_MAX * pieces + GAPS_FEW)
        return tmac_fail(TMAC_BAD_FILE, "ids go up to %u, but there are only %zu pieces", *size - 1,
                         pieces);
    return *size ? tmac_ok() : tmac_fail(TMAC_BAD_FILE, "the tokenizer has no pieces");
}

static bool is_byte_name(const char *text, size_t bytes)
{
    return bytes == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' &&
           strspn(text + 3, "0123456789ABCDEFabcdef") == 2;
}

static tmac_status read_vocab(reader *in)
{
    const char *key, *unknown = text_of(in->model, "unk_token");
    json_t *value;
    json_object_foreach(json_object_get(in->model, "vocab"), key, value)
    {
        tmac_piece *piece = &in->vocabulary->pieces[json_integer_value(value)];
        const size_t bytes = strlen(key);
        piece->kind = TMAC_PIECE_NORMAL;
        if (!in->byte_level && is_byte_name(key, bytes)) piece->kind = TMAC_PIECE_BYTE;
        if (unknown[0] && strcmp(key, unknown) == 0) {
            piece->kind = TMAC_PIECE_UNKNOWN;
            in->vocabulary->unknown = (int32_t)json_integer_value(value);
        }
        if (!in->byte_level)
            piece->bytes = tmac_spell_spm(key, (uint32_t)bytes, in->text);
        else if (!tmac_spell_bytes(key, (uint32_t)bytes, in->text, &piece->bytes))
            // Added tokens are in `vocab` of some files too, spelled as they are.
            memcpy(in->text, key, piece->bytes = (uint32_t)bytes);
        piece->text = in->text;
        in->text += piece->bytes;
    }
    return tmac_ok();
}

static void read_added(reader *in)
{
    size_t index;
    const json_t *one;
    json_array_foreach(json_object_get(in->root, "added_tokens"), index, one)
    {
        tmac_piece *piece = &in->vocabulary->pieces[json_integer_value(json_object_get(one, "id"))];
        const json_t *content = json_object_get(one, "content");
        piece->bytes = (uint32_t)json_string_length(content);
        if (piece->bytes) memcpy(in->text, json_string_value(content), piece->bytes);
        piece->text = in->text;
        in->text += piece->bytes;
        if (piece->kind != TMAC_PIECE_UNKNOWN)
            piece->kind = json_is_true(json_object_get(one, "special")) ? TMAC_PIECE_CONTROL
                                                                        : TMAC_PIECE_USER;
    }
}

static tmac_status read_merge(const reader *in, const tmac_piece_index *index, const json_t *from,
                              uint32_t rank)
{
    char joined[2100];
    const char *text = json_string_value(from);
    size_t bytes = json_string_length(from);
    if (json_array_size(from) == 2) {
        const json_t *a = json_array_get(from, 0), *b = json_array_get(from, 1);
        const int length =
            snprintf(joined, sizeof joined, "%s %s", json_is_string(a) ? json_string_value(a) : "",
                     json_is_string(b) ? json_string_value(b) : "");
        text = joined;
        bytes = length < 0 || (size_t)length >= sizeof joined ? 0 : (size_t)length;
    }
    if (!text) return tmac_fail(TMAC_BAD_FILE, "merge %u is no text", rank);
    return tmac_merge_parse(index, in->byte_level, text, bytes, rank,
                            &in->vocabulary->merges[rank]);
}

static tmac_status read_merges(reader *in)
{
    const json_t *list = json_object_get(in->model, "merges"), *one;
    const size_t count = json_array_size(list);
    if (count > TMAC_PIECES_MAX) return tmac_fail(TMAC_BAD_FILE, "%zu merges", count);
    if (count == 0)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the tokenizer has no merges: it is no BPE that we know");
    TMAC_TRY(tmac_vocabulary_take_merges(in->vocabulary, (uint32_t)count));
    tmac_piece_index *index;
    TMAC_TRY(tmac_piece_index_new(in->vocabulary, &index));
    tmac_status status = tmac_ok();
    size_t rank;
    json_array_foreach(list, rank, one)
    {
        status = read_merge(in, index, one, (uint32_t)rank);
        if (status.code != TMAC_OK) break;
    }
    tmac_piece_index_free(index);
    return status;
}

// ----------------------------------------------------------------------------------------------- words and beginnings

static bool has_prefix(const json_t *root)
{
    const json_t *prepend =
        find_type(json_object_get(root, "normalizer"), "normalizers", "Prepend");
    const json_t *space =
        find_type(json_object_get(root, "pre_tokenizer"), "pretokenizers", "Metaspace");
    const json_t *flag = json_object_get(space, "add_prefix_space");
    return prepend || (space && (flag ? json_is_true(flag)
                                      : strcmp(text_of(space, "prepend_scheme"), "never") != 0));
}

// The token that a text starts with by the template for single texts.
static void read_beginning(reader *in)
{
    const json_t *template =
        find_type(json_object_get(in->root, "post_processor"), "processors", "TemplateProcessing");
    const json_t *first = json_array_get(json_object_get(template, "single"), 0);
    const char *name = text_of(json_object_get(first, "SpecialToken"), "id");
    for (uint32_t id = 0; name[0] && id < in->vocabulary->size; id++) {
        const tmac_piece *piece = &in->vocabulary->pieces[id];
        if (piece->bytes != strlen(name) || memcmp(piece->text, name, piece->bytes) != 0) continue;
        in->vocabulary->bos = (int32_t)id;
        in->vocabulary->add_bos = true;
        return;
    }
}

static tmac_status read_words(const json_t *root, tmac_vocabulary *vocabulary)
{
    TMAC_TRY(tmac_json_normal_form(root, &vocabulary->nfc));
    return tmac_json_words(root, vocabulary->pattern);
}

static tmac_status read_root(const json_t *root, tmac_vocabulary *vocabulary)
{
    reader in = {.root = root, .model = json_object_get(root, "model"), .vocabulary = vocabulary};
    const char *type = text_of(in.model, "type");
    if (!json_is_object(json_object_get(in.model, "vocab")) ||
        (type[0] && strcmp(type, "BPE") != 0))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "as a tokenizer.json, its model is '%.40s': only BPE is supported", type);
    in.byte_level =
        find_type(json_object_get(root, "pre_tokenizer"), "pretokenizers", "ByteLevel") ||
        find_type(json_object_get(root, "decoder"), "decoders", "ByteLevel");
    uint32_t size = 0;
    size_t text_bytes = 0;
    TMAC_TRY(count_pieces(&in, &size, &text_bytes));
    TMAC_TRY(tmac_vocabulary_take(vocabulary, size, text_bytes, &in.text));
    for (uint32_t i = 0; i < size; i++)
        vocabulary->pieces[i] = (tmac_piece){.text = in.text, .kind = TMAC_PIECE_UNUSED};
    vocabulary->kind = in.byte_level ? TMAC_VOCABULARY_BPE : TMAC_VOCABULARY_SPM;
    vocabulary->whole_words = json_is_true(json_object_get(in.model, "ignore_merges"));
    TMAC_TRY(read_vocab(&in));
    TMAC_TRY(read_merges(&in));
    read_added(&in);
    if (in.byte_level)
        TMAC_TRY(read_words(root, vocabulary));
    else
        vocabulary->add_space_prefix = has_prefix(root);
    read_beginning(&in);
    return tmac_ok();
}

tmac_status tmac_read_tokenizer_json(const tmac_map *map, tmac_vocabulary *vocabulary)
{
    json_error_t error;
    memset(vocabulary, 0, sizeof *vocabulary);
    json_t *root = json_loadb((const char *)map->data, map->bytes, JSON_ALLOW_NUL, &error);
    if (!root)
        return tmac_fail(TMAC_BAD_FILE, "as a tokenizer.json, line %d: %s", error.line, error.text);
    tmac_status status = read_root(root, vocabulary);
    json_decref(root);
    if (status.code != TMAC_OK) tmac_vocabulary_free(vocabulary);
    return status;
}

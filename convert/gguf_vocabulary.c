// The sentencepiece vocabulary of a GGUF: tokenizer.ggml.model "llama" with tokens, scores and token_type. Pieces keep
// U+2581 for a space; here it becomes one. Byte-level BPE vocabularies ("gpt2") are left alone: size 0.
#include <math.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/gguf.h"
#include "convert/gguf_model.h"
#include "convert/readers.h"

static const char space_mark[] = "\xe2\x96\x81"; // U+2581

// Copies a piece with spaces for its marks; returns the bytes written.
static uint32_t spell(const uint8_t *from, uint32_t bytes, char *to)
{
    uint32_t written = 0;
    for (uint32_t i = 0; i < bytes;) {
        bool mark = bytes - i >= 3 && memcmp(from + i, space_mark, 3) == 0;
        to[written++] = mark ? ' ' : (char)from[i];
        i += mark ? 3 : 1;
    }
    return written;
}

static tmac_status array_of(const tmac_gguf *gguf, const char *name, tmac_gguf_kind element,
                            uint64_t count, const uint8_t **data)
{
    const tmac_gguf_value *array = tmac_gguf_value_find(gguf, name);
    *data = NULL;
    if (!array) return tmac_ok();
    if (array->kind != TMAC_GGUF_ARRAY || array->element != element || array->count != count)
        return tmac_fail(TMAC_BAD_FILE, "%s is not an array of %llu %s, one for each token", name,
                         (unsigned long long)count, element == TMAC_GGUF_F32 ? "f32" : "int32");
    *data = array->data;
    return tmac_ok();
}

static tmac_status special(const tmac_gguf *gguf, const char *name, int32_t fallback, uint32_t size,
                           int32_t *id)
{
    int64_t value;
    TMAC_TRY(tmac_gguf_integer(gguf, name, false, fallback, &value));
    if (value == 0xffffffff) value = -1; // how some writers say "none"
    if (value < -1 || value >= (int64_t)size)
        return tmac_fail(TMAC_BAD_FILE, "%s is %lld, outside the vocabulary of %u", name,
                         (long long)value, size);
    *id = (int32_t)value;
    return tmac_ok();
}

static tmac_status fill(const tmac_gguf *gguf, const tmac_gguf_value *tokens,
                        tmac_vocabulary *vocabulary, char *text)
{
    const uint8_t *scores, *kinds, *from = tokens->data;
    TMAC_TRY(array_of(gguf, "tokenizer.ggml.scores", TMAC_GGUF_F32, tokens->count, &scores));
    TMAC_TRY(array_of(gguf, "tokenizer.ggml.token_type", TMAC_GGUF_I32, tokens->count, &kinds));
    if (!scores) return tmac_fail(TMAC_BAD_FILE, "tokenizer.ggml.scores is missing");
    for (uint32_t i = 0; i < vocabulary->size; i++) {
        tmac_piece *piece = &vocabulary->pieces[i];
        uint64_t bytes = tmac_load_u64(from);
        uint32_t kind = kinds ? tmac_load_u32(kinds + 4 * (size_t)i) : TMAC_PIECE_NORMAL;
        piece->text = text;
        piece->bytes = spell(from + 8, (uint32_t)bytes, text);
        piece->score = tmac_load_f32(scores + 4 * (size_t)i);
        if (kind == 0) kind = TMAC_PIECE_NORMAL; // "undefined"
        if (kind > TMAC_PIECE_BYTE || !isfinite(piece->score))
            return tmac_fail(TMAC_BAD_FILE, "token %u has kind %u and score %g", i, kind,
                             (double)piece->score);
        piece->kind = (uint8_t)kind;
        text += piece->bytes;
        from += 8 + bytes;
    }
    int64_t flag;
    TMAC_TRY(special(gguf, "tokenizer.ggml.bos_token_id", 1, vocabulary->size, &vocabulary->bos));
    TMAC_TRY(special(gguf, "tokenizer.ggml.eos_token_id", 2, vocabulary->size, &vocabulary->eos));
    TMAC_TRY(special(gguf, "tokenizer.ggml.unknown_token_id", 0, vocabulary->size,
                     &vocabulary->unknown));
    TMAC_TRY(tmac_gguf_integer(gguf, "tokenizer.ggml.add_bos_token", false, 1, &flag));
    vocabulary->add_bos = flag != 0;
    TMAC_TRY(tmac_gguf_integer(gguf, "tokenizer.ggml.add_space_prefix", false, 1, &flag));
    vocabulary->add_space_prefix = flag != 0;
    return tmac_ok();
}

tmac_status tmac_gguf_vocabulary(const tmac_gguf *gguf, tmac_vocabulary *vocabulary)
{
    memset(vocabulary, 0, sizeof *vocabulary);
    tmac_gguf_text model;
    if (!tmac_gguf_string(gguf, "tokenizer.ggml.model", &model) ||
        !tmac_gguf_text_is(model, "llama"))
        return tmac_ok();
    const tmac_gguf_value *tokens = tmac_gguf_value_find(gguf, "tokenizer.ggml.tokens");
    if (!tokens || tokens->kind != TMAC_GGUF_ARRAY || tokens->element != TMAC_GGUF_STRING ||
        tokens->count == 0 || tokens->count > 1u << 22)
        return tmac_fail(TMAC_BAD_FILE,
                         "tokenizer.ggml.tokens is missing or not an array of strings");
    size_t text_bytes = 0;
    const uint8_t *from = tokens->data;
    for (uint64_t i = 0; i < tokens->count; i++) {
        uint64_t bytes = tmac_load_u64(from);
        text_bytes += bytes;
        from += 8 + bytes;
    }
    char *text;
    TMAC_TRY(tmac_vocabulary_take(vocabulary, (uint32_t)tokens->count, text_bytes, &text));
    tmac_status status = fill(gguf, tokens, vocabulary, text);
    if (status.code != TMAC_OK) tmac_vocabulary_free(vocabulary);
    return status;
}

tmac_status tmac_read_gguf_vocabulary(const tmac_map *map, tmac_vocabulary *vocabulary)
{
    tmac_gguf gguf;
    TMAC_TRY(tmac_gguf_open(map, &gguf));
    tmac_status status = tmac_gguf_vocabulary(&gguf, vocabulary);
    tmac_gguf_close(&gguf);
    return status;
}

// The vocabulary of a GGUF: tokenizer.ggml.model "llama" (sentencepiece: tokens, scores, token_type; pieces keep U+2581
// for a space, here it becomes one) or "gpt2" (byte-level BPE: tokens in the byte alphabet, merges, token_type; control
// and user-defined ones as they are). How BPE cuts words goes by the name in tokenizer.ggml.pre; files without one are
// the first of BitNet 2B, which means llama-bpe.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/gguf.h"
#include "convert/gguf_model.h"
#include "convert/readers.h"
#include "convert/vocabulary.h"

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

static tmac_status spell(tmac_vocabulary *vocabulary, uint32_t id, const uint8_t *from,
                         uint64_t bytes, char *text)
{
    tmac_piece *piece = &vocabulary->pieces[id];
    piece->text = text;
    if (vocabulary->kind == TMAC_VOCABULARY_SPM) {
        piece->bytes = tmac_spell_spm((const char *)from, (uint32_t)bytes, text);
    } else if (piece->kind != TMAC_PIECE_NORMAL) {
        memcpy(text, from, bytes);
        piece->bytes = (uint32_t)bytes;
    } else if (!tmac_spell_bytes((const char *)from, (uint32_t)bytes, text, &piece->bytes)) {
        return tmac_fail(TMAC_BAD_FILE, "token %u, '%.*s', is not in the alphabet of bytes", id,
                         (int)(bytes < 40 ? bytes : 40), (const char *)from);
    }
    return tmac_ok();
}

static tmac_status fill_pieces(const tmac_gguf *gguf, const tmac_gguf_value *tokens,
                               tmac_vocabulary *vocabulary, char *text)
{
    const uint8_t *scores, *kinds, *from = tokens->data;
    TMAC_TRY(array_of(gguf, "tokenizer.ggml.scores", TMAC_GGUF_F32, tokens->count, &scores));
    TMAC_TRY(array_of(gguf, "tokenizer.ggml.token_type", TMAC_GGUF_I32, tokens->count, &kinds));
    const bool bpe = vocabulary->kind == TMAC_VOCABULARY_BPE;
    if (!scores && !bpe) return tmac_fail(TMAC_BAD_FILE, "tokenizer.ggml.scores is missing");
    for (uint32_t i = 0; i < vocabulary->size; i++) {
        tmac_piece *piece = &vocabulary->pieces[i];
        uint64_t bytes = tmac_load_u64(from);
        uint32_t kind = kinds ? tmac_load_u32(kinds + 4 * (size_t)i) : TMAC_PIECE_NORMAL;
        piece->score = bpe ? 0.0f : tmac_load_f32(scores + 4 * (size_t)i);
        if (kind == 0) kind = TMAC_PIECE_NORMAL; // "undefined"
        if (kind > TMAC_PIECE_BYTE || !isfinite(piece->score))
            return tmac_fail(TMAC_BAD_FILE, "token %u has kind %u and score %g", i, kind,
                             (double)piece->score);
        piece->kind = (uint8_t)kind;
        TMAC_TRY(spell(vocabulary, i, from + 8, bytes, text));
        text += piece->bytes;
        from += 8 + bytes;
    }
    return tmac_ok();
}

// The array in which we write all of more than two.
static tmac_status add_stops(const tmac_gguf *gguf, tmac_vocabulary *vocabulary)
{
    const tmac_gguf_value *stops = tmac_gguf_value_find(gguf, TMAC_GGUF_STOPS);
    if (!stops) return tmac_ok();
    if (stops->kind != TMAC_GGUF_ARRAY || stops->element != TMAC_GGUF_U32 ||
        stops->count > TMAC_STOPS_MAX)
        return tmac_fail(TMAC_BAD_FILE, "%s is not an array of at most %d uint32", TMAC_GGUF_STOPS,
                         TMAC_STOPS_MAX);
    for (uint64_t i = 0; i < stops->count; i++) {
        const uint32_t token = tmac_load_u32(stops->data + 4 * i);
        if (token >= vocabulary->size)
            return tmac_fail(TMAC_BAD_FILE, "%s: token %u of a vocabulary of %u", TMAC_GGUF_STOPS,
                             token, vocabulary->size);
        tmac_vocabulary_add_stop(vocabulary, (int32_t)token);
    }
    return tmac_ok();
}

static tmac_status fill_specials(const tmac_gguf *gguf, tmac_vocabulary *vocabulary)
{
    static const char *const turns[] = {"tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id"};
    const bool spm = vocabulary->kind == TMAC_VOCABULARY_SPM;
    int64_t flag;
    TMAC_TRY(special(gguf, "tokenizer.ggml.bos_token_id", spm ? 1 : -1, vocabulary->size,
                     &vocabulary->bos));
    TMAC_TRY(special(gguf, "tokenizer.ggml.eos_token_id", spm ? 2 : -1, vocabulary->size,
                     &vocabulary->eos));
    TMAC_TRY(special(gguf, "tokenizer.ggml.unknown_token_id", spm ? 0 : -1, vocabulary->size,
                     &vocabulary->unknown));
    // llama-bpe puts BOS in front where the file does not say.
    const tmac_gguf_value *pre = tmac_gguf_value_find(gguf, "tokenizer.ggml.pre");
    TMAC_TRY(tmac_gguf_integer(gguf, "tokenizer.ggml.add_bos_token", false,
                               spm || !pre || vocabulary->whole_words, &flag));
    vocabulary->add_bos = flag != 0;
    TMAC_TRY(tmac_gguf_integer(gguf, "tokenizer.ggml.add_space_prefix", false, spm, &flag));
    vocabulary->add_space_prefix = spm && flag != 0;
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        int32_t token;
        TMAC_TRY(special(gguf, turns[i], -1, vocabulary->size, &token));
        tmac_vocabulary_add_stop(vocabulary, token);
    }
    TMAC_TRY(add_stops(gguf, vocabulary));
    tmac_gguf_text jinja;
    if (tmac_gguf_string(gguf, "tokenizer.chat_template", &jinja))
        tmac_chat_recognise(jinja.data, jinja.bytes, vocabulary->chat);
    return tmac_ok();
}

static tmac_status fill_merges(const tmac_gguf *gguf, tmac_vocabulary *vocabulary)
{
    const tmac_gguf_value *merges = tmac_gguf_value_find(gguf, "tokenizer.ggml.merges");
    if (!merges || merges->kind != TMAC_GGUF_ARRAY || merges->element != TMAC_GGUF_STRING ||
        merges->count == 0 || merges->count > TMAC_PIECES_MAX)
        return tmac_fail(TMAC_BAD_FILE,
                         "tokenizer.ggml.merges is missing or not an array of strings");
    TMAC_TRY(tmac_vocabulary_take_merges(vocabulary, (uint32_t)merges->count));
    tmac_piece_index *index;
    TMAC_TRY(tmac_piece_index_new(vocabulary, &index));
    tmac_status status = tmac_ok();
    const uint8_t *from = merges->data;
    for (uint32_t rank = 0; rank < vocabulary->merge_count && status.code == TMAC_OK; rank++) {
        const uint64_t bytes = tmac_load_u64(from);
        status = tmac_merge_parse(index, true, (const char *)from + 8, bytes, rank,
                                  &vocabulary->merges[rank]);
        from += 8 + bytes;
    }
    tmac_piece_index_free(index);
    return status;
}

// The word pattern of a BPE vocabulary.
static tmac_status name_pattern(const tmac_gguf *gguf, tmac_vocabulary *vocabulary)
{
    tmac_gguf_text pre;
    const bool named = tmac_gguf_string(gguf, "tokenizer.ggml.pre", &pre);
    const char *pattern =
        named ? tmac_pattern_named(pre.data, pre.bytes) : tmac_pattern_named("llama-bpe", 9);
    if (!pattern)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "tokenizer.ggml.pre is '%.*s': we know %s; a tokenizer.json says how words "
            "are cut",
            (int)(pre.bytes < 40 ? pre.bytes : 40), pre.data, tmac_pattern_names);
    snprintf(vocabulary->pattern, sizeof vocabulary->pattern, "%s", pattern);
    vocabulary->whole_words = !named || tmac_pattern_whole_words(pre.data, pre.bytes);
    // Qwen's texts are normalized; the format has no word for it.
    int64_t flag;
    TMAC_TRY(tmac_gguf_integer(gguf, "tmac.tokenizer.nfc", false,
                               named && tmac_gguf_text_is(pre, "qwen2"), &flag));
    vocabulary->nfc = flag != 0;
    return tmac_ok();
}

static tmac_status fill(const tmac_gguf *gguf, const tmac_gguf_value *tokens,
                        tmac_vocabulary *vocabulary, char *text)
{
    TMAC_TRY(fill_pieces(gguf, tokens, vocabulary, text));
    if (vocabulary->kind == TMAC_VOCABULARY_BPE) {
        TMAC_TRY(name_pattern(gguf, vocabulary));
        TMAC_TRY(fill_merges(gguf, vocabulary));
    }
    return fill_specials(gguf, vocabulary);
}

tmac_status tmac_gguf_vocabulary(const tmac_gguf *gguf, tmac_vocabulary *vocabulary)
{
    memset(vocabulary, 0, sizeof *vocabulary);
    tmac_gguf_text model;
    if (!tmac_gguf_string(gguf, "tokenizer.ggml.model", &model)) return tmac_ok();
    const bool bpe = tmac_gguf_text_is(model, "gpt2");
    if (!bpe && !tmac_gguf_text_is(model, "llama"))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tokenizer.ggml.model is '%.*s': only llama (sentencepiece) and gpt2 "
                         "(byte-level BPE) are supported",
                         (int)(model.bytes < 40 ? model.bytes : 40), model.data);
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
    vocabulary->kind = bpe ? TMAC_VOCABULARY_BPE : TMAC_VOCABULARY_SPM;
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

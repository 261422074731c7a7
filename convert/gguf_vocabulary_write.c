// The vocabulary of a GGUF that is being written: the counterpart of gguf_vocabulary.c.
//
// Sentencepiece ("llama") has scores and no merges. Where the source merges by rank, the piece of an earlier merge gets
// the better score; a vocabulary whose merges to one piece do not stand together has no such scores, and is refused.
//
// Byte-level BPE ("gpt2") has merges and no scores. Where the source has ranks of pieces alone (tiktoken), the merge
// that makes a piece is found by merging its bytes with all earlier pieces: two remain, and those are it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/gguf_values.h"
#include "convert/neutral.h"
#include "convert/vocabulary.h"

// Text as the file spells it: bytes as characters, or U+2581 for spaces, or as it is.
static void put_spelled(tmac_gguf_values *values, const tmac_piece *piece, bool byte_level)
{
    for (uint32_t i = 0; i < piece->bytes; i++) {
        char spelled[2];
        if (byte_level)
            tmac_put_bytes(values, spelled, tmac_spell_byte((uint8_t)piece->text[i], spelled));
        else if (piece->text[i] == ' ')
            tmac_put_bytes(values, "\xe2\x96\x81", 3);
        else
            tmac_put_bytes(values, &piece->text[i], 1);
    }
}

// Its length is only known afterwards.
static size_t begin_string(tmac_gguf_values *values)
{
    const uint64_t unknown = 0;
    tmac_put_bytes(values, &unknown, sizeof unknown);
    return values->used;
}

static void end_string(tmac_gguf_values *values, size_t begin)
{
    const uint64_t bytes = values->used - begin;
    if (values->status.code == TMAC_OK)
        memcpy(values->data + begin - sizeof bytes, &bytes, sizeof bytes);
}

static void put_pieces(tmac_gguf_values *values, const tmac_vocabulary *v)
{
    const bool bpe = v->kind == TMAC_VOCABULARY_BPE;
    tmac_put_array(values, "tokenizer.ggml.tokens", TMAC_GGUF_STRING, v->size);
    for (uint32_t i = 0; i < v->size; i++) {
        const tmac_piece *piece = &v->pieces[i];
        const size_t begin = begin_string(values);
        char name[24];
        if (bpe && piece->bytes == 0) // tables are filled up, and names may not repeat
            tmac_put_bytes(values, name, (size_t)snprintf(name, sizeof name, "[PAD%u]", i));
        else if (bpe && piece->kind != TMAC_PIECE_NORMAL)
            tmac_put_bytes(values, piece->text, piece->bytes);
        else
            put_spelled(values, piece, bpe);
        end_string(values, begin);
    }
    tmac_put_array(values, "tokenizer.ggml.token_type", TMAC_GGUF_I32, v->size);
    for (uint32_t i = 0; i < v->size; i++) {
        const int32_t kind = bpe && v->pieces[i].bytes == 0 ? TMAC_PIECE_UNUSED : v->pieces[i].kind;
        tmac_put_bytes(values, &kind, sizeof kind);
    }
}

// ---------------------------------------------------------------------------------------------------- sentencepiece

// The piece that a merge makes.
static uint32_t joined(const tmac_vocabulary *v, const tmac_piece_index *index,
                       const tmac_merge *merge)
{
    char text[1024];
    const tmac_piece *left = &v->pieces[merge->left], *right = &v->pieces[merge->right];
    if ((uint64_t)left->bytes + right->bytes > sizeof text) return TMAC_NO_ID;
    if (left->bytes) memcpy(text, left->text, left->bytes);
    if (right->bytes) memcpy(text + left->bytes, right->text, right->bytes);
    return tmac_piece_index_find(index, text, left->bytes + right->bytes);
}

static tmac_status scores_of_merges(const tmac_vocabulary *v, const tmac_piece_index *index,
                                    float *scores)
{
    uint32_t rank = 0, last = TMAC_NO_ID;
    const float unmerged = -(float)v->merge_count - 1.0f; // after everything that is merged
    for (uint32_t i = 0; i < v->size; i++)
        scores[i] = unmerged;
    for (uint32_t i = 0; i < v->merge_count; i++) {
        const uint32_t piece = joined(v, index, &v->merges[i]);
        if (piece == TMAC_NO_ID) continue;
        if (piece != last && scores[piece] != unmerged)
            return tmac_fail(TMAC_UNSUPPORTED, "the merges of this sentencepiece vocabulary are in "
                                               "an order that GGUF has no scores for");
        if (piece != last) scores[piece] = -(float)++rank;
        last = piece;
    }
    return tmac_ok();
}

static tmac_status put_scores(tmac_gguf_values *values, const tmac_vocabulary *v)
{
    float *scores = malloc(v->size * sizeof *scores);
    if (!scores) return tmac_no_memory();
    for (uint32_t i = 0; i < v->size; i++)
        scores[i] = v->pieces[i].score;
    tmac_status status = tmac_ok();
    tmac_piece_index *index = NULL;
    if (v->merge_count) status = tmac_piece_index_new(v, &index);
    if (index) status = scores_of_merges(v, index, scores);
    tmac_piece_index_free(index);
    if (status.code == TMAC_OK) {
        tmac_put_array(values, "tokenizer.ggml.scores", TMAC_GGUF_F32, v->size);
        tmac_put_bytes(values, scores, v->size * sizeof *scores);
    }
    free(scores);
    return status;
}

// ------------------------------------------------------------------------------------------------------- byte-level

typedef struct merges {
    tmac_merge *list;
    uint32_t count;
} merges;

enum { PIECE_MAX = 1024 };

// Merges the bytes of `piece` with pieces of better scores until two are left; false where that is not how it ends.
static bool find_merge(const tmac_vocabulary *v, const tmac_piece_index *index,
                       const tmac_piece *piece, tmac_merge *merge)
{
    uint32_t cuts[PIECE_MAX + 1], count = piece->bytes; // part i is [cuts[i], cuts[i + 1])
    if (piece->bytes < 2 || piece->bytes > PIECE_MAX) return false;
    for (uint32_t i = 0; i <= count; i++)
        cuts[i] = i;
    while (count > 2) {
        uint32_t best = TMAC_NO_ID;
        float score = piece->score;
        for (uint32_t i = 0; i + 1 < count; i++) {
            const uint32_t id =
                tmac_piece_index_find(index, piece->text + cuts[i], cuts[i + 2] - cuts[i]);
            if (id == TMAC_NO_ID || v->pieces[id].score <= score) continue;
            score = v->pieces[id].score;
            best = i;
        }
        if (best == TMAC_NO_ID) return false;
        memmove(&cuts[best + 1], &cuts[best + 2], (count - best - 1) * sizeof *cuts);
        count--;
    }
    merge->left = tmac_piece_index_find(index, piece->text, cuts[1]);
    merge->right = tmac_piece_index_find(index, piece->text + cuts[1], cuts[2] - cuts[1]);
    return merge->left != TMAC_NO_ID && merge->right != TMAC_NO_ID;
}

typedef struct ranked {
    float score;
    uint32_t id;
} ranked;

static int by_score(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static tmac_status merges_of_scores(const tmac_vocabulary *v, merges *out)
{
    tmac_piece_index *index = NULL;
    ranked *order = malloc(v->size * sizeof *order);
    out->list = malloc(v->size * sizeof *out->list);
    tmac_status status = order && out->list ? tmac_piece_index_new(v, &index) : tmac_no_memory();
    uint32_t count = 0;
    for (uint32_t i = 0; index && i < v->size; i++)
        if (v->pieces[i].kind == TMAC_PIECE_NORMAL && v->pieces[i].bytes > 1)
            order[count++] = (ranked){v->pieces[i].score, i};
    if (index) qsort(order, count, sizeof *order, by_score);
    for (uint32_t i = 0; index && i < count; i++)
        out->count += find_merge(v, index, &v->pieces[order[i].id], &out->list[out->count]);
    tmac_piece_index_free(index);
    free(order);
    return status;
}

static tmac_status put_merges(tmac_gguf_values *values, const tmac_vocabulary *v)
{
    merges own = {NULL, 0}, all = {v->merges, v->merge_count};
    tmac_status status = tmac_ok();
    if (v->merge_count == 0) {
        status = merges_of_scores(v, &own);
        all = own;
    }
    if (status.code == TMAC_OK)
        tmac_put_array(values, "tokenizer.ggml.merges", TMAC_GGUF_STRING, all.count);
    for (uint32_t i = 0; i < all.count && status.code == TMAC_OK; i++) {
        const size_t begin = begin_string(values);
        put_spelled(values, &v->pieces[all.list[i].left], true);
        tmac_put_bytes(values, " ", 1);
        put_spelled(values, &v->pieces[all.list[i].right], true);
        end_string(values, begin);
    }
    free(own.list);
    return status;
}

static tmac_status put_byte_level(tmac_gguf_values *values, const tmac_vocabulary *v)
{
    const char *name = tmac_pattern_name(v);
    if (!name)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the vocabulary cuts words by a pattern that GGUF has no name for (it "
                         "knows %s): write TM2",
                         tmac_pattern_names);
    tmac_put_text(values, "tokenizer.ggml.pre", name);
    if (v->nfc != (strcmp(name, "qwen2") == 0)) tmac_put_bool(values, "tmac.tokenizer.nfc", v->nfc);
    return put_merges(values, v);
}

// ---------------------------------------------------------------------------------------------------- both of them

// The first two stop tokens beside eos have names of their own; where there are more, all stand in an array of ours besides.
static void put_stops(tmac_gguf_values *values, const tmac_vocabulary *v)
{
    static const char *const names[] = {"tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id"};
    size_t others = 0;
    for (uint32_t i = 0; i < v->stop_count; i++) {
        if ((int64_t)v->stops[i] == v->eos) continue;
        if (others < sizeof names / sizeof *names) tmac_put_u32(values, names[others], v->stops[i]);
        others++;
    }
    if (others <= sizeof names / sizeof *names) return;
    tmac_put_array(values, TMAC_GGUF_STOPS, TMAC_GGUF_U32, v->stop_count);
    tmac_put_bytes(values, v->stops, v->stop_count * sizeof *v->stops);
}

tmac_status tmac_put_vocabulary(tmac_gguf_values *values, const tmac_vocabulary *v)
{
    if (v->size == 0) {
        tmac_put_text(values, "tokenizer.ggml.model", "none");
        return tmac_ok();
    }
    const bool bpe = v->kind == TMAC_VOCABULARY_BPE;
    tmac_put_text(values, "tokenizer.ggml.model", bpe ? "gpt2" : "llama");
    put_pieces(values, v);
    TMAC_TRY(bpe ? put_byte_level(values, v) : put_scores(values, v));
    if (v->bos >= 0) tmac_put_u32(values, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0) tmac_put_u32(values, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->unknown >= 0)
        tmac_put_u32(values, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unknown);
    put_stops(values, v);
    tmac_put_bool(values, "tokenizer.ggml.add_bos_token", v->add_bos);
    tmac_put_bool(values, "tokenizer.ggml.add_eos_token", false);
    if (!bpe) tmac_put_text(values, "tokenizer.ggml.pre", "default");
    if (!bpe) tmac_put_bool(values, "tokenizer.ggml.add_space_prefix", v->add_space_prefix);
    if (tmac_chat_jinja(v->chat))
        tmac_put_text(values, "tokenizer.chat_template", tmac_chat_jinja(v->chat));
    return tmac_ok();
}

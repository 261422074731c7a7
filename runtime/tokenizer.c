// The tables of a tokenizer and the way back from ids to bytes (runtime/tmac.h); encoding is next door.
//
// A piece is matched in text by its bytes, if its kind allows: normal and user-defined pieces. Control, unknown, unused
// and byte pieces have no place in text: somebody who types "<s>" or "<0x0A>" gets the characters typed. Control pieces
// keep their spelling for markup, where they are meant.
#include "runtime/tokenizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

// FNV-1a, its upper half folded into the lower.
static uint32_t hash_bytes(const char *bytes, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return (uint32_t)(hash ^ hash >> 32);
}

// The slot that holds these bytes or, if none does, the free one where they belong.
static struct slot *find_slot(const tmac_tokenizer *tokenizer, const char *bytes, size_t count,
                              uint32_t hash)
{
    for (uint32_t i = hash;; i++) {
        struct slot *slot = &tokenizer->slots[i & tokenizer->slot_mask];
        if (slot->id == TMAC_NO_PIECE) return slot;
        const tmac_token_piece *piece = &tokenizer->pieces[slot->id];
        if (slot->hash == hash && piece->bytes == count &&
            memcmp(tokenizer->text + piece->offset, bytes, count) == 0)
            return slot;
    }
}

uint32_t tmac_tokenizer_find(const tmac_tokenizer *tokenizer, const char *bytes, size_t count)
{
    return find_slot(tokenizer, bytes, count, hash_bytes(bytes, count))->id;
}

static uint32_t hash_merge(uint32_t left, uint32_t right)
{
    const uint64_t hash = (((uint64_t)left << 32) | right) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(hash >> 32);
}

// The slot of this pair, or the free one where it belongs.
static struct merge_slot *find_merge(const tmac_tokenizer *tokenizer, uint32_t left, uint32_t right)
{
    for (uint32_t i = hash_merge(left, right);; i++) {
        struct merge_slot *slot = &tokenizer->merges[i & tokenizer->merge_mask];
        if (slot->left == TMAC_NO_PIECE || (slot->left == left && slot->right == right))
            return slot;
    }
}

const struct merge_slot *tmac_tokenizer_merge(const tmac_tokenizer *tokenizer, uint32_t left,
                                              uint32_t right)
{
    if (left == TMAC_NO_PIECE || right == TMAC_NO_PIECE) return NULL;
    const struct merge_slot *slot = find_merge(tokenizer, left, right);
    return slot->left == TMAC_NO_PIECE ? NULL : slot;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

// The byte of a byte piece: written as "<0x0A>" or, in older files, as itself. -1: neither.
static int byte_value(const tmac_piece *piece)
{
    const char *text = piece->text;
    if (piece->bytes == 1) return (unsigned char)text[0];
    if (piece->bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

// Adds the length of all pieces to *text_bytes.
static tmac_status check_vocabulary(const tmac_vocabulary *vocabulary, size_t *text_bytes)
{
    if (vocabulary->size == 0 || vocabulary->size > INT32_MAX)
        return tmac_fail(TMAC_BAD_FILE, "a vocabulary of %u pieces", vocabulary->size);
    const int32_t special[3] = {vocabulary->bos, vocabulary->eos, vocabulary->unknown};
    for (int i = 0; i < 3; i++)
        if (special[i] < -1 || special[i] >= (int32_t)vocabulary->size)
            return tmac_fail(TMAC_BAD_FILE,
                             "special token %d is outside the vocabulary of %u pieces", special[i],
                             vocabulary->size);
    if (vocabulary->stop_count > TMAC_STOPS_MAX || vocabulary->merge_count > 1u << 22 ||
        memchr(vocabulary->pattern, 0, sizeof vocabulary->pattern) == NULL)
        return tmac_fail(TMAC_BAD_FILE, "a vocabulary of %u stops and %u merges",
                         vocabulary->stop_count, vocabulary->merge_count);
    for (uint32_t i = 0; i < vocabulary->stop_count; i++)
        if (vocabulary->stops[i] >= vocabulary->size)
            return tmac_fail(TMAC_BAD_FILE, "stop token %u is outside the vocabulary of %u pieces",
                             vocabulary->stops[i], vocabulary->size);
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        const tmac_piece *piece = &vocabulary->pieces[id];
        if (isnan(piece->score))
            return tmac_fail(TMAC_BAD_FILE,
                             "piece %u of the vocabulary has a score that is no number", id);
        if (piece->kind == TMAC_PIECE_BYTE && byte_value(piece) < 0)
            return tmac_fail(TMAC_BAD_FILE,
                             "byte piece %u of the vocabulary is not written as <0xNN>: '%.*s'", id,
                             (int)(piece->bytes < 32 ? piece->bytes : 32), piece->text);
        if (!tmac_size_add(*text_bytes, piece->bytes, text_bytes))
            return tmac_fail(TMAC_BAD_FILE, "the pieces of the vocabulary are too long");
    }
    return tmac_ok();
}

static void copy_piece(tmac_tokenizer *tokenizer, uint32_t id, const tmac_piece *from, size_t *used)
{
    tmac_token_piece *piece = &tokenizer->pieces[id];
    *piece = (tmac_token_piece){*used, from->bytes, from->score, from->kind};
    char *to = tokenizer->text + *used;
    if (from->kind == TMAC_PIECE_BYTE) {
        const int value = byte_value(from);
        if (tokenizer->byte_ids[value] == TMAC_NO_PIECE) tokenizer->byte_ids[value] = id;
        *to = (char)value;
        piece->bytes = 1;
    } else if (from->bytes) {
        memcpy(to, from->text, from->bytes);
    }
    *used += piece->bytes;
    const bool control = from->kind == TMAC_PIECE_CONTROL;
    if ((control || from->kind == TMAC_PIECE_USER) && piece->bytes)
        tokenizer->specials[tokenizer->special_count++] =
            (tmac_special){piece->offset, piece->bytes, id, control};
    if (control) piece->bytes = 0;
    if (tokenizer->kind == TMAC_VOCABULARY_BPE && from->kind == TMAC_PIECE_NORMAL &&
        piece->bytes == 1 && tokenizer->byte_ids[(unsigned char)*to] == TMAC_NO_PIECE)
        tokenizer->byte_ids[(unsigned char)*to] = id;
    if ((from->kind != TMAC_PIECE_NORMAL && from->kind != TMAC_PIECE_USER) || piece->bytes == 0)
        return;
    const uint32_t hash = hash_bytes(to, piece->bytes);
    struct slot *slot = find_slot(tokenizer, to, piece->bytes, hash);
    if (slot->id == TMAC_NO_PIECE) *slot = (struct slot){hash, id};
}

// The table of merges: each joins two pieces to a third, the one with the bytes of both.
static tmac_status take_merges(tmac_tokenizer *tokenizer, const tmac_vocabulary *vocabulary)
{
    if (vocabulary->merge_count == 0) return tmac_ok();
    size_t slots = 16;
    while (2 * slots < 3 * (size_t)vocabulary->merge_count)
        slots *= 2;
    tokenizer->merges = malloc(slots * sizeof *tokenizer->merges);
    uint32_t longest = 0;
    for (uint32_t id = 0; id < tokenizer->size; id++)
        if (tokenizer->pieces[id].bytes > longest) longest = tokenizer->pieces[id].bytes;
    char *joined = malloc((size_t)longest + 1);
    tmac_status status = tmac_ok();
    if (!tokenizer->merges || !joined)
        status =
            tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u merges", vocabulary->merge_count);
    else
        memset(tokenizer->merges, 0xff, slots * sizeof *tokenizer->merges);
    tokenizer->merge_mask = (uint32_t)(slots - 1);
    for (uint32_t rank = 0; rank < vocabulary->merge_count && status.code == TMAC_OK; rank++) {
        const tmac_merge *merge = &vocabulary->merges[rank];
        const bool known = merge->left < tokenizer->size && merge->right < tokenizer->size;
        const tmac_token_piece *a = &tokenizer->pieces[known ? merge->left : 0];
        const tmac_token_piece *b = &tokenizer->pieces[known ? merge->right : 0];
        uint32_t result = TMAC_NO_PIECE;
        if (known && (uint64_t)a->bytes + b->bytes <= longest) {
            memcpy(joined, tokenizer->text + a->offset, a->bytes);
            memcpy(joined + a->bytes, tokenizer->text + b->offset, b->bytes);
            result = tmac_tokenizer_find(tokenizer, joined, (size_t)a->bytes + b->bytes);
        }
        if (result == TMAC_NO_PIECE) {
            status =
                tmac_fail(TMAC_BAD_FILE,
                          "merge %u of the vocabulary joins pieces %u and %u, and no piece has "
                          "the bytes of both",
                          rank, merge->left, merge->right);
            break;
        }
        struct merge_slot *slot = find_merge(tokenizer, merge->left, merge->right);
        if (slot->left == TMAC_NO_PIECE)
            *slot = (struct merge_slot){merge->left, merge->right, rank, result};
    }
    free(joined);
    return status;
}

// Control tokens that end a turn or a text in every model that has them.
static const char *const stop_names[] = {
    "</s>",       "<|eot_id|>", "<|eom_id|>",    "<|end_of_text|>", "<|endoftext|>",
    "<|im_end|>", "<|end|>",    "<end_of_turn>", "<|eot|>",         "<|endofprompt|>",
};

static void take_stops(tmac_tokenizer *tokenizer, const tmac_vocabulary *vocabulary)
{
    if (tokenizer->eos >= 0) tokenizer->stops[tokenizer->eos] = true;
    for (uint32_t i = 0; i < vocabulary->stop_count; i++)
        tokenizer->stops[vocabulary->stops[i]] = true;
    for (uint32_t i = 0; i < tokenizer->special_count; i++) {
        const tmac_special *special = &tokenizer->specials[i];
        if (!special->control) continue;
        for (size_t j = 0; j < sizeof stop_names / sizeof *stop_names; j++)
            if (strlen(stop_names[j]) == special->bytes &&
                memcmp(stop_names[j], tokenizer->text + special->offset, special->bytes) == 0)
                tokenizer->stops[special->id] = true;
    }
}

static tmac_status fill(tmac_tokenizer *tokenizer, const tmac_vocabulary *vocabulary)
{
    size_t used = 0;
    for (uint32_t id = 0; id < tokenizer->size; id++)
        copy_piece(tokenizer, id, &vocabulary->pieces[id], &used);
    tmac_specials_sort(tokenizer);
    take_stops(tokenizer, vocabulary);
    TMAC_TRY(take_merges(tokenizer, vocabulary));
    return vocabulary->pattern[0] ? tmac_splitter_new(vocabulary->pattern, &tokenizer->splitter)
                                  : tmac_ok();
}

tmac_status tmac_tokenizer_new(const tmac_vocabulary *vocabulary, tmac_tokenizer **result)
{
    *result = NULL;
    size_t text_bytes = 1; // not 0, so that the text of empty pieces has an address
    TMAC_TRY(check_vocabulary(vocabulary, &text_bytes));
    const uint32_t size = vocabulary->size;
    size_t slots = 16;
    while (slots < 2 * (size_t)size)
        slots *= 2;
    tmac_tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (tokenizer) {
        tokenizer->pieces = calloc(size, sizeof *tokenizer->pieces);
        tokenizer->text = malloc(text_bytes);
        tokenizer->slots = malloc(slots * sizeof *tokenizer->slots);
        tokenizer->specials = calloc(size, sizeof *tokenizer->specials);
        tokenizer->stops = calloc(size, sizeof *tokenizer->stops);
    }
    if (!tokenizer || !tokenizer->pieces || !tokenizer->text || !tokenizer->slots ||
        !tokenizer->specials || !tokenizer->stops) {
        tmac_tokenizer_free(tokenizer);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a vocabulary of %u pieces", size);
    }
    tokenizer->size = size;
    tokenizer->slot_mask = (uint32_t)(slots - 1);
    memset(tokenizer->slots, 0xff, slots * sizeof *tokenizer->slots);
    memset(tokenizer->byte_ids, 0xff, sizeof tokenizer->byte_ids);
    tokenizer->bos = vocabulary->bos;
    tokenizer->eos = vocabulary->eos;
    tokenizer->unknown = vocabulary->unknown;
    tokenizer->add_space_prefix = vocabulary->add_space_prefix;
    tokenizer->kind = vocabulary->kind;
    tokenizer->whole_words = vocabulary->whole_words;
    tokenizer->nfc = vocabulary->nfc;
    tmac_status status = fill(tokenizer, vocabulary);
    if (status.code != TMAC_OK) {
        tmac_tokenizer_free(tokenizer);
        return status;
    }
    *result = tokenizer;
    return tmac_ok();
}

void tmac_tokenizer_free(tmac_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    free(tokenizer->pieces);
    free(tokenizer->text);
    free(tokenizer->slots);
    free(tokenizer->merges);
    free(tokenizer->specials);
    free(tokenizer->stops);
    tmac_splitter_free(tokenizer->splitter);
    free(tokenizer);
}

int32_t tmac_tokenizer_bos(const tmac_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

int32_t tmac_tokenizer_eos(const tmac_tokenizer *tokenizer)
{
    return tokenizer->eos;
}

bool tmac_tokenizer_is_stop(const tmac_tokenizer *tokenizer, uint32_t token)
{
    return token < tokenizer->size && tokenizer->stops[token];
}

uint32_t tmac_tokenizer_size(const tmac_tokenizer *tokenizer)
{
    return tokenizer->size;
}

const char *tmac_tokenizer_piece(const tmac_tokenizer *tokenizer, uint32_t token, bool first,
                                 size_t *bytes)
{
    *bytes = 0;
    if (token >= tokenizer->size) return "";
    const tmac_token_piece *piece = &tokenizer->pieces[token];
    const char *text = tokenizer->text + piece->offset;
    const bool strip = first && tokenizer->add_space_prefix && piece->kind != TMAC_PIECE_BYTE &&
                       piece->bytes && text[0] == ' ';
    *bytes = piece->bytes - strip;
    return text + strip;
}

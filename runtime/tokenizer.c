// The tables of an SPM tokenizer and the way back from ids to bytes (runtime/tmac.h); encoding is next door.
//
// A piece is matched in text by its bytes, if its kind allows: normal and user-defined pieces. Control, unknown, unused
// and byte pieces have no place in text: somebody who types "<s>" or "<0x0A>" gets the characters typed.
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
    } else if (from->kind == TMAC_PIECE_CONTROL) {
        piece->bytes = 0;
    } else if (from->bytes) {
        memcpy(to, from->text, from->bytes);
    }
    *used += piece->bytes;
    if ((from->kind != TMAC_PIECE_NORMAL && from->kind != TMAC_PIECE_USER) || piece->bytes == 0)
        return;
    const uint32_t hash = hash_bytes(to, piece->bytes);
    struct slot *slot = find_slot(tokenizer, to, piece->bytes, hash);
    if (slot->id == TMAC_NO_PIECE) *slot = (struct slot){hash, id};
}

static int longer_first(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

static void collect_user_lengths(tmac_tokenizer *tokenizer)
{
    uint32_t count = 0, distinct = 0, *lengths = tokenizer->user_lengths;
    for (uint32_t id = 0; id < tokenizer->size; id++)
        if (tokenizer->pieces[id].kind == TMAC_PIECE_USER && tokenizer->pieces[id].bytes)
            lengths[count++] = tokenizer->pieces[id].bytes;
    qsort(lengths, count, sizeof *lengths, longer_first);
    for (uint32_t i = 0; i < count; i++)
        if (i == 0 || lengths[i] != lengths[i - 1]) lengths[distinct++] = lengths[i];
    tokenizer->user_length_count = distinct;
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
        tokenizer->user_lengths = calloc(size, sizeof *tokenizer->user_lengths);
    }
    if (!tokenizer || !tokenizer->pieces || !tokenizer->text || !tokenizer->slots ||
        !tokenizer->user_lengths) {
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
    size_t used = 0;
    for (uint32_t id = 0; id < size; id++)
        copy_piece(tokenizer, id, &vocabulary->pieces[id], &used);
    collect_user_lengths(tokenizer);
    *result = tokenizer;
    return tmac_ok();
}

void tmac_tokenizer_free(tmac_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    free(tokenizer->pieces);
    free(tokenizer->text);
    free(tokenizer->slots);
    free(tokenizer->user_lengths);
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

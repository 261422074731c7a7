// The vocabulary in a TM2's extension: the texts of all pieces in one tensor, with their lengths, scores and kinds beside
// it (convert/tm2.c).
#include <string.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/tm2.h"
#include "convert/vocabulary.h"

static tmac_status vocabulary_tensor(const tmac_tm2_index *index, const tmac_map *map,
                                     const char *name, tmac_tm2_kind kind, uint32_t rows,
                                     const uint8_t **data)
{
    const tmac_tm2_tensor *tensor = tmac_tm2_find(index, name);
    uint32_t columns = kind == TMAC_TM2_F32 ? 1 : tensor ? tensor->columns : 0;
    if (!tensor || tensor->kind != kind || tensor->rows != rows || tensor->columns != columns)
        return tmac_fail(TMAC_BAD_FILE,
                         "the extension's tensor %s is missing or of the wrong shape", name);
    *data = map->data + tensor->offset;
    return tmac_ok();
}

// What only vocabularies other than plain sentencepiece have; entries that are absent leave the defaults.
static tmac_status vocabulary_words(const tmac_tm2_index *index, const tmac_map *map,
                                    tmac_vocabulary *vocabulary)
{
    char kind[8] = "";
    if (tmac_tm2_has(index, "vocab.kind")) {
        TMAC_TRY(tmac_tm2_text(index, "vocab.kind", kind, sizeof kind));
        if (strcmp(kind, "bpe") != 0 && strcmp(kind, "spm") != 0)
            return tmac_fail(TMAC_UNSUPPORTED, "a vocabulary of kind '%s'", kind);
        if (strcmp(kind, "bpe") == 0) vocabulary->kind = TMAC_VOCABULARY_BPE;
    }
    if (tmac_tm2_has(index, "vocab.pattern"))
        TMAC_TRY(
            tmac_tm2_text(index, "vocab.pattern", vocabulary->pattern, sizeof vocabulary->pattern));
    if (tmac_tm2_has(index, "vocab.chat"))
        TMAC_TRY(tmac_tm2_text(index, "vocab.chat", vocabulary->chat, sizeof vocabulary->chat));
    int64_t value = 0;
    if (tmac_tm2_has(index, "vocab.whole_words"))
        TMAC_TRY(tmac_tm2_integer(index, "vocab.whole_words", &value));
    vocabulary->whole_words = value != 0;
    value = 0;
    if (tmac_tm2_has(index, "vocab.nfc")) TMAC_TRY(tmac_tm2_integer(index, "vocab.nfc", &value));
    vocabulary->nfc = value != 0;

    const uint8_t *numbers;
    const tmac_tm2_tensor *stops = tmac_tm2_find(index, "vocab.stops");
    const tmac_tm2_tensor *merges = tmac_tm2_find(index, "vocab.merges");
    for (uint32_t i = 0; stops && i < stops->rows; i++) {
        TMAC_TRY(vocabulary_tensor(index, map, "vocab.stops", TMAC_TM2_U32, stops->rows, &numbers));
        const uint32_t token = tmac_load_u32(numbers + 4 * (size_t)i);
        if (stops->rows > TMAC_STOPS_MAX || token >= vocabulary->size)
            return tmac_fail(TMAC_BAD_FILE, "vocab.stops: %u tokens, one of them %u", stops->rows,
                             token);
        tmac_vocabulary_add_stop(vocabulary, token);
    }
    if (!merges || merges->rows == 0) return tmac_ok();
    if (merges->rows % 2 != 0 || merges->rows > 2 * (uint32_t)TMAC_PIECES_MAX)
        return tmac_fail(TMAC_BAD_FILE, "vocab.merges has %u numbers", merges->rows);
    TMAC_TRY(vocabulary_tensor(index, map, "vocab.merges", TMAC_TM2_U32, merges->rows, &numbers));
    TMAC_TRY(tmac_vocabulary_take_merges(vocabulary, merges->rows / 2));
    for (uint32_t i = 0; i < vocabulary->merge_count; i++)
        vocabulary->merges[i] = (tmac_merge){tmac_load_u32(numbers + 8 * (size_t)i),
                                             tmac_load_u32(numbers + 8 * (size_t)i + 4)};
    return tmac_ok();
}

static tmac_status vocabulary_specials(const tmac_tm2_index *index, tmac_vocabulary *vocabulary)
{
    const struct {
        const char *name;
        int32_t *value;
    } ids[] = {{"vocab.bos", &vocabulary->bos},
               {"vocab.eos", &vocabulary->eos},
               {"vocab.unknown", &vocabulary->unknown}};
    int64_t value;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        TMAC_TRY(tmac_tm2_integer(index, ids[i].name, &value));
        if (value < -1 || value >= (int64_t)vocabulary->size)
            return tmac_fail(TMAC_BAD_FILE, "%s is %lld, outside the vocabulary", ids[i].name,
                             (long long)value);
        *ids[i].value = (int32_t)value;
    }
    TMAC_TRY(tmac_tm2_integer(index, "vocab.add_bos", &value));
    vocabulary->add_bos = value != 0;
    TMAC_TRY(tmac_tm2_integer(index, "vocab.add_space_prefix", &value));
    vocabulary->add_space_prefix = value != 0;
    return tmac_ok();
}

tmac_status tmac_tm2_vocabulary(const tmac_map *map, const tmac_tm2_index *index,
                                tmac_vocabulary *vocabulary)
{
    const tmac_tm2_tensor *text = tmac_tm2_find(index, "vocab.text");
    const uint8_t *lengths, *scores, *kinds;
    int64_t size;
    if (!text) return tmac_ok();
    TMAC_TRY(tmac_tm2_integer(index, "vocab.size", &size));
    if (text->kind != TMAC_TM2_BYTES || size <= 0 || size > 1 << 22)
        return tmac_fail(TMAC_BAD_FILE, "vocab.size is %lld, which makes no sense",
                         (long long)size);
    uint32_t count = (uint32_t)size;
    TMAC_TRY(vocabulary_tensor(index, map, "vocab.lengths", TMAC_TM2_U32, count, &lengths));
    TMAC_TRY(vocabulary_tensor(index, map, "vocab.scores", TMAC_TM2_F32, count, &scores));
    TMAC_TRY(vocabulary_tensor(index, map, "vocab.kinds", TMAC_TM2_BYTES, count, &kinds));
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += tmac_load_u32(lengths + 4 * (size_t)i);
    if (sum != text->bytes)
        return tmac_fail(TMAC_BAD_FILE, "vocab.lengths do not add up to vocab.text");

    char *copy;
    TMAC_TRY(tmac_vocabulary_take(vocabulary, count, text->bytes, &copy));
    memcpy(copy, map->data + text->offset, text->bytes);
    for (uint32_t i = 0; i < count; i++) {
        tmac_piece *piece = &vocabulary->pieces[i];
        piece->text = copy;
        piece->bytes = tmac_load_u32(lengths + 4 * (size_t)i);
        piece->score = tmac_load_f32(scores + 4 * (size_t)i);
        piece->kind = kinds[i];
        copy += piece->bytes;
        if (piece->kind < TMAC_PIECE_NORMAL || piece->kind > TMAC_PIECE_BYTE)
            return tmac_fail(TMAC_BAD_FILE, "piece %u has kind %u", i, piece->kind);
    }
    TMAC_TRY(vocabulary_words(index, map, vocabulary));
    return vocabulary_specials(index, vocabulary);
}

tmac_status tmac_read_tm2_vocabulary(const tmac_map *map, tmac_vocabulary *vocabulary)
{
    tmac_tm2_index index;
    memset(vocabulary, 0, sizeof *vocabulary);
    TMAC_TRY(tmac_tm2_index_open(map, &index));
    tmac_status status = tmac_tm2_vocabulary(map, &index, vocabulary);
    tmac_tm2_index_close(&index);
    if (status.code != TMAC_OK) tmac_vocabulary_free(vocabulary);
    return status;
}

// tokenizer.model of sentencepiece: a protocol buffer, of which these fields matter (others are skipped):
//
//   1 pieces            repeated { 1 text, 2 score f32, 3 kind (the numbers of tmac_piece_kind; absent: normal) }
//   2 trainer_spec      { 3 model type (2: BPE), 40 unk_id, 41 bos_id, 42 eos_id (defaults 0, 1, 2; -1: none) }
//   3 normalizer_spec   { 3 add_dummy_prefix (default true) }
//
// A field is a varint of number << 3 | wire kind: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
#include <math.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/vocabulary.h"

typedef struct field {
    uint32_t number, wire;
    uint64_t value; // varint
    const uint8_t *data;
    size_t bytes;
} field;

// A cursor over one message. `bad` once it contradicts itself.
typedef struct cursor {
    const uint8_t *at, *end;
    bool bad;
} cursor;

static uint64_t take_varint(cursor *in)
{
    uint64_t value = 0;
    for (uint32_t shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        const uint8_t byte = *in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return value;
    }
    in->bad = true;
    return 0;
}

static bool next_field(cursor *in, field *out)
{
    if (in->at == in->end || in->bad) return false;
    const uint64_t key = take_varint(in);
    *out = (field){.number = (uint32_t)(key >> 3), .wire = key & 7};
    uint64_t bytes = out->wire == 1 ? 8 : out->wire == 5 ? 4 : 0;
    if (out->wire == 0)
        out->value = take_varint(in);
    else if (out->wire == 2)
        bytes = take_varint(in);
    else if (out->wire != 1 && out->wire != 5)
        in->bad = true;
    if (key >> 35 || bytes > (uint64_t)(in->end - in->at)) in->bad = true;
    if (in->bad) return false;
    out->data = in->at;
    out->bytes = (size_t)bytes;
    in->at += bytes;
    return true;
}

static cursor message(const field *from)
{
    return (cursor){from->data, from->data + from->bytes, false};
}

bool tmac_is_spm_model(const tmac_map *map)
{
    // The first piece, and in it its text.
    cursor in = {map->data, map->data + map->bytes, false};
    field one, text;
    if (map->bytes < 16 || map->data[0] != 0x0a || !next_field(&in, &one)) return false;
    cursor inner = message(&one);
    return next_field(&inner, &text) && text.number == 1 && text.wire == 2 && in.at < in.end;
}

static tmac_status read_piece(const field *from, tmac_piece *piece, char **text)
{
    cursor in = message(from);
    field one;
    piece->kind = TMAC_PIECE_NORMAL;
    while (next_field(&in, &one)) {
        if (one.number == 1 && one.wire == 2) {
            piece->text = *text;
            piece->bytes = tmac_spell_spm((const char *)one.data, (uint32_t)one.bytes, *text);
            *text += piece->bytes;
        } else if (one.number == 2 && one.wire == 5) {
            piece->score = tmac_load_f32(one.data);
        } else if (one.number == 3 && one.wire == 0) {
            piece->kind = one.value <= TMAC_PIECE_BYTE ? (uint8_t)one.value : 0;
        }
    }
    if (in.bad || piece->kind == 0 || !isfinite(piece->score))
        return tmac_fail(TMAC_BAD_FILE, "as a sentencepiece model, a piece makes no sense");
    return tmac_ok();
}

// Whether the trainer and the normalizer are ones that merging by score stands for.
static tmac_status read_specs(const field *from, tmac_vocabulary *vocabulary)
{
    cursor in = message(from);
    field one;
    while (next_field(&in, &one)) {
        if (one.wire != 0) continue;
        const int32_t value = (int32_t)one.value;
        if (from->number == 3 && one.number == 3) vocabulary->add_space_prefix = value != 0;
        if (from->number != 2) continue;
        if (one.number == 3 && value != 2)
            return tmac_fail(TMAC_UNSUPPORTED,
                             "a sentencepiece model of type %d: only BPE (2) is supported", value);
        if (one.number == 40) vocabulary->unknown = value;
        if (one.number == 41) vocabulary->bos = value;
        if (one.number == 42) vocabulary->eos = value;
    }
    return in.bad ? tmac_fail(TMAC_BAD_FILE, "as a sentencepiece model, it is damaged") : tmac_ok();
}

static tmac_status fill(const tmac_map *map, tmac_vocabulary *vocabulary, char *text)
{
    cursor in = {map->data, map->data + map->bytes, false};
    field one;
    uint32_t id = 0;
    vocabulary->unknown = 0;
    vocabulary->bos = 1;
    vocabulary->eos = 2;
    vocabulary->add_bos = vocabulary->add_space_prefix = true;
    while (next_field(&in, &one)) {
        if (one.wire != 2) continue;
        if (one.number == 1) TMAC_TRY(read_piece(&one, &vocabulary->pieces[id++], &text));
        if (one.number == 2 || one.number == 3) TMAC_TRY(read_specs(&one, vocabulary));
    }
    int32_t *ids[] = {&vocabulary->unknown, &vocabulary->bos, &vocabulary->eos};
    for (size_t i = 0; i < 3; i++)
        if (*ids[i] < -1 || *ids[i] >= (int32_t)vocabulary->size) *ids[i] = -1;
    return tmac_ok();
}

tmac_status tmac_read_spm_model(const tmac_map *map, tmac_vocabulary *vocabulary)
{
    cursor in = {map->data, map->data + map->bytes, false};
    field one;
    uint32_t size = 0;
    memset(vocabulary, 0, sizeof *vocabulary);
    while (next_field(&in, &one))
        size += one.number == 1 && one.wire == 2;
    if (in.bad || size == 0 || size > TMAC_PIECES_MAX)
        return tmac_fail(TMAC_BAD_FILE,
                         "as a sentencepiece model, it is damaged after %u pieces: truncated "
                         "download?",
                         size);
    char *text;
    TMAC_TRY(tmac_vocabulary_take(vocabulary, size, map->bytes, &text));
    tmac_status status = fill(map, vocabulary, text);
    if (status.code != TMAC_OK) tmac_vocabulary_free(vocabulary);
    return status;
}

// Vocabularies: llama2.c's tokenizer.bin, and the choice between it and all other kinds of files.
//
// tokenizer.bin: u32 length of the longest piece; then for each piece f32 score, u32 length, the bytes. How many pieces
// there are is not stored: they go on to the end of the file, which must be the end of a piece. Id 0 is <unk>, 1 BOS,
// 2 EOS, 3 to 258 the bytes, as "<0x00>" to "<0xFF>" or, in an older variant of the file, as the characters U+0000 to
// U+00FF in UTF-8. Spaces are spaces.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/vocabulary.h"

enum { FIRST_BYTE = 3, BYTES_END = 259, RECORD_BYTES = 8, BYTE_TEXT = 6 };

// ------------------------------------------------------------------------------------------------- tokenizer.bin

// Counts the pieces and proves that they end where the file does.
static tmac_status count_pieces(const tmac_map *map, uint32_t *size, size_t *text_bytes)
{
    const char *unknown = "no vocabulary we know (tokenizer.json, tokenizer.model, llama2.c "
                          "tokenizer.bin, GGUF, TM2)";
    if (map->bytes < 4 + RECORD_BYTES)
        return tmac_fail(TMAC_BAD_FILE, "%s: it has only %zu bytes", unknown, map->bytes);
    uint32_t longest = tmac_load_u32(map->data);
    size_t at = 4;
    *size = 0;
    *text_bytes = 0;
    while (at < map->bytes) {
        if (map->bytes - at < RECORD_BYTES)
            return tmac_fail(TMAC_BAD_FILE,
                             "%s: as a tokenizer.bin, piece %u ends beyond the file: truncated "
                             "download?",
                             unknown, *size);
        float score = tmac_load_f32(map->data + at);
        uint32_t bytes = tmac_load_u32(map->data + at + 4);
        at += RECORD_BYTES;
        if (bytes > longest || !isfinite(score))
            return tmac_fail(
                TMAC_BAD_FILE,
                "%s: as a tokenizer.bin, piece %u makes no sense (%u bytes, longest %u)", unknown,
                *size, bytes, longest);
        if (bytes > map->bytes - at)
            return tmac_fail(
                TMAC_BAD_FILE,
                "%s: as a tokenizer.bin, piece %u ends at byte %zu but the file has %zu: truncated "
                "download?",
                unknown, *size, at + bytes, map->bytes);
        at += bytes;
        *text_bytes += bytes;
        if (++*size > 1u << 22) return tmac_fail(TMAC_BAD_FILE, "%s: too many pieces", unknown);
    }
    return tmac_ok();
}

// Whether the piece is byte `value` in the older spelling.
static bool is_character(const tmac_piece *piece, uint32_t value)
{
    const uint8_t *text = (const uint8_t *)piece->text;
    if (value < 0x80) return piece->bytes == 1 && text[0] == value;
    return piece->bytes == 2 && text[0] == (0xc0 | value >> 6) &&
           text[1] == (0x80 | (value & 0x3f));
}

// Gives bytes their kind and one spelling. `text` has room for 256 spellings.
static tmac_status mark_bytes(tmac_vocabulary *vocabulary, char *text)
{
    if (vocabulary->size < BYTES_END) return tmac_ok();
    for (uint32_t value = 0; value < 256; value++, text += BYTE_TEXT) {
        tmac_piece *piece = &vocabulary->pieces[FIRST_BYTE + value];
        char spelling[BYTE_TEXT + 1];
        snprintf(spelling, sizeof spelling, "<0x%02X>", value);
        memcpy(text, spelling, BYTE_TEXT);
        bool modern = piece->bytes == BYTE_TEXT && memcmp(piece->text, text, BYTE_TEXT) == 0;
        if (!modern && !is_character(piece, value))
            return tmac_fail(TMAC_BAD_FILE, "piece %u of a tokenizer.bin is not the byte %s",
                             FIRST_BYTE + value, spelling);
        piece->text = text;
        piece->bytes = BYTE_TEXT;
        piece->kind = TMAC_PIECE_BYTE;
    }
    return tmac_ok();
}

// llama2.c writes "<s>" and "</s>" between line ends; elsewhere they are known by their names.
static void take_off_line_ends(tmac_piece *piece)
{
    if (piece->bytes < 3 || piece->text[0] != '\n' || piece->text[piece->bytes - 1] != '\n') return;
    piece->text++;
    piece->bytes -= 2;
}

static tmac_status read_tokenizer_bin(const tmac_map *map, tmac_vocabulary *vocabulary)
{
    uint32_t size = 0;
    size_t text_bytes = 0;
    char *text;
    TMAC_TRY(count_pieces(map, &size, &text_bytes));
    TMAC_TRY(tmac_vocabulary_take(vocabulary, size, text_bytes + 256 * BYTE_TEXT, &text));
    const uint8_t *from = map->data + 4;
    for (uint32_t i = 0; i < size; i++) {
        tmac_piece *piece = &vocabulary->pieces[i];
        piece->score = tmac_load_f32(from);
        piece->bytes = tmac_load_u32(from + 4);
        piece->kind = i == 0           ? TMAC_PIECE_UNKNOWN
                      : i < FIRST_BYTE ? TMAC_PIECE_CONTROL
                                       : TMAC_PIECE_NORMAL;
        memcpy(text, from + RECORD_BYTES, piece->bytes);
        piece->text = text;
        text += piece->bytes;
        from += RECORD_BYTES + piece->bytes;
        if (piece->kind == TMAC_PIECE_CONTROL) take_off_line_ends(piece);
    }
    vocabulary->unknown = 0;
    vocabulary->bos = size > 1 ? 1 : -1;
    vocabulary->eos = size > 2 ? 2 : -1;
    vocabulary->add_bos = vocabulary->add_space_prefix = true;
    tmac_status status = mark_bytes(vocabulary, text);
    if (status.code != TMAC_OK) tmac_vocabulary_free(vocabulary);
    return status;
}

// --------------------------------------------------------------------------------------------------------- choice

typedef tmac_status (*read_vocabulary)(const tmac_map *map, tmac_vocabulary *vocabulary);

// Whether the model's table may be longer than the vocabulary, as Hugging Face's often are.
static read_vocabulary choose(const tmac_map *map, bool *padded)
{
    *padded = false;
    if (map->bytes >= 4 && memcmp(map->data, "GGUF", 4) == 0) return tmac_read_gguf_vocabulary;
    if (map->bytes >= 4 && memcmp(map->data, "TM2\0", 4) == 0) return tmac_read_tm2_vocabulary;
    *padded = true;
    if (tmac_is_tokenizer_json(map)) return tmac_read_tokenizer_json;
    if (tmac_is_tiktoken(map)) return tmac_read_tiktoken;
    if (tmac_is_spm_model(map)) return tmac_read_spm_model;
    *padded = false;
    return read_tokenizer_bin;
}

static tmac_status read_file(const char *path, uint32_t expected, tmac_vocabulary *vocabulary)
{
    tmac_map map;
    bool padded = false;
    tmac_status status = tmac_map_open(path, &map);
    if (status.code != TMAC_OK) return status;
    status = map.bytes == 0 ? tmac_fail(TMAC_BAD_FILE, "is empty")
                            : choose(&map, &padded)(&map, vocabulary);
    tmac_map_close(&map);
    if (status.code == TMAC_OK && vocabulary->size == 0)
        status = tmac_fail(TMAC_UNSUPPORTED, "holds no vocabulary");
    if (status.code == TMAC_OK && padded) status = tmac_vocabulary_pad(vocabulary, expected);
    if (status.code != TMAC_OK) tmac_vocabulary_free(vocabulary);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", path);
}

tmac_status tmac_vocabulary_open(const char *path, uint32_t expected, tmac_vocabulary *vocabulary)
{
    struct stat kind;
    memset(vocabulary, 0, sizeof *vocabulary);
    if (stat(path, &kind) == 0 && S_ISDIR(kind.st_mode)) {
        TMAC_TRY(tmac_vocabulary_open_folder(path, expected, vocabulary));
        if (vocabulary->size == 0)
            return tmac_fail(
                TMAC_NOT_FOUND,
                "%s: no tokenizer.json, tokenizer.model or tokenizer.bin in this folder", path);
    } else {
        TMAC_TRY(read_file(path, expected, vocabulary));
    }
    if (expected == 0 || vocabulary->size == expected) return tmac_ok();
    const uint32_t size = vocabulary->size;
    tmac_vocabulary_free(vocabulary);
    return tmac_fail(TMAC_BAD_FILE,
                     "%s: holds %u pieces, but the model's vocabulary is %u: the wrong tokenizer",
                     path, size, expected);
}

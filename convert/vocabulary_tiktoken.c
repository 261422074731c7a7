// tiktoken files: a line for each piece, its bytes in base64, a space, its rank in decimal; ranks count from 0 without
// gaps. Words are merged by rank: of all neighbours, those that join to the piece of the lowest rank first.
//
// The file says neither how a text is cut into words nor which control tokens follow the pieces: that is known from
// how many pieces there are.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/vocabulary.h"

static const struct family {
    uint32_t ranks;
    const char *name, *pattern, *chat;
    bool add_bos;
    const char *bos, *eos;
    const char *first[11]; // control tokens from `ranks` on; NULL ends them
    uint32_t controls;     // in all: the rest is reserved
} families[] = {
    {128000,
     "Llama 3",
     "llama3",
     "llama3",
     true,
     "<|begin_of_text|>",
     "<|end_of_text|>",
     {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
      "<|reserved_special_token_1|>", "<|reserved_special_token_2|>",
      "<|reserved_special_token_3|>", "<|start_header_id|>", "<|end_header_id|>",
      "<|reserved_special_token_4|>", "<|eot_id|>"},
     256},
    {151643,
     "Qwen",
     "qwen2",
     "chatml",
     false,
     NULL,
     "<|im_end|>",
     {"<|endoftext|>", "<|im_start|>", "<|im_end|>"},
     3},
    {50256, "GPT-2", "gpt-2", "", false, NULL, "<|endoftext|>", {"<|endoftext|>"}, 1},
};

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

// Decodes `count` characters; false where they are no base64. `to` has room for 3 bytes of every 4 characters.
static bool base64_decode(const char *from, size_t count, char *to, uint32_t *bytes)
{
    size_t digits = count;
    while (digits && count - digits < 2 && from[digits - 1] == '=')
        digits--;
    *bytes = 0;
    if (count == 0 || count % 4 != 0) return false;
    uint32_t held = 0, bits = 0;
    for (size_t i = 0; i < digits; i++) {
        const int value = base64_value(from[i]);
        if (value < 0) return false;
        held = held << 6 | (uint32_t)value;
        bits += 6;
        if (bits < 8) continue;
        bits -= 8;
        to[(*bytes)++] = (char)(held >> bits & 0xff);
    }
    return true;
}

// Takes one line apart: [text, text + *characters) is base64, *rank follows. Returns what is behind it; NULL: no such
// line.
static const char *parse_line(const char *text, const char *end, size_t *characters, uint32_t *rank)
{
    const char *at = text;
    while (at < end && (base64_value(*at) >= 0 || *at == '='))
        at++;
    *characters = (size_t)(at - text);
    if (at == text || at == end || *at != ' ') return NULL;
    const char *digits = ++at;
    uint64_t value = 0;
    for (; at < end && *at >= '0' && *at <= '9' && value <= TMAC_PIECES_MAX; at++)
        value = 10 * value + (uint64_t)(*at - '0');
    if (at == digits || value > TMAC_PIECES_MAX) return NULL;
    if (at < end && *at == '\r') at++;
    if (at < end && *at++ != '\n') return NULL;
    *rank = (uint32_t)value;
    return at;
}

bool tmac_is_tiktoken(const tmac_map *map)
{
    size_t characters;
    uint32_t rank;
    const char *text = (const char *)map->data;
    return map->bytes && parse_line(text, text + map->bytes, &characters, &rank) && rank == 0;
}

static void add_controls(const struct family *family, tmac_vocabulary *vocabulary, char *text,
                         size_t room)
{
    uint32_t named = 0;
    while (family->first[named])
        named++;
    for (uint32_t i = 0; i < family->controls; i++) {
        tmac_piece *piece = &vocabulary->pieces[family->ranks + i];
        // Llama 3 counts its reserved tokens on past the five among the named ones.
        const int length =
            i < named ? snprintf(text, room, "%s", family->first[i])
                      : snprintf(text, room, "<|reserved_special_token_%u|>", i - named + 5);
        *piece = (tmac_piece){text, (uint32_t)length, 0.0f, TMAC_PIECE_CONTROL};
        if (family->bos && strcmp(text, family->bos) == 0)
            vocabulary->bos = (int32_t)(family->ranks + i);
        if (strcmp(text, family->eos) == 0) vocabulary->eos = (int32_t)(family->ranks + i);
        text += length;
        room -= (size_t)length;
    }
}

static tmac_status fill(const tmac_map *map, tmac_vocabulary *vocabulary, char *text)
{
    const char *at = (const char *)map->data, *end = at + map->bytes;
    for (uint32_t line = 0; at < end; line++) {
        size_t characters;
        uint32_t rank;
        const char *next = parse_line(at, end, &characters, &rank);
        tmac_piece *piece = &vocabulary->pieces[line];
        if (!next || rank != line || !base64_decode(at, characters, text, &piece->bytes))
            return tmac_fail(TMAC_BAD_FILE,
                             "as a tiktoken file, line %u is not the base64 of a piece and rank %u",
                             line + 1, line);
        piece->text = text;
        piece->score = -(float)rank;
        piece->kind = TMAC_PIECE_NORMAL;
        text += piece->bytes;
        at = next;
    }
    return tmac_ok();
}

tmac_status tmac_read_tiktoken(const tmac_map *map, tmac_vocabulary *vocabulary)
{
    enum { CONTROL_BYTES = 40 };
    const char *data = (const char *)map->data;
    uint32_t lines = 0;
    for (size_t i = 0; i < map->bytes; i++)
        lines += data[i] == '\n' || i + 1 == map->bytes;
    const struct family *family = NULL;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (families[i].ranks == lines) family = &families[i];
    memset(vocabulary, 0, sizeof *vocabulary);
    if (!family)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "a tiktoken file of %u pieces: those of Llama 3 (128000), Qwen (151643) and "
            "GPT-2 (50256) are known, and a file says nothing of its control tokens; a "
            "tokenizer.json does",
            lines);
    char *text;
    const size_t room = family->controls * (size_t)CONTROL_BYTES;
    TMAC_TRY(tmac_vocabulary_take(vocabulary, lines + family->controls, map->bytes + room, &text));
    tmac_status status = fill(map, vocabulary, text);
    if (status.code != TMAC_OK) {
        tmac_vocabulary_free(vocabulary);
        return status;
    }
    add_controls(family, vocabulary, text + map->bytes, room);
    vocabulary->kind = TMAC_VOCABULARY_BPE;
    vocabulary->whole_words = true;
    vocabulary->add_bos = family->add_bos;
    snprintf(vocabulary->pattern, sizeof vocabulary->pattern, "%s",
             tmac_pattern_named(family->pattern, strlen(family->pattern)));
    snprintf(vocabulary->chat, sizeof vocabulary->chat, "%s", family->chat);
    return tmac_ok();
}

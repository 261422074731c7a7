// tmac-tokenize: text to token ids and back.
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/options.h"
#include "convert/convert.h"
#include "runtime/tmac.h"
#include "runtime/utf8.h"

enum { TEXT_MAX = 1 << 30 };

static bool ids_wanted, no_bos, decode_wanted, json_wanted;

static const tmac_option options[] = {
    {0, "ids", TMAC_OPTION_FLAG, &ids_wanted, NULL, "print the ids alone, on one line"},
    {0, "no-bos", TMAC_OPTION_FLAG, &no_bos, NULL, "do not begin with BOS"},
    {'d', "decode", TMAC_OPTION_FLAG, &decode_wanted, NULL,
     "read ids from standard input and print their text, byte for byte"},
    {0, "json", TMAC_OPTION_FLAG, &json_wanted, NULL, "print one JSON object"},
    {0}};

static const tmac_program program = {
    .name = "tmac-tokenize",
    .purpose = "Prints the tokens of the text on standard input.",
    .operands = "VOCAB",
    .operands_min = 1,
    .operands_max = 1,
    .details = "VOCAB is a llama2.c tokenizer, or a GGUF or TM2 file with a vocabulary. Standard "
               "input is\n"
               "taken as it is, a newline at its end included. See tmac-tokenize(1).",
    .options = options,
};

// Valid UTF-8 of any bytes, for JSON: what is no UTF-8 becomes U+FFFD.
static json_t *json_text(const char *bytes, size_t count)
{
    char *text = malloc(3 * count + 1);
    if (!text) return NULL;
    size_t used = 0;
    for (size_t at = 0; at < count;) {
        const int length = tmac_utf8_character(bytes + at, count - at);
        const size_t taken = length > 0 ? (size_t)length : 1;
        memcpy(text + used, length > 0 ? bytes + at : "\xef\xbf\xbd", length > 0 ? taken : 3);
        used += length > 0 ? taken : 3;
        at += taken;
    }
    json_t *string = json_stringn(text, used);
    free(text);
    return string;
}

static tmac_status print_json(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory writing JSON");
    puts(text);
    free(text);
    return tmac_ok();
}

// A piece in single quotes, what is not printable as \n, \t or \xNN.
static void print_quoted(const tmac_piece *piece)
{
    putchar('\'');
    for (uint32_t i = 0; i < piece->bytes;) {
        const int length = tmac_utf8_character(piece->text + i, piece->bytes - i);
        const unsigned char c = (unsigned char)piece->text[i];
        const uint32_t taken = length > 0 ? (uint32_t)length : 1;
        if (c == '\n')
            fputs("\\n", stdout);
        else if (c == '\t')
            fputs("\\t", stdout);
        else if (c == '\\' || c == '\'')
            printf("\\%c", c);
        else if (length < 1 || c < 0x20 || c == 0x7f)
            printf("\\x%02x", c);
        else
            fwrite(piece->text + i, 1, taken, stdout);
        i += taken;
    }
    putchar('\'');
}

static tmac_status print_ids(const tmac_vocabulary *vocabulary, const uint32_t *ids, size_t count)
{
    if (json_wanted) {
        json_t *numbers = json_array(), *pieces = json_array();
        for (size_t i = 0; i < count; i++) {
            const tmac_piece *piece = &vocabulary->pieces[ids[i]];
            json_array_append_new(numbers, json_integer(ids[i]));
            json_array_append_new(pieces, json_text(piece->text, piece->bytes));
        }
        return print_json(json_pack("{s:o, s:o}", "ids", numbers, "pieces", pieces));
    }
    for (size_t i = 0; i < count; i++) {
        if (ids_wanted) {
            printf("%s%u", i ? " " : "", ids[i]);
            continue;
        }
        printf("%6u  ", ids[i]);
        print_quoted(&vocabulary->pieces[ids[i]]);
        putchar('\n');
    }
    if (ids_wanted) putchar('\n');
    return tmac_ok();
}

static tmac_status encode(const tmac_vocabulary *vocabulary, const tmac_tokenizer *tokenizer,
                          const char *text, size_t bytes)
{
    uint32_t *tokens;
    size_t count;
    TMAC_TRY(tmac_tokenizer_encode(tokenizer, text, bytes, &tokens, &count));
    uint32_t *all = malloc((count + 1) * sizeof *all);
    tmac_status status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu tokens", count);
    if (all) {
        const bool bos = !no_bos && vocabulary->add_bos && vocabulary->bos >= 0;
        if (bos) all[0] = (uint32_t)vocabulary->bos;
        if (count) memcpy(all + bos, tokens, count * sizeof *all);
        status = print_ids(vocabulary, all, count + bos);
    }
    free(all);
    free(tokens);
    return status;
}

// Appends the bytes of the ids in `text`, numbers between blanks or commas, to the stream.
static tmac_status write_pieces(const tmac_tokenizer *tokenizer, const char *text, size_t bytes,
                                FILE *out)
{
    bool first = true;
    for (size_t at = 0; at < bytes;) {
        if (isspace((unsigned char)text[at]) || text[at] == ',') {
            at++;
            continue;
        }
        uint64_t id = 0;
        const size_t word = at;
        for (; at < bytes && isdigit((unsigned char)text[at]) && id < UINT32_MAX; at++)
            id = 10 * id + (uint64_t)(text[at] - '0');
        const bool ends = at == bytes || isspace((unsigned char)text[at]) || text[at] == ',';
        if (at == word || !ends || id >= tmac_tokenizer_size(tokenizer))
            return tmac_fail(TMAC_BAD_FILE,
                             "'%.*s' at byte %zu of the input is no token id below %u",
                             (int)strcspn(text + word, " \t\r\n,"), text + word, word,
                             tmac_tokenizer_size(tokenizer));
        if ((int32_t)id == tmac_tokenizer_bos(tokenizer)) {
            first = true;
            continue;
        }
        size_t length;
        const char *piece = tmac_tokenizer_piece(tokenizer, (uint32_t)id, first, &length);
        fwrite(piece, 1, length, out);
        first = false;
    }
    return tmac_ok();
}

static tmac_status decode(const tmac_tokenizer *tokenizer, const char *text, size_t bytes)
{
    if (!json_wanted) return write_pieces(tokenizer, text, bytes, stdout);
    char *decoded = NULL;
    size_t count = 0;
    FILE *memory = open_memstream(&decoded, &count);
    if (!memory) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory decoding");
    tmac_status status = write_pieces(tokenizer, text, bytes, memory);
    if (fclose(memory) != 0 && status.code == TMAC_OK)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory decoding");
    if (status.code == TMAC_OK)
        status = print_json(json_pack("{s:o}", "text", json_text(decoded, count)));
    free(decoded);
    return status;
}

int main(int argc, char **argv)
{
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    tmac_vocabulary vocabulary;
    tmac_status status = tmac_vocabulary_open(operands[0], 0, &vocabulary);
    if (status.code != TMAC_OK) return tmac_report(&program, status);
    tmac_tokenizer *tokenizer = NULL;
    status = tmac_tokenizer_new(&vocabulary, &tokenizer);
    if (status.code != TMAC_OK) status = tmac_prefix(status, "%s", operands[0]);
    char *text = NULL;
    size_t bytes;
    if (status.code == TMAC_OK) status = tmac_read_stream(stdin, TEXT_MAX, &text, &bytes);
    if (status.code == TMAC_OK)
        status = decode_wanted ? decode(tokenizer, text, bytes)
                               : encode(&vocabulary, tokenizer, text, bytes);
    free(text);
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
    if (status.code == TMAC_OK && fflush(stdout))
        status = tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return tmac_report(&program, status);
}

#include "train/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static tmac_status no_memory(size_t tokens)
{
    return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu tokens of text", tokens);
}

static tmac_status grow(void **data, size_t *room, size_t needed, size_t size)
{
    if (needed <= *room) return tmac_ok();
    size_t larger = needed + needed / 2 + 1024;
    void *moved = realloc(*data, larger * size);
    if (!moved) return no_memory(larger);
    *data = moved;
    *room = larger;
    return tmac_ok();
}

static tmac_status append_tokens(tmac_corpus *corpus, const uint32_t *tokens, size_t count)
{
    TMAC_TRY(grow((void **)&corpus->tokens, &corpus->token_room, corpus->token_count + count,
                  sizeof *tokens));
    if (count) memcpy(corpus->tokens + corpus->token_count, tokens, count * sizeof *tokens);
    corpus->token_count += count;
    return tmac_ok();
}

static tmac_status append_rows(tmac_corpus *corpus, size_t at, size_t end)
{
    while (at < end) {
        size_t left = end - at;
        uint32_t length = left < corpus->context ? (uint32_t)left : corpus->context;
        TMAC_TRY(grow((void **)&corpus->rows, &corpus->row_room, corpus->row_count + 1,
                      sizeof *corpus->rows));
        corpus->rows[corpus->row_count++] = (tmac_row){at, length};
        at += length;
    }
    return tmac_ok();
}

static tmac_status add_text(tmac_corpus *corpus, const tmac_tokenizer *tokenizer, const char *text,
                            size_t bytes, const uint32_t *end)
{
    uint32_t *tokens;
    size_t count, first = corpus->token_count;
    TMAC_TRY(tmac_tokenizer_encode(tokenizer, text, bytes, &tokens, &count));
    tmac_status status = append_tokens(corpus, tokens, count);
    free(tokens);
    if (status.code == TMAC_OK && end) status = append_tokens(corpus, end, 1);
    corpus->bytes += bytes;
    corpus->documents++;
    return status.code == TMAC_OK ? append_rows(corpus, first, corpus->token_count) : status;
}

// The end of the line that begins at `at`, its newline not counted.
static size_t line_end(const char *text, size_t bytes, size_t at)
{
    const char *newline = memchr(text + at, '\n', bytes - at);
    return newline ? (size_t)(newline - text) : bytes;
}

static tmac_status add_lines(tmac_corpus *corpus, const tmac_tokenizer *tokenizer,
                             const tmac_corpus_options *options, const char *text, size_t bytes)
{
    const uint32_t end_token = (uint32_t)tmac_tokenizer_eos(tokenizer);
    uint64_t lines = 0, index = 0;
    for (size_t at = 0, end; at < bytes; at = end + 1) {
        end = line_end(text, bytes, at);
        lines += end > at;
    }
    const uint64_t first = (uint64_t)(options->begin * (double)lines),
                   last = (uint64_t)(options->end * (double)lines);
    for (size_t at = 0, end; at < bytes && index < last; at = end + 1) {
        end = line_end(text, bytes, at);
        if (end == at || index++ < first) continue;
        TMAC_TRY(add_text(corpus, tokenizer, text + at, end - at, &end_token));
    }
    return tmac_ok();
}

// Where a part of a text may begin: not inside a character.
static size_t character_start(const char *text, size_t bytes, double part)
{
    size_t at = (size_t)(part * (double)bytes);
    while (at < bytes && ((unsigned char)text[at] & 0xc0) == 0x80)
        at++;
    return at;
}

static tmac_status add_file(tmac_corpus *corpus, const tmac_tokenizer *tokenizer,
                            const tmac_corpus_options *options, const char *path)
{
    tmac_map map;
    TMAC_TRY(tmac_map_open(path, &map));
    const char *text = (const char *)map.data;
    tmac_status status;
    if (map.bytes == 0) {
        status = tmac_fail(TMAC_BAD_FILE, "is empty");
    } else if (options->documents == TMAC_DOCUMENTS_FILES) {
        const uint32_t end = (uint32_t)tmac_tokenizer_eos(tokenizer);
        status = add_text(corpus, tokenizer, text, map.bytes, &end);
    } else if (options->documents == TMAC_DOCUMENTS_LINES) {
        status = add_lines(corpus, tokenizer, options, text, map.bytes);
    } else {
        size_t begin = character_start(text, map.bytes, options->begin),
               end = character_start(text, map.bytes, options->end);
        status =
            end > begin ? add_text(corpus, tokenizer, text + begin, end - begin, NULL) : tmac_ok();
    }
    tmac_map_close(&map);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", path);
}

tmac_status tmac_corpus_open(const tmac_corpus_options *options, const tmac_tokenizer *tokenizer,
                             tmac_corpus *corpus)
{
    memset(corpus, 0, sizeof *corpus);
    const int32_t bos = tmac_tokenizer_bos(tokenizer), eos = tmac_tokenizer_eos(tokenizer);
    if (bos < 0 || (options->documents != TMAC_DOCUMENTS_NONE && eos < 0))
        return tmac_fail(TMAC_UNSUPPORTED, "the vocabulary has no %s token, which training needs",
                         bos < 0 ? "BOS" : "EOS");
    corpus->bos = (uint32_t)bos;
    corpus->context = options->context;
    corpus->stream = options->documents == TMAC_DOCUMENTS_NONE;
    tmac_status status = tmac_ok();
    size_t first = 0, last = options->path_count;
    if (options->documents == TMAC_DOCUMENTS_FILES) {
        first = (size_t)(options->begin * (double)options->path_count);
        last = (size_t)(options->end * (double)options->path_count);
    }
    for (size_t i = first; i < last && status.code == TMAC_OK; i++)
        status = add_file(corpus, tokenizer, options, options->paths[i]);
    if (status.code != TMAC_OK) tmac_corpus_free(corpus);
    return status;
}

void tmac_corpus_free(tmac_corpus *corpus)
{
    free(corpus->tokens);
    free(corpus->rows);
    memset(corpus, 0, sizeof *corpus);
}

uint32_t tmac_corpus_row(const tmac_corpus *corpus, size_t row, uint32_t shift, uint32_t *inputs,
                         uint32_t *targets)
{
    const tmac_row *r = &corpus->rows[row];
    const size_t most = corpus->token_count - r->length - r->at;
    const size_t at = r->at + (!corpus->stream ? 0 : shift < most ? shift : most);
    memcpy(targets, corpus->tokens + at, r->length * sizeof *targets);
    inputs[0] = corpus->bos;
    if (r->length > 1) memcpy(inputs + 1, corpus->tokens + at, (r->length - 1) * sizeof *inputs);
    return r->length;
}

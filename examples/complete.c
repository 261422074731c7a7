// The smallest program with libtmac: completes a text, always by the likeliest token.
//
//   cc complete.c $(pkg-config --cflags --libs tmac) -o complete
//   ./complete MODEL "Once upon a time" 64
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tmac.h>

// What is made is freed in the opposite order, as far as it was made: all of these functions accept NULL.
typedef struct program {
    tmac_source source;
    tmac_pool *pool;
    tmac_model *model;
    tmac_session *session;
    tmac_tokenizer *tokenizer;
    tmac_sampler *sampler;
} program;

static tmac_status set_up(program *p, const char *path)
{
    TMAC_TRY(tmac_source_open(path, NULL, &p->source));
    TMAC_TRY(tmac_tokenizer_new(&p->source.vocabulary, &p->tokenizer));
    TMAC_TRY(tmac_pool_new(2, &p->pool));
    TMAC_TRY(tmac_model_new(&p->source, &(tmac_model_options){.pool = p->pool}, &p->model));
    TMAC_TRY(tmac_session_new(p->model, tmac_model_context(p->model), TMAC_KV_F16, &p->session));
    // Temperature 0: no chance in it.
    return tmac_sampler_new(tmac_model_vocab(p->model), &(tmac_sampler_options){.top_p = 1.0f},
                            &p->sampler);
}

static tmac_status feed(program *p, uint32_t token, uint32_t position, const float **logits)
{
    const tmac_batch_item item = {p->session, token, position, true};
    return tmac_decode(p->model, &item, 1, logits);
}

static tmac_status complete(program *p, const char *text, uint32_t count)
{
    uint32_t *tokens, position = 0;
    size_t prompt;
    const float *logits = NULL;
    const uint32_t context = tmac_model_context(p->model);
    TMAC_TRY(tmac_tokenizer_encode(p->tokenizer, text, strlen(text), &tokens, &prompt));
    tmac_status status = tmac_ok();
    if (p->source.vocabulary.add_bos && tmac_tokenizer_bos(p->tokenizer) >= 0)
        status = feed(p, (uint32_t)tmac_tokenizer_bos(p->tokenizer), position++, &logits);
    for (size_t i = 0; i < prompt && status.code == TMAC_OK; i++)
        status = feed(p, tokens[i], position++, &logits);
    free(tokens);
    printf("%s", text);
    for (uint32_t i = 0; i < count && status.code == TMAC_OK && logits; i++) {
        const uint32_t token = tmac_sample(p->sampler, logits);
        size_t bytes;
        if (tmac_tokenizer_is_stop(p->tokenizer, token)) break;
        const char *piece = tmac_tokenizer_piece(p->tokenizer, token, false, &bytes);
        fwrite(piece, 1, bytes, stdout);
        if (position == context) break;
        status = feed(p, token, position++, &logits);
    }
    putchar('\n');
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL TEXT TOKENS\n", argv[0]);
        return 2;
    }
    program p = {0};
    tmac_status status = set_up(&p, argv[1]);
    if (status.code == TMAC_OK)
        status = complete(&p, argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    tmac_sampler_free(p.sampler);
    tmac_session_free(p.session);
    tmac_model_free(p.model);
    tmac_pool_free(p.pool);
    tmac_tokenizer_free(p.tokenizer);
    tmac_source_close(&p.source);
    if (status.code == TMAC_OK) return 0;
    fprintf(stderr, "%s: %s\n", argv[0], status.message);
    return 1;
}

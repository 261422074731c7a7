// The float build of training: against the double one, against itself on other instruction sets, and its vocabularies.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/random.h"
#include "convert/convert.h"
#include "runtime/tmac.h"
#include "tests/unit/tiny.h"
#include "tests/unit/train_gradient.h"
#include "train/corpus.h"
#include "train/engine.h"
#include "train/model.h"
#include "train/multiply.h"
#include "train/state.h"

enum { TOKENS = 40 };

static const tmac_train_shape shape = {.dim = 40,
                                       .hidden = 52,
                                       .layers = 2,
                                       .heads = 4,
                                       .kv_heads = 2,
                                       .head_dim = 10,
                                       .vocab = 30,
                                       .context = 24,
                                       .rope_theta = 10000,
                                       .epsilon = 1e-5f,
                                       .final_epsilon = 1e-5f,
                                       .activation = TMAC_SILU,
                                       .sub_norms = 1,
                                       .tied = 1};

typedef struct sample {
    uint32_t inputs[TOKENS], targets[TOKENS], starts[3];
    tmac_chunk chunk;
} sample;

static void make_sample(sample *s)
{
    tmac_random random = {17};
    for (int i = 0; i < TOKENS; i++) {
        s->inputs[i] = tmac_random_below(&random, shape.vocab);
        s->targets[i] = tmac_random_below(&random, shape.vocab);
    }
    s->starts[0] = 0;
    s->starts[1] = 23;
    s->starts[2] = TOKENS;
    s->chunk = (tmac_chunk){s->inputs, s->targets, TOKENS, s->starts, 2};
}

static double gradient_in_float(tmac_isa_set isa, const float *parameters, const sample *s,
                                float *gradient)
{
    tmac_network network;
    tmac_workspace workspace;
    cr_assert_eq(tmac_network_new(&shape, isa, &network).code, TMAC_OK);
    cr_assert_eq(tmac_workspace_new(&network, TOKENS, &workspace).code, TMAC_OK);
    tmac_network_set(&network, parameters);
    tmac_network_forward(&network, &workspace, &s->chunk);
    double loss = tmac_network_loss(&network, &workspace, &s->chunk, NULL, 1, gradient);
    tmac_network_backward(&network, &workspace, &s->chunk, gradient);
    tmac_workspace_free(&workspace);
    tmac_network_free(&network);
    return loss;
}

static tmac_network planned(void)
{
    tmac_network network = {.shape = shape};
    cr_assert_eq(tmac_network_plan(&network).code, TMAC_OK);
    free(network.tensors);
    return network;
}

static float *some_parameters(size_t count)
{
    tmac_random random = {29};
    float *parameters = calloc(count, sizeof *parameters);
    cr_assert_not_null(parameters);
    for (size_t i = 0; i < count; i++)
        parameters[i] = tmac_random_unit(&random) - 0.5f;
    return parameters;
}

Test(train, float_gradient_is_the_double_one)
{
    sample s;
    make_sample(&s);
    const size_t count = planned().parameters;
    float *parameters = some_parameters(count), *found = calloc(count, sizeof *found);
    double *wide = calloc(count, sizeof *wide), *expected = calloc(count, sizeof *expected);
    cr_assert(found && wide && expected);
    for (size_t i = 0; i < count; i++)
        wide[i] = (double)parameters[i];
    (void)tmac_multiply_open(tmac_isa_verified());
    const gradient_text text = {s.inputs, s.targets, s.starts, TOKENS, 2};
    double loss = gradient_in_float(tmac_isa_verified(), parameters, &s, found);
    double wide_loss = gradient_in_double(&shape, &text, wide, expected);
    cr_assert_float_eq(loss, wide_loss, 1e-4 * wide_loss);
    double off = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        off += ((double)found[i] - expected[i]) * ((double)found[i] - expected[i]);
        size += expected[i] * expected[i];
    }
    cr_assert(off <= 1e-8 * size, "relative distance %g", sqrt(off / size));
    free(parameters);
    free(found);
    free(wide);
    free(expected);
}

// The plain loop multiplies (OpenBLAS has its own kernels for each processor): what is left is ours, the same everywhere.
Test(train, instruction_sets_give_the_same_bits)
{
    static const tmac_isa sets[] = {TMAC_ISA_SCALAR, TMAC_ISA_AVX2, TMAC_ISA_AVX512BW};
    sample s;
    make_sample(&s);
    const size_t count = planned().parameters;
    float *parameters = some_parameters(count), *first = NULL;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (!tmac_isa_has(tmac_isa_verified(), sets[i])) continue;
        float *gradient = calloc(count, sizeof *gradient);
        cr_assert_not_null(gradient);
        gradient_in_float(tmac_isa_contained(sets[i]), parameters, &s, gradient);
        if (first) cr_assert_arr_eq(first, gradient, count * sizeof *gradient, "%d", (int)sets[i]);
        if (first)
            free(gradient);
        else
            first = gradient;
    }
    free(first);
    free(parameters);
}

// ------------------------------------------------------------------------------------------------------- texts

static void write_text(const char *text, char path[64])
{
    tiny_file file = {0};
    tiny_put(&file, text, strlen(text));
    tiny_path(path);
    tiny_write(&file, path);
    tiny_free(&file);
}

static const char sentence[] =
    "the cat sat on the mat, the rat sat on the cat; caf\xc3\xa9 caf\xc3\xa9 \xe2\x82\xac 2024\n"
    "the mat was flat and that was that\n\nthe hat!\n";

static tmac_status learn(uint32_t size, tmac_vocabulary *vocabulary)
{
    char text[64], path[64];
    write_text(sentence, text);
    tiny_path(path);
    const char *texts[] = {text};
    tmac_status status = tmac_bpe_train(texts, 1, size, path);
    if (status.code == TMAC_OK) status = tmac_vocabulary_open(path, size, vocabulary);
    unlink(text);
    unlink(path);
    return status;
}

Test(train, vocabulary_learns_frequent_words_and_keeps_every_byte)
{
    tmac_vocabulary vocabulary;
    tmac_tokenizer *tokenizer;
    cr_assert_eq(learn(275, &vocabulary).code, TMAC_OK);
    cr_assert_eq(tmac_tokenizer_new(&vocabulary, &tokenizer).code, TMAC_OK);
    uint32_t *tokens;
    size_t count, bytes;
    cr_assert_eq(tmac_tokenizer_encode(tokenizer, "the", 3, &tokens, &count).code, TMAC_OK);
    cr_assert_eq(count, 1, "the most frequent word is one piece, not %zu", count);
    free(tokens);
    const char any[] = "zebra \xff\xc3\xa9\x01 caf\xc3\xa9";
    cr_assert_eq(tmac_tokenizer_encode(tokenizer, any, sizeof any - 1, &tokens, &count).code,
                 TMAC_OK);
    char back[64];
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const char *piece = tmac_tokenizer_piece(tokenizer, tokens[i], i == 0, &bytes);
        memcpy(back + used, piece, bytes);
        used += bytes;
    }
    cr_assert_eq(used, sizeof any - 1);
    cr_assert_arr_eq(back, any, used);
    free(tokens);
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
}

Test(train, vocabulary_that_the_text_cannot_fill_is_refused)
{
    tmac_vocabulary vocabulary;
    tmac_status status = learn(5000, &vocabulary);
    cr_assert_eq(status.code, TMAC_BAD_FILE, "%s", status.message);
    cr_assert_eq(learn(259, &vocabulary).code, TMAC_USAGE);
}

Test(train, rows_cover_a_text_and_documents_end)
{
    tmac_vocabulary vocabulary;
    tmac_tokenizer *tokenizer;
    char path[64];
    cr_assert_eq(learn(260, &vocabulary).code, TMAC_OK);
    cr_assert_eq(tmac_tokenizer_new(&vocabulary, &tokenizer).code, TMAC_OK);
    write_text("abcdefghij\n\nxyz\n", path);
    const char *paths[] = {path};
    tmac_corpus corpus;
    tmac_corpus_options options = {paths, 1, TMAC_DOCUMENTS_LINES, 8, 0, 1};
    uint32_t inputs[8], targets[8];
    cr_assert_eq(tmac_corpus_open(&options, tokenizer, &corpus).code, TMAC_OK);
    cr_assert_eq(corpus.documents, 2);
    cr_assert_eq(corpus.row_count, 3, "12 tokens in rows of 8 and 4, then 5");
    cr_assert_eq(tmac_corpus_row(&corpus, 1, 0, inputs, targets), 4);
    cr_assert_eq(inputs[0], 1, "BOS");
    cr_assert_eq(inputs[1], targets[0]);
    cr_assert_eq(targets[3], 2, "EOS");
    cr_assert_eq(tmac_corpus_row(&corpus, 2, 3, inputs, targets), 5, "documents are not shifted");
    cr_assert_eq(targets[0], 259, "the space");
    tmac_corpus_free(&corpus);

    options.documents = TMAC_DOCUMENTS_FILES;
    cr_assert_eq(tmac_corpus_open(&options, tokenizer, &corpus).code, TMAC_OK);
    cr_assert_eq(corpus.token_count, 18, "16 bytes, the space in front and EOS, not %zu",
                 corpus.token_count);
    tmac_corpus_free(&corpus);

    options.documents = TMAC_DOCUMENTS_NONE;
    cr_assert_eq(tmac_corpus_open(&options, tokenizer, &corpus).code, TMAC_OK);
    cr_assert_eq(corpus.row_count, 3, "17 tokens in rows of 8, 8 and 1");
    cr_assert_eq(tmac_corpus_row(&corpus, 0, 5, inputs, targets), 8);
    cr_assert_eq(targets[0], 3 + 'e', "shifted by five");
    cr_assert_eq(tmac_corpus_row(&corpus, 1, 5, inputs, targets), 8);
    cr_assert_eq(targets[7], 3 + '\n', "as far as there is text");
    tmac_corpus_free(&corpus);
    unlink(path);
    tmac_tokenizer_free(tokenizer);
    tmac_vocabulary_free(&vocabulary);
}

// ------------------------------------------------------------------------------------------- models, checkpoints

Test(train, model_survives_its_file)
{
    tmac_train_shape ternary = shape;
    ternary.ternary = ternary.half = 1;
    ternary.activation = TMAC_RELU2;
    tmac_network network, again;
    cr_assert_eq(tmac_network_new(&ternary, 0, &network).code, TMAC_OK);
    float *parameters = some_parameters(network.parameters);
    tmac_network_set(&network, parameters);
    char path[64];
    tiny_path(path);
    const tmac_vocabulary none = {.bos = -1, .eos = -1, .unknown = -1};
    tmac_status status = tmac_network_write(&network, &none, path);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);

    tmac_source source;
    cr_assert_eq(tmac_source_open(path, &(tmac_open_options){0}, &source).code, TMAC_OK);
    tmac_train_shape read = tmac_train_shape_of(&source);
    cr_assert_arr_eq(&read, &ternary, sizeof read);
    cr_assert_eq(tmac_network_new(&read, 0, &again).code, TMAC_OK);
    cr_assert_eq(tmac_parameters_read(&again, &source, parameters).code, TMAC_OK);
    tmac_network_set(&again, parameters);
    cr_assert_arr_eq(network.weights, again.weights, network.parameters * sizeof(float));
    for (uint32_t i = 0; i < network.tensor_count; i++)
        cr_assert_float_eq(network.scales[i], again.scales[i], 1e-6f * network.scales[i]);
    tmac_source_close(&source);
    unlink(path);
    free(parameters);
    tmac_network_free(&network);
    tmac_network_free(&again);
}

Test(train, checkpoint_refuses_damage_and_other_recipes)
{
    tmac_recipe recipe = {.shape = shape, .seed = 3, .steps = 9};
    const uint8_t texts[TMAC_HASH_BYTES] = {1}, others[TMAC_HASH_BYTES] = {2};
    tmac_train_state state, copy;
    char path[64];
    tiny_path(path);
    cr_assert_eq(tmac_state_new(100, &state).code, TMAC_OK);
    cr_assert_eq(tmac_state_new(100, &copy).code, TMAC_OK);
    state.weights[99] = 4.0f;
    state.step = 7;
    cr_assert_eq(tmac_state_add_point(&state, &(tmac_curve_point){.step = 5}).code, TMAC_OK);
    cr_assert_eq(tmac_state_write(&state, &recipe, texts, path).code, TMAC_OK);
    cr_assert_eq(tmac_state_read(&copy, &recipe, texts, path).code, TMAC_OK);
    cr_assert(copy.step == 7 && copy.weights[99] == 4.0f && copy.point_count == 1);
    cr_assert_eq(tmac_state_read(&copy, &recipe, others, path).code, TMAC_UNSUPPORTED);
    recipe.seed = 4;
    cr_assert_eq(tmac_state_read(&copy, &recipe, texts, path).code, TMAC_UNSUPPORTED);
    recipe.seed = 3;
    FILE *file = fopen(path, "r+b");
    cr_assert_not_null(file);
    fseek(file, -50, SEEK_END);
    fputc(0x55, file);
    fclose(file);
    cr_assert_eq(tmac_state_read(&copy, &recipe, texts, path).code, TMAC_BAD_FILE);
    cr_assert_eq(truncate(path, 200), 0);
    cr_assert_eq(tmac_state_read(&copy, &recipe, texts, path).code, TMAC_BAD_FILE);
    unlink(path);
    cr_assert_eq(tmac_state_read(&copy, &recipe, texts, path).code, TMAC_NOT_FOUND);
    tmac_state_free(&state);
    tmac_state_free(&copy);
}

// ------------------------------------------------------------------------------------------------------ schedules

Test(train, rates_follow_their_schedule)
{
    tmac_recipe recipe = {.steps = 1100, .warmup = 100, .rate = 2.0f};
    double decay;
    recipe.schedule = TMAC_SCHEDULE_COSINE;
    cr_assert_float_eq(tmac_engine_rate(&recipe, 0, &decay), 0.02, 1e-9);
    cr_assert_float_eq(tmac_engine_rate(&recipe, 99, &decay), 2.0, 1e-9);
    cr_assert_float_eq(tmac_engine_rate(&recipe, 600, &decay), 2.0 * 0.525, 1e-9);
    cr_assert_float_eq(tmac_engine_rate(&recipe, 1100, &decay), 0.1, 1e-9);
    cr_assert_eq(decay, 1.0);
    recipe.schedule = TMAC_SCHEDULE_TWO_STAGE;
    cr_assert_float_eq(tmac_engine_rate(&recipe, 350, &decay), 1.5, 1e-9);
    cr_assert_eq(decay, 1.0);
    cr_assert_float_eq(tmac_engine_rate(&recipe, 600, &decay), 2.0 / 3.0, 1e-9);
    cr_assert_eq(decay, 0.0, "no weight decay in the second stage");
    recipe.schedule = TMAC_SCHEDULE_CONSTANT;
    cr_assert_float_eq(tmac_engine_rate(&recipe, 1000, &decay), 2.0, 1e-9);
}

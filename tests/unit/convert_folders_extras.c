// Hugging Face folders of what only some architectures have, in every spelling: scaled RoPE, low-rank corrections, biases
// and norms of heads. Each is written here from a synthetic model and must be that model again, to the last logit;
// convert_extras.c compares the same models with a reference in double precision.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/neutral.h"
#include "runtime/tmac.h"
#include "tests/unit/tiny.h"

enum { TOKENS = 8 };

enum {
    UPPER = 0,         // lrc_U, lrc_V
    LOWER = 1,         // lrc_u, lrc_v
    U_TRANSPOSED = 2,  // (rank, out) instead of (out, rank)
    V_TRANSPOSED = 4,  // (rank, in) instead of (in, rank)
    NESTED = 8,        // rope_parameters with rope_theta inside instead of rope_scaling
    OLD_ROPE_NAME = 16 // "type" instead of "rope_type"
};

static const struct {
    const char *extras, *model_type,
        *rope; // of tmac-synth; of config.json: without the name of its type
    int spelling;
} cases[] = {
    {"rank=5", "llama", NULL, UPPER},
    {"rank=5", "llama", NULL, LOWER},
    {"rank=5", "llama", NULL, UPPER | U_TRANSPOSED},
    {"rank=5", "llama", NULL, LOWER | V_TRANSPOSED},
    {"rank=5", "llama", NULL, UPPER | U_TRANSPOSED | V_TRANSPOSED},
    {"bitnet=1,rank=3,bias=1", "bitnet", NULL, LOWER | U_TRANSPOSED | V_TRANSPOSED},
    {"bitnet=1", "bitnet", NULL, 0},
    {"head_dim=20", "llama", NULL, 0},
    {"head_dim=20", "falcon3", NULL, 0},
    {"head_dim=20", "falcon_e", NULL, 0},
    {"bias=1", "qwen2", NULL, 0},
    {"head_norms=1,head_dim=20", "qwen3", NULL, 0},
    {"rope=linear", "llama", "linear 4 0", 0},
    {"rope=linear", "llama", "linear 4 0", OLD_ROPE_NAME},
    {"rope=linear", "llama", "linear 4 0", NESTED},
    {"rope=llama3", "llama", "llama3 4 24", 0},
    {"rope=llama3", "llama", "llama3 4 24", OLD_ROPE_NAME},
    {"rope=llama3", "llama", "llama3 4 24", NESTED},
    {"bias=1,rope=yarn", "qwen2", "yarn 4 24", 0},
    {"rope=yarn", "llama", "yarn 4 24", OLD_ROPE_NAME},
    {"head_norms=1,head_dim=20,rope=yarn", "qwen3", "yarn 4 24", NESTED},
};

// -------------------------------------------------------------------------------------------------------- the folder

typedef struct folder {
    const tmac_source *source;
    json_t *header;
    tiny_file data;
} folder;

static void describe(folder *to, const char *name, size_t rows, size_t columns)
{
    json_t *shape = columns ? json_pack("[I,I]", (json_int_t)rows, (json_int_t)columns)
                            : json_pack("[I]", (json_int_t)rows);
    const size_t bytes = rows * (columns ? columns : 1) * sizeof(float);
    json_object_set_new(to->header, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape,
                                  "data_offsets", (json_int_t)to->data.bytes,
                                  (json_int_t)to->data.bytes + (json_int_t)bytes));
}

// head: rows of a head, which go in half-split order; 0: as they are.
static void put_rows(folder *to, const char *name, const float *values, uint32_t rows,
                     uint32_t columns, uint32_t head)
{
    if (!values) return;
    describe(to, name, rows, columns);
    const uint32_t wide = columns ? columns : 1;
    for (uint32_t r = 0; r < rows; r++)
        tiny_put(&to->data, values + (size_t)tmac_neutral_row(r, head) * wide,
                 wide * sizeof(float));
}

static void put_columns(folder *to, const char *name, const float *values, uint32_t rows,
                        uint32_t columns, uint32_t head)
{
    describe(to, name, columns, rows);
    for (uint32_t c = 0; c < columns; c++)
        for (uint32_t r = 0; r < rows; r++)
            tiny_put(&to->data, values + (size_t)tmac_neutral_row(r, head) * columns + c,
                     sizeof(float));
}

// Ternary weights as floats, which the reader finds to be ternary.
static void put_matrix(folder *to, const char *name, const tmac_matrix *matrix, uint32_t head)
{
    float *values = malloc((size_t)matrix->rows * matrix->columns * sizeof *values);
    int8_t *codes = malloc((size_t)matrix->rows * matrix->columns);
    cr_assert(values && codes);
    if (matrix->number == TMAC_TERNARY) {
        cr_assert_eq(matrix->scale_count, 1);
        matrix->read_codes(matrix, 0, matrix->rows, codes);
        for (size_t i = 0; i < (size_t)matrix->rows * matrix->columns; i++)
            values[i] = (float)codes[i] * matrix->scales[0];
    } else {
        matrix->read_float(matrix, 0, matrix->rows, values);
    }
    put_rows(to, name, values, matrix->rows, matrix->columns, head);
    free(values);
    free(codes);
}

static void put_correction(folder *to, const char *part, const tmac_matrix *matrix,
                           const tmac_low_rank *low, uint32_t head, int spelling)
{
    char name[160];
    if (low->rank == 0) return;
    snprintf(name, sizeof name, "%s.lrc_%c", part, spelling & LOWER ? 'u' : 'U');
    (spelling & U_TRANSPOSED ? put_columns : put_rows)(to, name, low->up, matrix->rows, low->rank,
                                                       head);
    snprintf(name, sizeof name, "%s.lrc_%c", part, spelling & LOWER ? 'v' : 'V');
    (spelling & V_TRANSPOSED ? put_rows : put_columns)(to, name, low->down, low->rank,
                                                       matrix->columns, 0);
}

static void put_layer(folder *to, uint32_t index, int spelling)
{
    static const char *const parts[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                        "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                        "mlp.down_proj"};
    const tmac_source *s = to->source;
    const tmac_source_layer *layer = &s->layers[index];
    const struct {
        const char *name;
        const float *values;
        uint32_t count, head;
    } norms[] = {{"input_layernorm", layer->attention_norm, s->dim, 0},
                 {"post_attention_layernorm", layer->ffn_norm, s->dim, 0},
                 {"self_attn.attn_sub_norm", layer->attention_sub_norm, s->heads * s->head_dim, 0},
                 {"mlp.ffn_sub_norm", layer->ffn_sub_norm, s->hidden, 0},
                 {"self_attn.q_norm", layer->extras.query_norm, s->head_dim, s->head_dim},
                 {"self_attn.k_norm", layer->extras.key_norm, s->head_dim, s->head_dim}};
    char name[160], part[128];
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        snprintf(name, sizeof name, "model.layers.%u.%s.weight", index, norms[i].name);
        put_rows(to, name, norms[i].values, norms[i].count, 0, norms[i].head);
    }
    for (int p = 0; p < TMAC_SOURCE_PARTS; p++) {
        const tmac_matrix *matrix = tmac_layer_part(s, index, (tmac_part_of_layer)p);
        const uint32_t head = p < 2 ? s->head_dim : 0;
        snprintf(part, sizeof part, "model.layers.%u.%s", index, parts[p]);
        snprintf(name, sizeof name, "%s.weight", part);
        put_matrix(to, name, matrix, head);
        snprintf(name, sizeof name, "%s.bias", part);
        if (p < 3) put_rows(to, name, layer->extras.bias[p], matrix->rows, 0, head);
        put_correction(to, part, matrix, &layer->extras.low[p], head, spelling);
    }
}

static json_t *configuration(const tmac_source *s, const char *model_type, const char *rope,
                             int spelling)
{
    json_t *root = json_pack(
        "{s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:f,s:s,s:b}", "model_type", model_type,
        "hidden_size", s->dim, "intermediate_size", s->hidden, "num_hidden_layers", s->layer_count,
        "num_attention_heads", s->heads, "num_key_value_heads", s->kv_heads, "head_dim",
        s->head_dim, "vocab_size", s->vocab, "max_position_embeddings", s->context, "rms_norm_eps",
        (double)s->norm_epsilon, "hidden_act", s->activation == TMAC_RELU2 ? "relu2" : "silu",
        "tie_word_embeddings", s->tied_head);
    char type[16];
    int factor, original;
    json_t *theta = json_real((double)s->rope_theta), *scaling = json_object();
    if (rope) {
        cr_assert_eq(sscanf(rope, "%15s %d %d", type, &factor, &original), 3);
        json_object_set_new(scaling, spelling & OLD_ROPE_NAME ? "type" : "rope_type",
                            json_string(type));
        json_object_set_new(scaling, "factor", json_real(factor));
        if (original)
            json_object_set_new(scaling, "original_max_position_embeddings",
                                json_integer(original));
    }
    if (rope && strcmp(type, "llama3") == 0) {
        json_object_set_new(scaling, "low_freq_factor", json_real(1));
        json_object_set_new(scaling, "high_freq_factor", json_real(4));
    }
    json_object_set_new(spelling & NESTED ? scaling : root, "rope_theta", theta);
    json_object_set_new(root, spelling & NESTED ? "rope_parameters" : "rope_scaling",
                        rope ? scaling : json_null());
    if (!rope) json_decref(scaling);
    return root;
}

static void write_folder(const tmac_source *source, size_t which, const char *path)
{
    char name[160];
    folder to = {.source = source, .header = json_object()};
    put_matrix(&to, "model.embed_tokens.weight", &source->embedding, 0);
    for (uint32_t l = 0; l < source->layer_count; l++)
        put_layer(&to, l, cases[which].spelling);
    put_rows(&to, "model.norm.weight", source->final_norm, source->dim, 0, 0);
    if (!source->tied_head) put_matrix(&to, "lm_head.weight", &source->head, 0);
    char *text = json_dumps(to.header, JSON_COMPACT);
    const uint64_t bytes = strlen(text);
    tiny_file whole = {0};
    tiny_put(&whole, &bytes, sizeof bytes);
    tiny_put(&whole, text, bytes);
    tiny_put(&whole, to.data.data, to.data.bytes);
    snprintf(name, sizeof name, "%s/model.safetensors", path);
    tiny_write(&whole, name);
    tiny_free(&whole);
    tiny_free(&to.data);
    free(text);
    json_decref(to.header);
    json_t *root =
        configuration(source, cases[which].model_type, cases[which].rope, cases[which].spelling);
    snprintf(name, sizeof name, "%s/config.json", path);
    cr_assert_eq(json_dump_file(root, name, 0), 0);
    json_decref(root);
}

// -------------------------------------------------------------------------------------------------------- the models

static void run(const tmac_source *source, float *logits)
{
    tmac_pool *pool;
    tmac_model *model;
    tmac_session *session;
    tmac_batch_item items[TOKENS];
    const float *rows;
    cr_assert_eq(tmac_pool_new(1, &pool).code, TMAC_OK);
    const tmac_model_options options = {.pool = pool, .batch_capacity = TOKENS};
    tmac_status status = tmac_model_new(source, &options, &model);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_assert_eq(tmac_session_new(model, TOKENS, TMAC_KV_F32, &session).code, TMAC_OK);
    for (uint32_t i = 0; i < TOKENS; i++)
        items[i] = (tmac_batch_item){session, i * 37 % 300, i, true};
    status = tmac_decode(model, items, TOKENS, &rows);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    memcpy(logits, rows, (size_t)TOKENS * source->vocab * sizeof *rows);
    tmac_session_free(session);
    tmac_model_free(model);
    tmac_pool_free(pool);
}

static void assert_same_logits(const tmac_source *a, const tmac_source *b, const char *name)
{
    const size_t bytes = (size_t)TOKENS * a->vocab * sizeof(float);
    float *left = malloc(bytes), *right = malloc(bytes);
    cr_assert(left && right);
    run(a, left);
    run(b, right);
    cr_assert_arr_eq(left, right, bytes, "%s", name);
    free(left);
    free(right);
}

Test(convert_folders_extras, every_spelling_is_the_same_model)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64] = "/tmp/tmac-folder-XXXXXX", name[160];
        tmac_source source, back;
        tiny_open_synthetic(cases[i].extras, &source);
        cr_assert_not_null(mkdtemp(path));
        write_folder(&source, i, path);
        tmac_status status = tmac_source_open(path, NULL, &back);
        cr_assert_eq(status.code, TMAC_OK, "case %zu: %s", i, status.message);
        cr_assert_str_eq(back.architecture, source.architecture, "case %zu", i);
        tiny_assert_same(&source, &back, false);
        assert_same_logits(&source, &back, cases[i].extras);
        tmac_source_close(&source);
        tmac_source_close(&back);
        snprintf(name, sizeof name, "%s/model.safetensors", path);
        unlink(name);
        snprintf(name, sizeof name, "%s/config.json", path);
        unlink(name);
        rmdir(path);
    }
}

// The transformer on models made in memory: against a plain double-precision reference, and against itself under every
// way of cutting the work.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/tmac.h"

enum {
    DIM = 48,
    HIDDEN = 86,
    LAYERS = 2,
    HEADS = 6,
    KV_HEADS = 2,
    HEAD = 8,
    VOCAB = 50,
    CONTEXT = 290
};

// A model in memory. Every matrix keeps its values as floats (code * scale for ternary ones) beside its codes.
typedef struct toy_model {
    tmac_source source;
    tmac_source_layer layers[LAYERS];
    float norms[LAYERS][4][HIDDEN];
    float final_norm[DIM];
    tmac_random random;
    tmac_number integers; // of matrices that are not float
} toy_model;

static uint32_t scale_index(const tmac_matrix *matrix, uint32_t row, uint32_t column)
{
    uint32_t groups = (matrix->columns + matrix->group - 1) / matrix->group;
    return matrix->scale_count == 1 ? 0 : groups > 1 ? row * groups + column / matrix->group : row;
}

static void read_codes(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const float *values = (const float *)matrix->data + (size_t)first * matrix->columns;
    for (uint32_t r = first; r < first + count; r++)
        for (uint32_t c = 0; c < matrix->columns; c++)
            *codes++ = (int8_t)lrintf(*values++ / matrix->scales[scale_index(matrix, r, c)]);
}

static void read_values(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    memcpy(values, (const float *)matrix->data + (size_t)first * matrix->columns,
           (size_t)count * matrix->columns * sizeof *values);
}

// group 0: a float matrix; group == columns with `rows_scaled` false: one scale for the tensor.
static tmac_matrix make_matrix(toy_model *toy, uint32_t rows, uint32_t columns, uint32_t group,
                               bool rows_scaled)
{
    float *values = malloc(sizeof *values * rows * columns);
    tmac_matrix matrix = {.name = "toy",
                          .number = group ? toy->integers : TMAC_F32,
                          .rows = rows,
                          .columns = columns,
                          .group = group,
                          .read_codes = read_codes,
                          .read_float = read_values,
                          .data = values};
    uint32_t groups = group ? (columns + group - 1) / group : 0;
    matrix.scale_count = !group ? 0 : groups > 1 ? rows * groups : rows_scaled ? rows : 1;
    float *scales = malloc(sizeof *scales * (matrix.scale_count + 1));
    for (uint32_t i = 0; i < matrix.scale_count; i++)
        scales[i] = (0.5f + tmac_random_unit(&toy->random)) / sqrtf((float)columns);
    matrix.scales = scales;
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t c = 0; c < columns; c++) {
            float *value = &values[(size_t)r * columns + c];
            if (!group) {
                *value = (tmac_random_unit(&toy->random) * 2 - 1) / sqrtf((float)columns) * 2;
                continue;
            }
            static const struct {
                int low, step;
                uint32_t count;
            } ranges[] = {[TMAC_TERNARY] = {-1, 1, 3},
                          [TMAC_Q1] = {-1, 2, 2},
                          [TMAC_Q2] = {-2, 1, 4},
                          [TMAC_Q3] = {-4, 1, 8},
                          [TMAC_Q4] = {-8, 1, 16}};
            int number = (int)tmac_random_below(&toy->random, ranges[matrix.number].count);
            float code = (float)(ranges[matrix.number].low + number * ranges[matrix.number].step);
            *value = code * scales[scale_index(&matrix, r, c)];
        }
    if (!group) matrix.in_place = values;
    return matrix;
}

static const float *make_norm(toy_model *toy, float *norm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        norm[i] = 0.5f + tmac_random_unit(&toy->random);
    return norm;
}

// groups: of q, of k and v, of o, of the rest; 0 is float.
static void make_toy_of(tmac_number integers, toy_model *toy, uint64_t seed, bool bitnet,
                        const uint32_t groups[4])
{
    memset(toy, 0, sizeof *toy);
    toy->random.state = seed;
    toy->integers = integers;
    tmac_source *source = &toy->source;
    source->dim = DIM, source->hidden = HIDDEN, source->layer_count = LAYERS, source->heads = HEADS;
    source->kv_heads = KV_HEADS, source->head_dim = HEAD, source->vocab = VOCAB,
    source->context = CONTEXT;
    source->norm_epsilon = 1e-5f, source->final_norm_epsilon = 1e-6f, source->rope_theta = 10000;
    source->rope_dims = HEAD, source->activation = bitnet ? TMAC_RELU2 : TMAC_SILU,
    source->tied_head = true;
    source->embedding = source->head = make_matrix(toy, VOCAB, DIM, 0, false);
    source->final_norm = make_norm(toy, toy->final_norm, DIM);
    source->layers = toy->layers;
    for (int l = 0; l < LAYERS; l++) {
        tmac_source_layer *layer = &toy->layers[l];
        layer->attention_norm = make_norm(toy, toy->norms[l][0], DIM);
        layer->ffn_norm = make_norm(toy, toy->norms[l][1], DIM);
        if (bitnet) layer->attention_sub_norm = make_norm(toy, toy->norms[l][2], DIM);
        if (bitnet) layer->ffn_sub_norm = make_norm(toy, toy->norms[l][3], HIDDEN);
        layer->query = make_matrix(toy, HEADS * HEAD, DIM, groups[0], true);
        layer->key = make_matrix(toy, KV_HEADS * HEAD, DIM, groups[1], true);
        layer->value = make_matrix(toy, KV_HEADS * HEAD, DIM, groups[1], false);
        layer->output = make_matrix(toy, DIM, HEADS * HEAD, groups[2], false);
        layer->gate = make_matrix(toy, HIDDEN, DIM, groups[3], true);
        layer->up = make_matrix(toy, HIDDEN, DIM, groups[3], false);
        layer->down = make_matrix(toy, DIM, HIDDEN, groups[3] < DIM ? groups[3] : HIDDEN, true);
    }
}

static void make_toy(toy_model *toy, uint64_t seed, bool bitnet, const uint32_t groups[4])
{
    make_toy_of(TMAC_TERNARY, toy, seed, bitnet, groups);
}

static void free_matrix(tmac_matrix *matrix)
{
    free((void *)(uintptr_t)matrix->data);
    free((void *)(uintptr_t)matrix->scales);
}

static void free_toy(toy_model *toy)
{
    for (int l = 0; l < LAYERS; l++) {
        tmac_source_layer *layer = &toy->layers[l];
        tmac_matrix *matrices[] = {&layer->query, &layer->key, &layer->value, &layer->output,
                                   &layer->gate,  &layer->up,  &layer->down};
        for (int i = 0; i < 7; i++)
            free_matrix(matrices[i]);
    }
    free_matrix(&toy->source.embedding);
}

// ------------------------------------------------------------------------------------------------ the reference

static void multiply(const tmac_matrix *matrix, const double *x, double *y)
{
    const float *values = matrix->data;
    double scale = 1, quantized[HIDDEN], largest = 1e-5;
    for (uint32_t c = 0; c < matrix->columns; c++)
        largest = fmax(largest, fabs(x[c]));
    if (matrix->number >= TMAC_TERNARY) scale = 127 / largest;
    for (uint32_t c = 0; c < matrix->columns; c++)
        quantized[c] = matrix->number >= TMAC_TERNARY ? nearbyint(x[c] * scale) / scale : x[c];
    for (uint32_t r = 0; r < matrix->rows; r++) {
        y[r] = 0;
        for (uint32_t c = 0; c < matrix->columns; c++)
            y[r] += (double)values[r * matrix->columns + c] * quantized[c];
    }
}

static void norm(const double *x, const float *weight, int n, double epsilon, double *out)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (int i = 0; i < n; i++)
        out[i] = x[i] / sqrt(sum / n + epsilon) * (double)(weight ? weight[i] : 0);
}

static void rotate(double *x, int heads, int position)
{
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < HEAD / 2; i++) {
            double angle = position * pow(10000, -2.0 * i / HEAD), *pair = x + h * HEAD + 2 * i;
            double a = pair[0], b = pair[1];
            pair[0] = a * cos(angle) - b * sin(angle);
            pair[1] = a * sin(angle) + b * cos(angle);
        }
}

static void reference(const toy_model *toy, const uint32_t *tokens, int count, double *logits)
{
    static double keys[LAYERS][CONTEXT][KV_HEADS * HEAD], values[LAYERS][CONTEXT][KV_HEADS * HEAD];
    for (int p = 0; p < count; p++) {
        double x[DIM], n[HIDDEN], q[DIM], o[DIM], gate[HIDDEN], up[HIDDEN], y[DIM];
        for (int i = 0; i < DIM; i++)
            x[i] = ((const float *)toy->source.embedding.data)[tokens[p] * DIM + (uint32_t)i];
        for (int l = 0; l < LAYERS; l++) {
            const tmac_source_layer *layer = &toy->layers[l];
            norm(x, layer->attention_norm, DIM, 1e-5, n);
            multiply(&layer->query, n, q);
            multiply(&layer->key, n, keys[l][p]);
            multiply(&layer->value, n, values[l][p]);
            rotate(q, HEADS, p);
            rotate(keys[l][p], KV_HEADS, p);
            for (int h = 0; h < HEADS; h++) {
                int kv = h / (HEADS / KV_HEADS);
                double weight[CONTEXT], total = 0;
                for (int s = 0; s <= p; s++) {
                    weight[s] = 0;
                    for (int d = 0; d < HEAD; d++)
                        weight[s] += q[h * HEAD + d] * keys[l][s][kv * HEAD + d];
                    total += weight[s] = exp(weight[s] / sqrt(HEAD));
                }
                for (int d = 0; d < HEAD; d++) {
                    o[h * HEAD + d] = 0;
                    for (int s = 0; s <= p; s++)
                        o[h * HEAD + d] += weight[s] / total * values[l][s][kv * HEAD + d];
                }
            }
            if (layer->attention_sub_norm) norm(o, layer->attention_sub_norm, DIM, 1e-5, o);
            multiply(&layer->output, o, y);
            for (int i = 0; i < DIM; i++)
                x[i] += y[i];
            norm(x, layer->ffn_norm, DIM, 1e-5, n);
            multiply(&layer->gate, n, gate);
            multiply(&layer->up, n, up);
            for (int i = 0; i < HIDDEN; i++) {
                double g = gate[i];
                gate[i] = (toy->source.activation == TMAC_SILU ? g / (1 + exp(-g))
                           : g > 0                             ? g * g
                                                               : 0) *
                          up[i];
            }
            if (layer->ffn_sub_norm) norm(gate, layer->ffn_sub_norm, HIDDEN, 1e-5, gate);
            multiply(&layer->down, gate, y);
            for (int i = 0; i < DIM; i++)
                x[i] += y[i];
        }
        norm(x, toy->source.final_norm, DIM, 1e-6, n);
        multiply(&toy->source.head, n, logits + p * VOCAB);
    }
}

// ------------------------------------------------------------------------------------------------ runs

typedef struct run_way {
    uint32_t threads, batch;
    tmac_isa isa;
    bool uneven; // workers get shares of very different sizes
} run_way;

static tmac_model *open_toy(const toy_model *toy, const run_way *way, tmac_pool **pool)
{
    tmac_model *model;
    tmac_status status = tmac_pool_new(way->threads, pool);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    static const uint32_t speeds[] = {1, 40, 9, 17, 3};
    if (way->uneven) tmac_pool_set_speeds(*pool, speeds);
    tmac_model_options options = {
        .pool = *pool, .isa = tmac_isa_contained(way->isa), .batch_capacity = 24};
    status = tmac_model_new(&toy->source, &options, &model);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return model;
}

static void run(const toy_model *toy, const run_way *way, tmac_kv kv, const uint32_t *tokens,
                uint32_t count, float *logits)
{
    tmac_pool *pool;
    tmac_model *model = open_toy(toy, way, &pool);
    tmac_session *session;
    cr_assert_eq(tmac_session_new(model, CONTEXT, kv, &session).code, TMAC_OK);
    for (uint32_t at = 0; at < count;) {
        tmac_batch_item items[24];
        uint32_t n = count - at < way->batch ? count - at : way->batch;
        for (uint32_t i = 0; i < n; i++)
            items[i] = (tmac_batch_item){session, tokens[at + i], at + i, true};
        const float *rows;
        tmac_status status = tmac_decode(model, items, n, &rows);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        memcpy(logits + (size_t)at * VOCAB, rows, (size_t)n * VOCAB * sizeof *rows);
        at += n;
    }
    tmac_session_free(session);
    tmac_model_free(model);
    tmac_pool_free(pool);
}

static void make_tokens(uint32_t *tokens, uint32_t count, uint64_t seed)
{
    tmac_random random = {seed};
    for (uint32_t i = 0; i < count; i++)
        tokens[i] = tmac_random_below(&random, VOCAB);
}

static void check_against_reference(tmac_number integers, bool bitnet, const uint32_t groups[4],
                                    double tolerance)
{
    enum { COUNT = 40 };
    static toy_model toy;
    static float logits[COUNT * VOCAB];
    static double want[COUNT * VOCAB];
    uint32_t tokens[COUNT];
    make_toy_of(integers, &toy, 11, bitnet, groups);
    make_tokens(tokens, COUNT, 5);
    run(&toy, &(run_way){1, 1, TMAC_ISA_SCALAR, false}, TMAC_KV_F32, tokens, COUNT, logits);
    reference(&toy, tokens, COUNT, want);
    double error = 0, size = 0;
    for (int i = 0; i < COUNT * VOCAB; i++) {
        error += (logits[i] - want[i]) * (logits[i] - want[i]);
        size += want[i] * want[i];
    }
    cr_assert(sqrt(error / size) < tolerance, "relative error %g", sqrt(error / size));
    free_toy(&toy);
}

Test(decode, float_model_follows_the_definition)
{
    check_against_reference(TMAC_TERNARY, false, (uint32_t[4]){0, 0, 0, 0}, 1e-5);
    check_against_reference(TMAC_TERNARY, true, (uint32_t[4]){0, 0, 0, 0}, 1e-5);
}

// A rounding tie that falls the other way moves a logit by one int8 step somewhere: hence the wider tolerance, which any
// wrong scale, order or mask exceeds by far.
Test(decode, ternary_model_follows_the_definition)
{
    check_against_reference(TMAC_TERNARY, false, (uint32_t[4]){DIM, DIM, DIM, DIM}, 1e-2);
    check_against_reference(TMAC_TERNARY, true, (uint32_t[4]){DIM, DIM, DIM, DIM}, 1e-2);
    check_against_reference(TMAC_TERNARY, true, (uint32_t[4]){32, 32, 32, 32}, 1e-2);
    check_against_reference(TMAC_TERNARY, false, (uint32_t[4]){32, DIM, 0, 7}, 1e-2);
    check_against_reference(TMAC_TERNARY, true, (uint32_t[4]){0, DIM, 32, DIM}, 1e-2);
}

Test(decode, low_bit_models_follow_the_definition)
{
    for (tmac_number integers = TMAC_Q1; integers <= TMAC_Q4; integers++) {
        check_against_reference(integers, false, (uint32_t[4]){32, 32, 32, 32}, 1e-2);
        check_against_reference(integers, true, (uint32_t[4]){DIM, 7, 0, 16}, 1e-2);
    }
}

Test(decode, bits_do_not_depend_on_how_it_runs)
{
    enum { COUNT = 100 };
    static const uint32_t mixes[][4] = {{DIM, DIM, DIM, DIM}, {32, DIM, 0, 7}, {0, 0, 0, 0}};
    static toy_model toy;
    static float want[COUNT * VOCAB], got[COUNT * VOCAB];
    uint32_t tokens[COUNT];
    make_tokens(tokens, COUNT, 9);
    for (size_t m = 0; m < sizeof mixes / sizeof *mixes; m++)
        for (tmac_kv kv = TMAC_KV_F16; kv <= TMAC_KV_INT8; kv++) {
            make_toy(&toy, 3 + m, m != 1, mixes[m]);
            run(&toy, &(run_way){1, 1, TMAC_ISA_SCALAR, false}, kv, tokens, COUNT, want);
            for (int isa = 0; isa < TMAC_ISA_COUNT; isa++) {
                if (!tmac_isa_has(tmac_isa_verified(), (tmac_isa)isa)) continue;
                static const uint32_t threads[] = {1, 3}, batches[] = {1, 5, 24};
                for (int t = 0; t < 2; t++)
                    for (int b = 0; b < 3; b++) {
                        memset(got, 0, sizeof got);
                        run(&toy, &(run_way){threads[t], batches[b], (tmac_isa)isa, false}, kv,
                            tokens, COUNT, got);
                        cr_assert(memcmp(want, got, sizeof want) == 0,
                                  "mix %zu, %s, %u threads, %u at once", m,
                                  tmac_isa_name((tmac_isa)isa), threads[t], batches[b]);
                    }
            }
            free_toy(&toy);
        }
}

// Long enough that one token's attention is cut by blocks of positions: two KV heads among three and five workers.
Test(decode, bits_do_not_depend_on_how_attention_is_cut)
{
    enum { COUNT = 280 };
    static const uint32_t groups[4] = {DIM, DIM, DIM, DIM};
    static toy_model toy;
    static float want[COUNT * VOCAB], got[COUNT * VOCAB];
    uint32_t tokens[COUNT];
    make_tokens(tokens, COUNT, 17);
    make_toy(&toy, 23, true, groups);
    const tmac_isa best = tmac_isa_best(tmac_isa_verified());
    for (tmac_kv kv = TMAC_KV_F16; kv <= TMAC_KV_INT8; kv++) {
        run(&toy, &(run_way){1, 1, best, false}, kv, tokens, COUNT, want);
        static const uint32_t ways[][2] = {{3, 1}, {5, 1}, {3, 3}, {2, 24}};
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            memset(got, 0, sizeof got);
            run(&toy, &(run_way){ways[w][0], ways[w][1], best, w % 2 == 0}, kv, tokens, COUNT, got);
            cr_assert(memcmp(want, got, sizeof want) == 0, "%s: %u threads, %u at once",
                      tmac_kv_name(kv), ways[w][0], ways[w][1]);
        }
    }
    free_toy(&toy);
}

Test(decode, sessions_share_a_batch_without_touching_each_other)
{
    static const uint32_t groups[4] = {DIM, DIM, DIM, DIM};
    static toy_model toy;
    static float alone[2][20 * VOCAB];
    uint32_t tokens[2][20];
    make_toy(&toy, 21, true, groups);
    run_way plain = {2, 1, TMAC_ISA_SCALAR, false};
    for (int s = 0; s < 2; s++) {
        make_tokens(tokens[s], 20, 30 + (uint64_t)s);
        run(&toy, &plain, TMAC_KV_F16, tokens[s], 20, alone[s]);
    }
    tmac_pool *pool;
    tmac_model *model = open_toy(&toy, &plain, &pool);
    tmac_session *sessions[2];
    for (int s = 0; s < 2; s++)
        cr_assert_eq(tmac_session_new(model, 20, TMAC_KV_F16, &sessions[s]).code, TMAC_OK);
    for (uint32_t p = 0; p < 20;
         p += 2) { // two tokens of each, interleaved; logits of the second only
        tmac_batch_item items[4] = {{sessions[0], tokens[0][p], p, false},
                                    {sessions[1], tokens[1][p], p, false},
                                    {sessions[1], tokens[1][p + 1], p + 1, true},
                                    {sessions[0], tokens[0][p + 1], p + 1, true}};
        const float *rows;
        cr_assert_eq(tmac_decode(model, items, 4, &rows).code, TMAC_OK);
        cr_assert(memcmp(rows, alone[1] + (p + 1) * VOCAB, VOCAB * sizeof *rows) == 0);
        cr_assert(memcmp(rows + VOCAB, alone[0] + (p + 1) * VOCAB, VOCAB * sizeof *rows) == 0);
    }
    // Taking tokens back and decoding them again gives the same bits.
    tmac_session_truncate(sessions[0], 13);
    cr_assert_eq(tmac_session_length(sessions[0]), 13);
    for (uint32_t p = 13; p < 20; p++) {
        const float *rows;
        tmac_batch_item item = {sessions[0], tokens[0][p], p, true};
        cr_assert_eq(tmac_decode(model, &item, 1, &rows).code, TMAC_OK);
        cr_assert(memcmp(rows, alone[0] + p * VOCAB, VOCAB * sizeof *rows) == 0);
    }
    // What cannot be right is refused, and changes nothing.
    tmac_batch_item wrong[] = {{sessions[0], 0, 20, true},     // full
                               {sessions[1], VOCAB, 20, true}, // no such token
                               {sessions[1], 0, 19, true},     // out of order
                               {NULL, 0, 0, true}};
    for (int i = 0; i < 4; i++)
        cr_assert_eq(tmac_decode(model, &wrong[i], 1, NULL).code, TMAC_USAGE);
    cr_assert_eq(tmac_decode(model, wrong, 25, NULL).code, TMAC_USAGE);
    cr_assert_eq(tmac_session_length(sessions[0]), 20);
    tmac_session *none;
    cr_assert_eq(tmac_session_new(model, CONTEXT + 1, TMAC_KV_F16, &none).code, TMAC_USAGE);
    for (int s = 0; s < 2; s++)
        tmac_session_free(sessions[s]);
    tmac_model_free(model);
    tmac_pool_free(pool);
    free_toy(&toy);
}

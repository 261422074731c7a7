// Architectures beyond plain llama and bitnet: biases, norms of heads, low-rank corrections and scaled RoPE, against a plain
// double-precision transformer that shares no code with the runtime, and through TM2.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/tmac.h"
#include "tests/unit/tiny.h"

enum { TOKENS = 24, WIDEST = 160, POSITIONS = 96 };

// ------------------------------------------------------------------------------------------------------ the reference

// y = W x (+ U V' x): integer weights read activations rounded to int8 by absmax.
static void multiply(const tmac_matrix *m, const tmac_low_rank *low, const double *x, double *y)
{
    double largest = 1e-5, *q = malloc(m->columns * sizeof *q);
    int8_t *codes = malloc(m->columns);
    float *values = malloc(m->columns * sizeof *values);
    bool integer = m->number >= TMAC_TERNARY;
    for (uint32_t c = 0; c < m->columns; c++)
        largest = fmax(largest, fabs(x[c]));
    for (uint32_t c = 0; c < m->columns; c++)
        q[c] = integer ? nearbyint(x[c] * 127 / largest) * largest / 127 : x[c];
    for (uint32_t r = 0; r < m->rows; r++) {
        if (integer)
            m->read_codes(m, r, 1, codes);
        else
            m->read_float(m, r, 1, values);
        y[r] = 0;
        for (uint32_t c = 0; c < m->columns; c++)
            y[r] += q[c] * (integer ? (double)codes[c] * (double)m->scales[0] : (double)values[c]);
        for (uint32_t k = 0; low && k < low->rank; k++) {
            double inner = 0;
            for (uint32_t c = 0; c < m->columns; c++)
                inner += (double)low->down[k * m->columns + c] * x[c];
            y[r] += (double)low->up[r * low->rank + k] * inner;
        }
    }
    free(q);
    free(codes);
    free(values);
}

static void norm(const double *x, const float *weight, uint32_t n, double epsilon, double *out)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    for (uint32_t i = 0; i < n; i++)
        out[i] = x[i] / sqrt(sum / n + epsilon) * (double)weight[i];
}

// The frequency of a pair under the scalings as their papers give them, for a factor of 4 and a quarter of the context.
static double frequency(const tmac_source *s, const char *rope, uint32_t i)
{
    double n = s->head_dim, f = pow((double)s->rope_theta, -2.0 * i / n),
           original = s->context / 4.0;
    if (strcmp(rope, "linear") == 0) return f / 4;
    if (strcmp(rope, "llama3") == 0) {
        double wave = 2 * M_PI / f;
        if (wave < original / 4) return f;
        if (wave > original) return f / 4;
        double smooth = (original / wave - 1) / 3;
        return (1 - smooth) * f / 4 + smooth * f;
    }
    if (strcmp(rope, "yarn") == 0) {
        double theta = log((double)s->rope_theta);
        double low = floor(n * log(original / (32 * 2 * M_PI)) / (2 * theta));
        double high = ceil(n * log(original / (2 * M_PI)) / (2 * theta));
        low = low < 0 ? 0 : low;
        double keep = 1 - fmin(1, fmax(0, (i - low) / fmax(0.001, high - low)));
        return f / 4 * (1 - keep) + f * keep;
    }
    return f;
}

static void rotate(const tmac_source *s, const char *rope, double *x, uint32_t heads, int position)
{
    double magnitude = strcmp(rope, "yarn") == 0 ? 1 + 0.1 * log(4) : 1;
    for (uint32_t h = 0; h < heads; h++)
        for (uint32_t i = 0; i < s->head_dim / 2; i++) {
            double angle = position * frequency(s, rope, i), *pair = x + h * s->head_dim + 2 * i;
            double a = pair[0], b = pair[1];
            pair[0] = magnitude * (a * cos(angle) - b * sin(angle));
            pair[1] = magnitude * (a * sin(angle) + b * cos(angle));
        }
}

// Projection, bias, norm of every head.
static void project(const tmac_source *s, const tmac_source_layer *layer, int part,
                    const tmac_matrix *m, const float *head_norm, const double *x, double *y)
{
    multiply(m, &layer->extras.low[part], x, y);
    for (uint32_t i = 0; layer->extras.bias[part] && i < m->rows; i++)
        y[i] += (double)layer->extras.bias[part][i];
    for (uint32_t h = 0; head_norm && h < m->rows; h += s->head_dim)
        norm(y + h, head_norm, s->head_dim, (double)s->norm_epsilon, y + h);
}

static void attend(const tmac_source *s, const double *q, double (*keys)[WIDEST],
                   double (*values)[WIDEST], int positions, double *out)
{
    for (uint32_t h = 0; h < s->heads; h++) {
        uint32_t kv = h / (s->heads / s->kv_heads) * s->head_dim, at = h * s->head_dim;
        double weight[POSITIONS], total = 0;
        for (int p = 0; p < positions; p++) {
            weight[p] = 0;
            for (uint32_t d = 0; d < s->head_dim; d++)
                weight[p] += q[at + d] * keys[p][kv + d];
            total += weight[p] = exp(weight[p] / sqrt(s->head_dim));
        }
        for (uint32_t d = 0; d < s->head_dim; d++) {
            out[at + d] = 0;
            for (int p = 0; p < positions; p++)
                out[at + d] += weight[p] / total * values[p][kv + d];
        }
    }
}

static void ffn(const tmac_source *s, const tmac_source_layer *layer, double *x)
{
    double n[WIDEST], gate[WIDEST], up[WIDEST], y[WIDEST];
    norm(x, layer->ffn_norm, s->dim, (double)s->norm_epsilon, n);
    multiply(&layer->gate, &layer->extras.low[4], n, gate);
    multiply(&layer->up, &layer->extras.low[5], n, up);
    for (uint32_t i = 0; i < s->hidden; i++) {
        double g = gate[i];
        gate[i] = up[i] * (s->activation == TMAC_SILU ? g / (1 + exp(-g)) : g > 0 ? g * g : 0);
    }
    if (layer->ffn_sub_norm)
        norm(gate, layer->ffn_sub_norm, s->hidden, (double)s->norm_epsilon, gate);
    multiply(&layer->down, &layer->extras.low[6], gate, y);
    for (uint32_t i = 0; i < s->dim; i++)
        x[i] += y[i];
}

static void reference(const tmac_source *s, const char *rope, const uint32_t *tokens,
                      double *logits)
{
    static double keys[4][POSITIONS][WIDEST], values[4][POSITIONS][WIDEST];
    for (int p = 0; p < TOKENS; p++) {
        double x[WIDEST], n[WIDEST], q[WIDEST], o[WIDEST], y[WIDEST];
        float row[WIDEST];
        s->embedding.read_float(&s->embedding, tokens[p], 1, row);
        for (uint32_t i = 0; i < s->dim; i++)
            x[i] = (double)row[i];
        for (uint32_t l = 0; l < s->layer_count; l++) {
            const tmac_source_layer *layer = &s->layers[l];
            norm(x, layer->attention_norm, s->dim, (double)s->norm_epsilon, n);
            project(s, layer, 0, &layer->query, layer->extras.query_norm, n, q);
            project(s, layer, 1, &layer->key, layer->extras.key_norm, n, keys[l][p]);
            project(s, layer, 2, &layer->value, NULL, n, values[l][p]);
            rotate(s, rope, q, s->heads, p);
            rotate(s, rope, keys[l][p], s->kv_heads, p);
            attend(s, q, keys[l], values[l], p + 1, o);
            if (layer->attention_sub_norm)
                norm(o, layer->attention_sub_norm, s->heads * s->head_dim, (double)s->norm_epsilon,
                     o);
            multiply(&layer->output, &layer->extras.low[3], o, y);
            for (uint32_t i = 0; i < s->dim; i++)
                x[i] += y[i];
            ffn(s, layer, x);
        }
        norm(x, s->final_norm, s->dim, (double)s->final_norm_epsilon, n);
        multiply(&s->head, NULL, n, logits + (size_t)p * s->vocab);
    }
}

// ---------------------------------------------------------------------------------------------------------- the cases

static const struct {
    const char *shape, *rope;
} cases[] = {
    {"bias=1", "plain"},
    {"head_norms=1,head_dim=20", "plain"},
    {"rope=linear", "linear"},
    {"rope=llama3", "llama3"},
    {"rope=yarn", "yarn"},
    {"bias=1,rope=yarn", "yarn"},
    {"head_norms=1,head_dim=20,rope=linear", "linear"},
    {"rank=5", "plain"},
    {"bitnet=1,rank=3,bias=1", "plain"},
};

static void run(const tmac_source *source, const uint32_t *tokens, uint32_t batch, uint32_t threads,
                float *logits)
{
    tmac_pool *pool;
    tmac_model *model;
    tmac_session *session;
    cr_assert_eq(tmac_pool_new(threads, &pool).code, TMAC_OK);
    tmac_model_options options = {.pool = pool, .batch_capacity = 8};
    tmac_status status = tmac_model_new(source, &options, &model);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_assert_eq(tmac_session_new(model, TOKENS, TMAC_KV_F32, &session).code, TMAC_OK);
    for (uint32_t at = 0; at < TOKENS; at += batch) {
        tmac_batch_item items[8];
        const float *rows;
        for (uint32_t i = 0; i < batch; i++)
            items[i] = (tmac_batch_item){session, tokens[at + i], at + i, true};
        status = tmac_decode(model, items, batch, &rows);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        memcpy(logits + (size_t)at * source->vocab, rows,
               (size_t)batch * source->vocab * sizeof *rows);
    }
    tmac_session_free(session);
    tmac_model_free(model);
    tmac_pool_free(pool);
}

Test(convert_extras, follow_the_definition_whatever_the_batch)
{
    uint32_t tokens[TOKENS];
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = i * 37 % 300;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        tmac_source source;
        tiny_open_synthetic(cases[c].shape, &source);
        size_t count = (size_t)TOKENS * source.vocab;
        float *logits = malloc(count * sizeof *logits), *other = malloc(count * sizeof *other);
        double *want = malloc(count * sizeof *want), error = 0, size = 0;
        run(&source, tokens, 1, 1, logits);
        run(&source, tokens, 8, 3, other);
        cr_assert_arr_eq(logits, other, count * sizeof *logits, "%s", cases[c].shape);
        reference(&source, cases[c].rope, tokens, want);
        for (size_t i = 0; i < count; i++) {
            error += ((double)logits[i] - want[i]) * ((double)logits[i] - want[i]);
            size += want[i] * want[i];
        }
        // An int8 tie that falls the other way is one step of 127: anything computed wrongly is off by far more.
        cr_assert(sqrt(error / size) < 2e-2, "%s: relative error %g", cases[c].shape,
                  sqrt(error / size));
        free(logits);
        free(other);
        free(want);
        tmac_source_close(&source);
    }
}

Test(convert_extras, strict_tm2_refuses_them)
{
    for (size_t c = 0; c < sizeof cases / sizeof *cases - 1; c++) {
        tmac_source source;
        char path[64];
        tiny_open_synthetic(cases[c].shape, &source);
        tiny_path(path);
        tmac_status status = tmac_tm2_write(&source, path, true);
        cr_assert_eq(status.code, TMAC_UNSUPPORTED);
        cr_assert(strstr(status.message, "biases, norms of heads"), "%s", status.message);
        unlink(path);
        tmac_source_close(&source);
    }
}

// Through GGUF and back: every vector of it, in neutral order again.
Test(convert_extras, gguf_keeps_them)
{
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        tmac_source source, back;
        char path[64], note[TMAC_NOTE_BYTES];
        uint32_t tokens[TOKENS] = {7, 3, 290};
        tiny_open_synthetic(cases[c].shape, &source);
        tiny_path(path);
        tmac_status status = tmac_gguf_write(&source, path, "f32", note);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        status = tmac_source_open(path, NULL, &back);
        cr_assert_eq(status.code, TMAC_OK, "%s: %s", cases[c].shape, status.message);
        // A qwen2 with frequencies of its own is written as a llama with biases.
        memcpy(back.architecture, source.architecture, sizeof back.architecture);
        tiny_assert_same(&source, &back, true);
        size_t bytes = (size_t)TOKENS * source.vocab * sizeof(float);
        float *left = malloc(bytes), *right = malloc(bytes);
        run(&source, tokens, 8, 1, left);
        run(&back, tokens, 8, 1, right);
        cr_assert_arr_eq(left, right, bytes, "%s", cases[c].shape);
        free(left);
        free(right);
        unlink(path);
        tmac_source_close(&source);
        tmac_source_close(&back);
    }
}

// llama.cpp has a tensor of frequencies for llama alone, which has no norms of heads.
Test(convert_extras, gguf_refuses_what_it_cannot_say)
{
    static const char *const shapes[] = {"head_norms=1,head_dim=20,rope=yarn",
                                         "head_norms=1,head_dim=20,rope=llama3",
                                         "bitnet=1,rope=llama3"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        tmac_source source;
        char path[64], note[TMAC_NOTE_BYTES];
        tiny_path(path);
        tiny_open_synthetic(shapes[i], &source);
        tmac_status status = tmac_gguf_write(&source, path, "f32", note);
        cr_assert(strstr(status.message, "no architecture that computes the same"), "%s: %s",
                  shapes[i], status.message);
        tmac_source_close(&source);
        unlink(path);
    }
}

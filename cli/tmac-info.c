// tmac-info: what a model or vocabulary file holds.
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "convert/convert.h"
#include "runtime/extras.h"

enum { PARTS = 7, TEXT = 128 };

static bool json_wanted, matrices_wanted;

static const char *number_name(tmac_number number)
{
    static const char *const names[] = {
        [TMAC_F32] = "f32", [TMAC_F16] = "f16", [TMAC_BF16] = "bf16", [TMAC_TERNARY] = "ternary",
        [TMAC_Q1] = "q1",   [TMAC_Q2] = "q2",   [TMAC_Q3] = "q3",     [TMAC_Q4] = "q4"};
    return names[number];
}

static const char *scales_name(const tmac_matrix *matrix)
{
    if (!tmac_number_is_integer(matrix->number)) return "none";
    if (matrix->scale_count == 1) return "tensor";
    return matrix->scale_count == matrix->rows && matrix->group == matrix->columns ? "row"
                                                                                   : "group";
}

static void list_parts(const tmac_source_layer *layer, const tmac_matrix *parts[PARTS])
{
    const tmac_matrix *all[PARTS] = {&layer->query, &layer->key, &layer->value, &layer->output,
                                     &layer->gate,  &layer->up,  &layer->down};
    memcpy(parts, all, sizeof all);
}

// Weights and bits of a kind of number, over all matrices.
typedef struct tally {
    uint64_t weights[TMAC_Q4 + 1];
    float smallest, largest; // scales
} tally;

static void count_matrix(tally *t, const tmac_matrix *matrix)
{
    t->weights[matrix->number] += (uint64_t)matrix->rows * matrix->columns;
    for (uint32_t i = 0; tmac_number_is_integer(matrix->number) && i < matrix->scale_count; i++) {
        float scale = fabsf(matrix->scales[i]);
        if (scale < t->smallest) t->smallest = scale;
        if (scale > t->largest) t->largest = scale;
    }
}

static tally count(const tmac_source *source)
{
    tally t = {.smallest = INFINITY};
    count_matrix(&t, &source->embedding);
    if (!source->tied_head) count_matrix(&t, &source->head);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_matrix *parts[PARTS];
        list_parts(&source->layers[l], parts);
        for (int p = 0; p < PARTS; p++)
            count_matrix(&t, parts[p]);
    }
    return t;
}

static const char *extras_of(const tmac_source *source, char text[TEXT])
{
    const tmac_source_layer *layer = &source->layers[0];
    uint32_t rank = 0;
    for (int p = 0; p < PARTS; p++)
        if (layer->extras.low[p].rank > rank) rank = layer->extras.low[p].rank;
    char low[48] = "";
    if (rank) snprintf(low, sizeof low, ", corrections of rank %u", rank);
    snprintf(text, TEXT, "%s%s%s%s%s", layer->attention_sub_norm ? ", sub-norms" : "",
             layer->extras.bias[0] ? ", biases of q, k and v" : "",
             layer->extras.query_norm ? ", norms of heads" : "", low,
             source->rope_divisors ? ", scaled RoPE" : "");
    return *text ? text + 2 : "none";
}

// ------------------------------------------------------------------------------------------------------------ text

static void print_matrix(const tmac_matrix *matrix)
{
    printf("  %-24s %6u x %-6u %s", matrix->name, matrix->rows, matrix->columns,
           number_name(matrix->number));
    if (tmac_number_is_integer(matrix->number))
        printf(", %s scale%s", scales_name(matrix), matrix->scale_count == 1 ? "" : "s");
    if (matrix->scale_count == 1) printf(" %g", (double)matrix->scales[0]);
    putchar('\n');
}

static void print_vocabulary(const tmac_vocabulary *v)
{
    if (v->size == 0)
        printf("vocabulary    none inside\n");
    else
        printf("vocabulary    %u pieces, BOS %d%s, EOS %d\n", v->size, v->bos,
               v->add_bos ? " (put first)" : "", v->eos);
}

static void print_text(const tmac_source *source)
{
    char text[TEXT];
    tally t = count(source);
    printf("format        %s\n", source->format);
    printf("architecture  %s, %s\n", source->architecture,
           source->activation == TMAC_RELU2 ? "squared ReLU" : "SiLU");
    printf("beyond llama  %s\n", extras_of(source, text));
    printf("shape         dim %u, hidden %u, %u layers, %u heads of %u (%u for keys and values)\n",
           source->dim, source->hidden, source->layer_count, source->heads, source->head_dim,
           source->kv_heads);
    printf("context       %u, RoPE base %g\n", source->context, (double)source->rope_theta);
    printf("norms         epsilon %g, the last %g\n", (double)source->norm_epsilon,
           (double)source->final_norm_epsilon);
    printf("head          %s, %u x %u %s\n",
           source->tied_head ? "the embedding" : "a matrix of its own", source->head.rows,
           source->head.columns, number_name(source->head.number));
    uint64_t all = 0;
    for (int n = TMAC_F32; n <= TMAC_Q4; n++)
        all += t.weights[n];
    printf("weights       %llu", (unsigned long long)all);
    for (int n = TMAC_F32; n <= TMAC_Q4; n++)
        if (t.weights[n])
            printf(", %llu %s", (unsigned long long)t.weights[n], number_name((tmac_number)n));
    if (isfinite(t.smallest)) printf("; scales %g to %g", (double)t.smallest, (double)t.largest);
    putchar('\n');
    print_vocabulary(&source->vocabulary);
    if (!matrices_wanted) return;
    print_matrix(&source->embedding);
    if (!source->tied_head) print_matrix(&source->head);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_matrix *parts[PARTS];
        list_parts(&source->layers[l], parts);
        for (int p = 0; p < PARTS; p++)
            print_matrix(parts[p]);
    }
}

// ------------------------------------------------------------------------------------------------------------ JSON

static void append_matrix(json_t *list, const tmac_matrix *matrix)
{
    json_array_append_new(list, json_pack("{s:s,s:I,s:I,s:s,s:s,s:I}", "name", matrix->name, "rows",
                                          (json_int_t)matrix->rows, "columns",
                                          (json_int_t)matrix->columns, "number",
                                          number_name(matrix->number), "scales",
                                          scales_name(matrix), "group", (json_int_t)matrix->group));
}

static json_t *vocabulary_json(const tmac_vocabulary *v)
{
    return v->size ? json_pack("{s:I,s:I,s:I,s:b}", "size", (json_int_t)v->size, "bos",
                               (json_int_t)v->bos, "eos", (json_int_t)v->eos, "add_bos", v->add_bos)
                   : json_null();
}

static json_t *model_json(const tmac_source *source)
{
    char text[TEXT];
    tally t = count(source);
    json_t *weights = json_object(), *list = json_array();
    for (int n = TMAC_F32; n <= TMAC_Q4; n++)
        if (t.weights[n])
            json_object_set_new(weights, number_name((tmac_number)n),
                                json_integer((json_int_t)t.weights[n]));
    append_matrix(list, &source->embedding);
    if (!source->tied_head) append_matrix(list, &source->head);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_matrix *parts[PARTS];
        list_parts(&source->layers[l], parts);
        for (int p = 0; p < PARTS; p++)
            append_matrix(list, parts[p]);
    }
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:b,s:o,s:o,s:o}", "format",
        source->format, "architecture", source->architecture, "activation",
        source->activation == TMAC_RELU2 ? "relu2" : "silu", "extras", extras_of(source, text),
        "dim", (json_int_t)source->dim, "hidden", (json_int_t)source->hidden, "layers",
        (json_int_t)source->layer_count, "heads", (json_int_t)source->heads, "kv_heads",
        (json_int_t)source->kv_heads, "head_dim", (json_int_t)source->head_dim, "vocab",
        (json_int_t)source->vocab, "context", (json_int_t)source->context, "norm_epsilon",
        (double)source->norm_epsilon, "final_norm_epsilon", (double)source->final_norm_epsilon,
        "rope_theta", (double)source->rope_theta, "tied_head", source->tied_head, "weights",
        weights, "vocabulary", vocabulary_json(&source->vocabulary), "matrices", list);
}

static tmac_status print_json(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!text) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    puts(text);
    free(text);
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- files

// A file that is no model may be a vocabulary; when it is neither, what it is not as a model is said.
static tmac_status print_vocabulary_file(const char *path, tmac_status refusal)
{
    tmac_vocabulary vocabulary;
    if (tmac_vocabulary_open(path, 0, &vocabulary).code != TMAC_OK) return refusal;
    tmac_status status = tmac_ok();
    if (json_wanted) {
        status = print_json(json_pack("{s:s,s:o}", "format", "vocabulary", "vocabulary",
                                      vocabulary_json(&vocabulary)));
    } else {
        printf("format        vocabulary, no model\n");
        print_vocabulary(&vocabulary);
    }
    tmac_vocabulary_free(&vocabulary);
    return status;
}

static tmac_status print_file(const char *path, const tmac_open_options *options)
{
    tmac_source source;
    tmac_status status = tmac_source_open(path, options, &source);
    if (status.code == TMAC_BAD_FILE) return print_vocabulary_file(path, status);
    if (status.code != TMAC_OK) return status;
    if (json_wanted)
        status = print_json(model_json(&source));
    else
        print_text(&source);
    tmac_source_close(&source);
    if (status.code == TMAC_OK && fflush(stdout))
        status = tmac_fail(TMAC_IO, "cannot write: %s", strerror(errno));
    return status;
}

int main(int argc, char **argv)
{
    const char *bit_order = NULL, *base3 = NULL, *layout = NULL;
    tmac_open_options open = {.defer_checks = true};
    const tmac_option options[] = {
        {'m', "matrices", TMAC_OPTION_FLAG, &matrices_wanted, NULL, "list every matrix"},
        {0, "json", TMAC_OPTION_FLAG, &json_wanted, NULL, "print one JSON object"},
        {'z', "tokenizer", TMAC_OPTION_STRING, &open.tokenizer, "FILE",
         "take the vocabulary from this file"},
        {0, "bit-order", TMAC_OPTION_STRING, &bit_order, "msb|lsb", "as in tmac-convert"},
        {0, "base3", TMAC_OPTION_STRING, &base3, "rows|flat|none", "as in tmac-convert"},
        {0, "i2s-layout", TMAC_OPTION_STRING, &layout, "canonical|neon64|x86x4",
         "as in tmac-convert"},
        {0},
    };
    const tmac_program program = {
        .name = "tmac-info",
        .purpose = "say what a model or vocabulary file holds",
        .operands = "FILE",
        .operands_min = 1,
        .operands_max = 1,
        .details = "FILE is anything tmac-convert reads, or a vocabulary alone.",
        .options = options,
    };
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    tmac_status status = tmac_bit_order_parse(bit_order, &open.bit_order);
    if (status.code == TMAC_OK) status = tmac_base3_parse(base3, &open.base3);
    if (status.code == TMAC_OK) status = tmac_i2s_layout_parse(layout, &open.i2s_layout);
    if (status.code == TMAC_OK) status = print_file(operands[0], &open);
    return tmac_report(&program, status);
}

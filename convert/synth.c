// Models of random weights at real shapes: for measuring speed where no trained weights are at hand, and for tests.
//
// A synthetic model is a tmac_source whose matrices are generated when their rows are read, so that writing one takes no
// more memory than converting one. Every row starts its own generator from (seed, matrix, row): the numbers do not
// depend on how rows are cut into chunks.
//
// Weights: each random byte below 243 gives five codes of equal odds, the rest of the bytes start over at 0, which
// favours one pattern by a part in 256. Scale 1.22 / sqrt(K), as a third of the weights is zero: outputs of a matrix
// then vary about as its inputs do. Weights of one to four bits are the low bits of random bytes, at a scale chosen the
// same way; scale groups differ from it by up to a half.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "convert/convert.h"
#include "convert/neutral.h"
#include "convert/readers.h"
#include "convert/synth_extras.h"
#include "convert/writers.h"
#include "runtime/half.h"

// ---------------------------------------------------------------------------------------------------------- shapes

static const struct {
    const char *name;
    tmac_synth_shape shape;
} shapes[] = {
    //                   dim   hidden layers heads kv   vocab  context bitnet bf16   tied   RoPE base, weights, group
    {"tiny-bitnet", {64, 172, 2, 4, 2, 300, 128, true, false, true, 10000, TMAC_TERNARY, 0, {0}}},
    {"tiny-llama", {48, 100, 3, 6, 3, 300, 96, false, false, false, 10000, TMAC_TERNARY, 0, {0}}},
    {"stories15m",
     {288, 768, 6, 6, 6, 32000, 256, false, false, true, 10000, TMAC_TERNARY, 0, {0}}},
    {"stories110m",
     {768, 2048, 12, 12, 12, 32000, 1024, false, false, true, 10000, TMAC_TERNARY, 0, {0}}},
    {"bitnet-700m",
     {1536, 4096, 24, 16, 16, 32002, 2048, true, true, true, 10000, TMAC_TERNARY, 0, {0}}},
    {"bitnet-3b",
     {3200, 8640, 26, 32, 32, 32002, 2048, true, true, true, 10000, TMAC_TERNARY, 0, {0}}},
    {"bitnet-2b-4t",
     {2560, 6912, 30, 20, 5, 128256, 4096, true, true, true, 500000, TMAC_TERNARY, 0, {0}}},
    {"falcon3-1b",
     {2048, 8192, 18, 8, 4, 131072, 4096, false, true, false, 1000042, TMAC_TERNARY, 0, {0}}},
    {"falcon3-3b",
     {3072, 9216, 22, 12, 4, 131072, 8192, false, true, false, 1000042, TMAC_TERNARY, 0, {0}}},
    {"llama3-8b",
     {4096, 14336, 32, 32, 8, 128256, 8192, false, true, false, 500000, TMAC_TERNARY, 0, {0}}},
};

static tmac_status unknown_shape(const char *text)
{
    char names[256] = "";
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", shapes[i].name);
    }
    return tmac_fail(
        TMAC_USAGE,
        "shape %s is not known; known are %s (a name may be followed by ,NAME=VALUE,..), or "
        "dim=..,hidden=..,layers=..,heads=..[,kv_heads=..,vocab=..,context=..,bitnet=0|1,bf16=0|1,"
        "tied=0|1,theta=..,"
        "weights=t|q1|q2|q3|q4,group=..,bias=0|1,head_norms=0|1,rank=..,head_dim=..,"
        "rope=plain|linear|llama3|yarn]",
        text, names);
}

// weights=t, q1, ... q4: false when the field is something else.
static bool parse_weights(const char *field, tmac_synth_shape *shape)
{
    static const char *const names[] = {"weights=t", "weights=q1", "weights=q2", "weights=q3",
                                        "weights=q4"};
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(field, names[i]) != 0) continue;
        shape->weights = (tmac_number)(TMAC_TERNARY + i);
        return true;
    }
    return false;
}

// rope=plain, ...: false when the field is something else.
static bool parse_rope(const char *field, tmac_synth_shape *shape)
{
    static const char *const names[] = {"rope=plain", "rope=linear", "rope=llama3", "rope=yarn"};
    for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(field, names[i]) != 0) continue;
        shape->extras.rope = i;
        return true;
    }
    return false;
}

static tmac_status parse_field(char *field, tmac_synth_shape *shape)
{
    if (parse_weights(field, shape) || parse_rope(field, shape)) return tmac_ok();
    uint32_t flags[] = {shape->bitnet, shape->bf16_head, shape->tied, shape->extras.bias,
                        shape->extras.head_norms},
             theta = 0;
    const struct {
        const char *name;
        uint32_t *value, bound;
    } fields[] = {
        {"dim", &shape->dim, INT32_MAX},
        {"hidden", &shape->hidden, INT32_MAX},
        {"layers", &shape->layers, INT32_MAX},
        {"heads", &shape->heads, INT32_MAX},
        {"kv_heads", &shape->kv_heads, INT32_MAX},
        {"vocab", &shape->vocab, INT32_MAX},
        {"context", &shape->context, INT32_MAX},
        {"bitnet", &flags[0], 1},
        {"bf16", &flags[1], 1},
        {"tied", &flags[2], 1},
        {"theta", &theta, 1u << 30},
        {"group", &shape->group, INT32_MAX},
        {"bias", &flags[3], 1},
        {"head_norms", &flags[4], 1},
        {"rank", &shape->extras.rank, INT32_MAX},
        {"head_dim", &shape->extras.head_dim, INT32_MAX},
    };
    char *equals = strchr(field, '=');
    for (size_t i = 0; equals && i < sizeof fields / sizeof *fields; i++) {
        size_t length = (size_t)(equals - field);
        if (strlen(fields[i].name) != length || strncmp(field, fields[i].name, length) != 0)
            continue;
        char *end;
        unsigned long value = strtoul(equals + 1, &end, 10);
        if (equals[1] < '0' || equals[1] > '9' || *end || value > fields[i].bound) break;
        *fields[i].value = (uint32_t)value;
        shape->bitnet = flags[0] != 0;
        shape->bf16_head = flags[1] != 0;
        shape->tied = flags[2] != 0;
        shape->extras.bias = flags[3] != 0;
        shape->extras.head_norms = flags[4] != 0;
        if (theta != 0) shape->rope_theta = (float)theta;
        return tmac_ok();
    }
    return tmac_fail(
        TMAC_USAGE, "--shape: %s is not NAME=VALUE with a name and a value that make sense", field);
}

static tmac_status parse_fields(const char *text, tmac_synth_shape *shape)
{
    char copy[256];
    if (strlen(text) >= sizeof copy) return unknown_shape(text);
    strcpy(copy, text);
    char *rest = copy;
    for (char *field; (field = strsep(&rest, ","));)
        TMAC_TRY(parse_field(field, shape));
    return tmac_ok();
}

tmac_status tmac_synth_parse(const char *text, tmac_synth_shape *shape)
{
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t length = strlen(shapes[i].name);
        if (strncmp(text, shapes[i].name, length) != 0) continue;
        if (text[length] != '\0' && text[length] != ',') continue;
        *shape = shapes[i].shape;
        return text[length] ? parse_fields(text + length + 1, shape) : tmac_ok();
    }
    if (!strchr(text, '=')) return unknown_shape(text);
    *shape = (tmac_synth_shape){.vocab = 512,
                                .context = 256,
                                .bitnet = true,
                                .tied = true,
                                .rope_theta = 10000,
                                .weights = TMAC_TERNARY};
    TMAC_TRY(parse_fields(text, shape));
    if (shape->kv_heads == 0) shape->kv_heads = shape->heads;
    if (shape->dim == 0 || shape->hidden == 0 || shape->layers == 0 || shape->heads == 0)
        return tmac_fail(TMAC_USAGE, "--shape needs dim, hidden, layers and heads at least");
    if (shape->dim % shape->heads != 0)
        return tmac_fail(TMAC_USAGE, "--shape: dim %u is not a multiple of heads %u", shape->dim,
                         shape->heads);
    return tmac_ok();
}

// -------------------------------------------------------------------------------------------------------- numbers

typedef struct generator { // what tmac_matrix.data points to
    uint64_t seed;
    uint8_t codes[256][8]; // five codes for each byte, padded to one store
} generator;

static tmac_random row_random(const tmac_matrix *matrix, uint32_t row)
{
    const generator *g = matrix->data;
    tmac_random random = {g->seed ^ (uint64_t)matrix->detail << 40};
    random.state = tmac_random_next(&random) + row;
    random.state = tmac_random_next(&random);
    return random;
}

static void random_codes(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const generator *g = matrix->data;
    for (uint32_t r = 0; r < count; r++, codes += matrix->columns) {
        tmac_random random = row_random(matrix, first + r);
        uint32_t c = 0;
        while (c < matrix->columns) {
            uint64_t bits = tmac_random_next(&random);
            for (int byte = 0; byte < 8 && c < matrix->columns; byte++, bits >>= 8, c += 5) {
                const uint8_t *five = g->codes[bits & 0xff];
                uint32_t left = matrix->columns - c;
                if (left >= 8)
                    memcpy(codes + c, five, 8); // of which five count
                else
                    memcpy(codes + c, five, left < 5 ? left : 5);
            }
        }
    }
}

// Codes of one to four bits, a byte each: its lowest bits.
static void random_bits(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    int bits = (int)(matrix->number - TMAC_Q1) + 1, step = bits == 1 ? 2 : 1;
    for (uint32_t r = 0; r < count; r++) {
        tmac_random random = row_random(matrix, first + r);
        uint64_t bytes = 0;
        for (uint32_t c = 0; c < matrix->columns; c++, bytes >>= 8) {
            if (c % 8 == 0) bytes = tmac_random_next(&random);
            int code = (int)(bytes & ((1u << bits) - 1));
            *codes++ = (int8_t)(code * step - (1 << (bits - 1)));
        }
    }
}

// Sums of four bytes: nearly normal, variance 4 * (256^2 - 1) / 12, so that 1/148 makes it 1. Exact in bf16 after the
// rounding below, whatever the file's format.
static void random_floats(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    for (uint32_t r = 0; r < count; r++) {
        tmac_random random = row_random(matrix, first + r);
        for (uint32_t c = 0; c < matrix->columns; c += 2) {
            uint64_t bits = tmac_random_next(&random);
            for (uint32_t half = 0; half < 2 && c + half < matrix->columns; half++, bits >>= 32) {
                uint32_t pairs =
                    ((uint32_t)bits & 0x00ff00ffu) + ((uint32_t)bits >> 8 & 0x00ff00ffu);
                float value =
                    ((float)((pairs & 0xffffu) + (pairs >> 16)) - 510.0f) * (1.0f / 148.0f);
                *values++ = tmac_float_of_bits(tmac_bits_of_float(value) & 0xffff0000u);
            }
        }
    }
}

static generator *make_generator(tmac_source *source, uint64_t seed)
{
    generator *g = tmac_source_take(source, sizeof *g);
    if (!g) return NULL;
    g->seed = seed;
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t digits = byte % 243;
        for (int i = 0; i < 5; i++, digits /= 3)
            g->codes[byte][i] = (uint8_t)(int8_t)((int)(digits % 3) - 1);
    }
    return g;
}

// ---------------------------------------------------------------------------------------------------- vocabulary

// Special pieces and bytes as sentencepiece has them, then syllables: noise that can be read.
static tmac_status make_vocabulary(tmac_source *source)
{
    enum { TEXT = 16, FIRST_BYTE = 3, FIRST_WORD = FIRST_BYTE + 256 };
    static const char *const specials[FIRST_BYTE] = {"<unk>", "<s>", "</s>"};
    static const char consonants[] = "bdfghklmnprstvwz", vowels[] = "aeiou";
    char *text;
    TMAC_TRY(tmac_vocabulary_take(&source->vocabulary, source->vocab, (size_t)source->vocab * TEXT,
                                  &text));
    tmac_vocabulary *vocabulary = &source->vocabulary;
    for (uint32_t i = 0; i < source->vocab; i++, text += TEXT) {
        tmac_piece *piece = &vocabulary->pieces[i];
        piece->kind = i == 0           ? TMAC_PIECE_UNKNOWN
                      : i < FIRST_BYTE ? TMAC_PIECE_CONTROL
                                       : TMAC_PIECE_NORMAL;
        if (i < FIRST_BYTE) {
            snprintf(text, TEXT, "%s", specials[i]);
        } else if (i < FIRST_WORD) {
            piece->kind = TMAC_PIECE_BYTE;
            snprintf(text, TEXT, "<0x%02X>", i - FIRST_BYTE);
        } else { // a space before every other one, then the number in syllables: no two alike
            uint32_t number = (i - FIRST_WORD) / 2;
            char *end = text;
            if (i % 2) *end++ = ' ';
            do {
                *end++ = consonants[number % 16];
                *end++ = vowels[number / 16 % 5];
                number /= 80;
            } while (number);
        }
        piece->text = text;
        piece->bytes = (uint32_t)strlen(text);
        piece->score = i < FIRST_WORD ? 0.0f : -(float)(i - FIRST_WORD);
    }
    vocabulary->unknown = 0;
    vocabulary->bos = source->vocab > 1 ? 1 : -1;
    vocabulary->eos = source->vocab > 2 ? 2 : -1;
    vocabulary->add_bos = vocabulary->add_space_prefix = true;
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- model

static void make_table(const tmac_source *source, const generator *g, const char *name, uint32_t id,
                       bool bf16, tmac_matrix *matrix)
{
    *matrix = (tmac_matrix){.name = name,
                            .number = bf16 ? TMAC_BF16 : TMAC_F32,
                            .rows = source->vocab,
                            .columns = source->dim,
                            .read_float = random_floats,
                            .data = g,
                            .detail = id};
}

// One scale for the tensor, or scales of groups between half and one and a half of it.
static tmac_status make_scales(tmac_source *source, uint32_t group, tmac_matrix *matrix)
{
    // 1 / the root mean square of the codes, all of equal odds.
    static const float unit[] = {[TMAC_TERNARY] = 1.22f,
                                 [TMAC_Q1] = 1.0f,
                                 [TMAC_Q2] = 0.816f,
                                 [TMAC_Q3] = 0.426f,
                                 [TMAC_Q4] = 0.216f};
    float scale = unit[matrix->number] / sqrtf((float)matrix->columns);
    if (group == 0) return tmac_matrix_tensor_scale(source, matrix, scale);
    matrix->group = group < matrix->columns ? group : matrix->columns;
    uint64_t count = ((uint64_t)matrix->columns + matrix->group - 1) / matrix->group * matrix->rows;
    if (count > UINT32_MAX)
        return tmac_fail(TMAC_USAGE, "--shape: groups of %u are too many for %u x %u weights",
                         group, matrix->rows, matrix->columns);
    float *scales = tmac_source_take(source, (size_t)count * sizeof *scales);
    if (!scales) return tmac_no_memory();
    tmac_random random = row_random(matrix, matrix->rows); // of no row
    for (uint64_t i = 0; i < count; i++)
        scales[i] = scale * (0.5f + (float)tmac_random_below(&random, 1025) / 1024.0f);
    matrix->scales = scales;
    matrix->scale_count = (uint32_t)count;
    return tmac_ok();
}

static tmac_status make_layer(tmac_source *source, const generator *g,
                              const tmac_synth_shape *shape, uint32_t index, const float *narrow,
                              const float *wide)
{
    tmac_source_layer *layer = &source->layers[index];
    for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
        tmac_part_of_layer part = (tmac_part_of_layer)p;
        TMAC_TRY(tmac_layer_part_shape(source, index, part));
        tmac_matrix *matrix = tmac_layer_part(source, index, part);
        matrix->number = shape->weights == TMAC_F32 ? TMAC_TERNARY : shape->weights;
        matrix->read_codes = matrix->number == TMAC_TERNARY ? random_codes : random_bits;
        matrix->data = g;
        matrix->detail = 2 + index * TMAC_LAYER_MATRICES + (uint32_t)p;
        TMAC_TRY(make_scales(source, shape->group, matrix));
    }
    layer->attention_norm = layer->ffn_norm = narrow;
    layer->attention_sub_norm = shape->bitnet ? wide : NULL;
    layer->ffn_sub_norm = shape->bitnet ? wide : NULL;
    return tmac_synth_extras_make(source, index, &shape->extras, g->seed);
}

static tmac_status make_model(const tmac_synth_shape *shape, uint64_t seed, tmac_source *source)
{
    source->dim = shape->dim;
    source->hidden = shape->hidden;
    source->layer_count = shape->layers;
    source->heads = shape->heads;
    source->kv_heads = shape->kv_heads;
    source->vocab = shape->vocab;
    source->context = shape->context;
    if (shape->heads == 0 || shape->dim % shape->heads != 0)
        return tmac_fail(TMAC_USAGE, "dim %u is not a multiple of heads %u", shape->dim,
                         shape->heads);
    source->head_dim = source->rope_dims =
        shape->extras.head_dim ? shape->extras.head_dim : shape->dim / shape->heads;
    source->rope_theta = shape->rope_theta;
    source->tied_head = shape->tied;
    source->activation = shape->bitnet ? TMAC_RELU2 : TMAC_SILU;
    snprintf(source->architecture, sizeof source->architecture, "%s",
             shape->bitnet              ? "bitnet"
             : shape->extras.head_norms ? "qwen3"
             : shape->extras.bias       ? "qwen2"
                                        : "llama");
    TMAC_TRY(tmac_source_check_dimensions(source));
    TMAC_TRY(tmac_source_take_layers(source));

    const float *narrow, *wide; // of ones
    uint32_t queries = source->heads * source->head_dim;
    const generator *g = make_generator(source, seed);
    if (!g) return tmac_no_memory();
    TMAC_TRY(tmac_source_constant(source, 1.0f, shape->dim, &narrow));
    TMAC_TRY(tmac_source_constant(source, 1.0f, queries > shape->hidden ? queries : shape->hidden,
                                  &wide));
    make_table(source, g, "token_embd", 0, shape->bf16_head, &source->embedding);
    source->head = source->embedding;
    if (!shape->tied) make_table(source, g, "output", 1, shape->bf16_head, &source->head);
    source->final_norm = narrow;
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(make_layer(source, g, shape, l, narrow, wide));
    TMAC_TRY(tmac_synth_rope(source, &shape->extras));
    return make_vocabulary(source);
}

// Scales that bf16 holds, as checkpoints of that layout have them.
static void round_scales(tmac_source *source)
{
    for (uint32_t l = 0; l < source->layer_count; l++)
        for (int part = 0; part < TMAC_LAYER_MATRICES; part++) {
            const tmac_matrix *matrix = tmac_layer_part(source, l, (tmac_part_of_layer)part);
            float *scales = (float *)(uintptr_t)matrix->scales; // made above, by us
            for (uint32_t i = 0; i < matrix->scale_count; i++)
                scales[i] = tmac_float_of_bits(tmac_bits_of_float(scales[i]) & 0xffff0000u);
        }
}

static tmac_status write(const tmac_synth_shape *shape, uint64_t seed, const char *path,
                         bool huggingface)
{
    tmac_source source;
    tmac_map nothing = {0};
    char origin[64];
    snprintf(origin, sizeof origin, "random weights, seed %llu", (unsigned long long)seed);
    tmac_source_begin(&source, origin, "tmac-synth", &nothing);
    tmac_status status = make_model(shape, seed, &source);
    if (status.code == TMAC_OK && huggingface) round_scales(&source);
    if (status.code == TMAC_OK)
        status = huggingface ? tmac_huggingface_write(&source, path)
                             : tmac_tm2_write(&source, path, false);
    tmac_source_close(&source);
    return status;
}

tmac_status tmac_synth_write(const tmac_synth_shape *shape, uint64_t seed, const char *path)
{
    return write(shape, seed, path, false);
}

tmac_status tmac_synth_write_huggingface(const tmac_synth_shape *shape, uint64_t seed,
                                         const char *folder)
{
    return write(shape, seed, folder, true);
}

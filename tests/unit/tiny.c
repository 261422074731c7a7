#include "tests/unit/tiny.h"

#include <assert.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/half.h"

enum { PARTS = 7, QUERY = 0, KEY, VALUE, OUTPUT, GATE, UP, DOWN };

void tiny_put(tiny_file *file, const void *data, size_t bytes)
{
    if (file->bytes + bytes > file->room) {
        file->room = 2 * (file->bytes + bytes);
        file->data = realloc(file->data, file->room);
        cr_assert_not_null(file->data);
    }
    memcpy(file->data + file->bytes, data, bytes);
    file->bytes += bytes;
}

void tiny_put_u32(tiny_file *file, uint32_t value)
{
    tiny_put(file, &value, sizeof value);
}

static void put_u64(tiny_file *file, uint64_t value)
{
    tiny_put(file, &value, sizeof value);
}

void tiny_put_f32(tiny_file *file, float value)
{
    tiny_put(file, &value, sizeof value);
}

void tiny_put_byte(tiny_file *file, uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    tiny_put(file, &byte, 1);
}

static void pad(tiny_file *file, size_t alignment)
{
    while (file->bytes % alignment != 0)
        tiny_put_byte(file, 0);
}

void tiny_free(tiny_file *file)
{
    free(file->data);
    memset(file, 0, sizeof *file);
}

// ---------------------------------------------------------------------------------------------------------- model

int tiny_code(const tiny_shape *shape, uint32_t layer, uint32_t part, uint32_t row, uint32_t column)
{
    uint32_t mixed =
        (layer * PARTS + part) * 2654435761u + row * 40503u + column * 69069u + shape->dim;
    mixed ^= mixed >> 15;
    mixed *= 2246822519u;
    mixed ^= mixed >> 13;
    return (int)(mixed % 3) - 1;
}

float tiny_scale(uint32_t layer, uint32_t part)
{
    return 0.25f + 0.125f * (float)(layer * PARTS + part);
}

void tiny_part_size(const tiny_shape *shape, uint32_t part, uint32_t *rows, uint32_t *columns)
{
    uint32_t narrow = shape->dim / shape->heads * shape->kv_heads;
    *columns = part == DOWN ? shape->hidden : shape->dim;
    *rows = part == KEY || part == VALUE ? narrow
            : part == GATE || part == UP ? shape->hidden
                                         : shape->dim;
}

static float embedding(uint32_t index)
{
    return tmac_bf16_to_f32((uint16_t)(0x3f00u + index % 200)) * (index % 2 ? 1.0f : -1.0f);
}

static float norm(uint32_t index)
{
    return 0.5f + (float)(index % 7) * 0.0625f;
}

// A weight of the float model, which is not ternary by any group.
static float loose(uint32_t layer, uint32_t part, uint32_t row, uint32_t column)
{
    return 0.01f * (float)((layer + 3 * part + 5 * row + 11 * column) % 97) - 0.5f;
}

// ------------------------------------------------------------------------------------------------- llama2.c family

static void put_header(tiny_file *file, const tiny_shape *shape, bool own_head)
{
    tiny_put_u32(file, shape->dim);
    tiny_put_u32(file, shape->hidden);
    tiny_put_u32(file, shape->layers);
    tiny_put_u32(file, shape->heads);
    tiny_put_u32(file, shape->kv_heads);
    tiny_put_u32(file, own_head ? 0u - shape->vocab : shape->vocab);
    tiny_put_u32(file, shape->context);
}

static void put_matrices(tiny_file *file, const tiny_shape *shape, uint32_t part, bool ternary)
{
    uint32_t rows, columns;
    tiny_part_size(shape, part, &rows, &columns);
    for (uint32_t l = 0; l < shape->layers; l++)
        for (uint32_t r = 0; r < rows; r++)
            for (uint32_t c = 0; c < columns; c++)
                tiny_put_f32(file,
                             ternary ? (float)tiny_code(shape, l, part, r, c) * tiny_scale(l, part)
                                     : loose(l, part, r, c));
}

static void put_norms(tiny_file *file, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        tiny_put_f32(file, norm(i));
}

static void put_embedding(tiny_file *file, const tiny_shape *shape)
{
    for (uint32_t i = 0; i < shape->vocab * shape->dim; i++)
        tiny_put_f32(file, embedding(i));
}

tiny_file tiny_llama2c(const tiny_shape *shape, bool ternary, bool own_head)
{
    tiny_file file = {0};
    put_header(&file, shape, own_head);
    put_embedding(&file, shape);
    put_norms(&file, shape->layers * shape->dim);
    for (uint32_t part = QUERY; part <= OUTPUT; part++)
        put_matrices(&file, shape, part, ternary);
    put_norms(&file, shape->layers * shape->dim);
    put_matrices(&file, shape, GATE, ternary);
    put_matrices(&file, shape, DOWN, ternary);
    put_matrices(&file, shape, UP, ternary);
    put_norms(&file, shape->dim);
    for (uint32_t i = 0; i < shape->context * (shape->dim / shape->heads); i++)
        tiny_put_f32(&file, 0.5f);
    if (own_head)
        for (uint32_t i = 0; i < shape->vocab * shape->dim; i++)
            tiny_put_f32(&file, 2.0f * embedding(i));
    return file;
}

tiny_file tiny_bitllama(const tiny_shape *shape, bool msb_first)
{
    static const uint32_t order[PARTS] = {QUERY, KEY, VALUE, OUTPUT, GATE, DOWN, UP};
    tiny_file file = {0};
    tiny_put(&file, "24ka", 4);
    tiny_put_u32(&file, 1);
    put_header(&file, shape, false);
    tiny_put_byte(&file, 1);
    pad(&file, 256);
    put_norms(&file, shape->dim);
    put_embedding(&file, shape);
    for (uint32_t i = 0; i < PARTS; i++)
        for (uint32_t l = 0; l < shape->layers; l++) {
            uint32_t rows, columns, byte = 0, held = 0;
            tiny_part_size(shape, order[i], &rows, &columns);
            tiny_put_f32(&file, tiny_scale(l, order[i]));
            for (uint32_t r = 0; r < rows; r++)
                for (uint32_t c = 0; c < columns; c++) {
                    uint32_t code = (uint32_t)tiny_code(shape, l, order[i], r, c) & 3u;
                    byte |= code << (msb_first ? 6 - 2 * held : 2 * held);
                    if (++held < 4) continue;
                    tiny_put_byte(&file, byte);
                    byte = held = 0;
                }
        }
    return file;
}

tiny_file tiny_tokenizer(uint32_t pieces)
{
    tiny_file file = {0};
    tiny_put_u32(&file, 8);
    for (uint32_t i = 0; i < pieces; i++) {
        char text[16];
        if (i >= 3 && i < 259)
            snprintf(text, sizeof text, "<0x%02X>", i - 3);
        else
            snprintf(text, sizeof text, "p%u", i);
        tiny_put_f32(&file, -(float)i);
        tiny_put_u32(&file, (uint32_t)strlen(text));
        tiny_put(&file, text, strlen(text));
    }
    return file;
}

// ----------------------------------------------------------------------------------------------------------- GGUF

typedef struct gguf_parts { // the pieces that a GGUF is put together from
    tiny_file values, infos, data;
    uint64_t value_count, tensor_count;
} gguf_parts;

static void put_string(tiny_file *file, const char *text)
{
    put_u64(file, strlen(text));
    tiny_put(file, text, strlen(text));
}

static void value_u32(gguf_parts *g, const char *architecture, const char *key, uint32_t value)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", architecture, key);
    put_string(&g->values, name);
    tiny_put_u32(&g->values, 4);
    tiny_put_u32(&g->values, value);
    g->value_count++;
}

static void begin_tensor(gguf_parts *g, const char *name, uint32_t columns, uint32_t rows,
                         uint32_t type)
{
    pad(&g->data, 32);
    put_string(&g->infos, name);
    tiny_put_u32(&g->infos, rows ? 2 : 1);
    put_u64(&g->infos, columns);
    if (rows) put_u64(&g->infos, rows);
    tiny_put_u32(&g->infos, type);
    put_u64(&g->infos, g->data.bytes);
    g->tensor_count++;
}

static void put_number(tiny_file *file, uint32_t type, float value)
{
    uint16_t half =
        type == 1 ? tmac_f32_to_f16(value) : (uint16_t)(tmac_bits_of_float(value) >> 16);
    if (type == 0)
        tiny_put_f32(file, value);
    else
        tiny_put(file, &half, 2);
}

// The code at a flat place of the file's matrix.
static int file_code(const tiny_shape *shape, uint32_t layer, uint32_t part, bool half_split,
                     uint64_t element)
{
    uint32_t rows, columns, head = shape->dim / shape->heads;
    tiny_part_size(shape, part, &rows, &columns);
    assert(head > 0 && columns > 0);
    uint32_t row = (uint32_t)(element / columns), in_head = row % head;
    if (half_split && part <= KEY) // half-split row i + b * head / 2 is interleaved row 2i + b
        row = row - in_head + in_head % (head / 2) * 2 + in_head / (head / 2);
    return tiny_code(shape, layer, part, row, (uint32_t)(element % columns));
}

static void put_packed(tiny_file *file, const tiny_shape *shape, uint32_t layer, uint32_t part,
                       bool half_split, uint32_t type)
{
    uint32_t rows, columns;
    tiny_part_size(shape, part, &rows, &columns);
    uint64_t weights = (uint64_t)rows * columns;
    uint32_t block = type == 35 ? 256 : 128;
    for (uint64_t first = 0; first < weights; first += block) {
        uint8_t bytes[64] = {0};
        for (uint32_t i = 0; i < block; i++) {
            uint32_t code = (uint32_t)(file_code(shape, layer, part, half_split, first + i) + 1);
            uint32_t at = type == 35 ? i / 128 * 32 + i % 32 : i % 32;
            uint32_t shift = type == 35 ? i % 128 / 32 * 2 : 6 - 2 * (i / 32);
            bytes[at] |= (uint8_t)(code << shift);
        }
        tiny_put(file, bytes, block / 4);
        if (type == 35) put_number(file, 1, 1.0f);
    }
    if (type == 36) {
        tiny_put_f32(file, tiny_scale(layer, part));
        for (int i = 0; i < 28; i++)
            tiny_put_byte(file, 0xee); // bytes that mean nothing
    }
}

static void put_layer(gguf_parts *g, const tiny_shape *shape, uint32_t layer, bool bitnet,
                      uint32_t type)
{
    static const char *const names[PARTS] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                             "ffn_gate", "ffn_up", "ffn_down"};
    static const char *const norms[] = {"attn_norm", "ffn_norm", "attn_sub_norm", "ffn_sub_norm"};
    char name[64];
    for (uint32_t part = 0; part < PARTS; part++) {
        uint32_t rows, columns;
        tiny_part_size(shape, part, &rows, &columns);
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, names[part]);
        begin_tensor(g, name, columns, rows, type);
        if (type == 35 || type == 36) put_packed(&g->data, shape, layer, part, bitnet, type);
        for (uint64_t i = 0; i < (uint64_t)rows * columns && type <= 30; i++)
            put_number(&g->data, type,
                       (float)file_code(shape, layer, part, bitnet, i) * tiny_scale(layer, part));
        if (type != 35) continue;
        snprintf(name, sizeof name, "blk.%u.%s.scale", layer, names[part]);
        begin_tensor(g, name, 1, 0, 0);
        tiny_put_f32(&g->data, tiny_scale(layer, part));
    }
    for (int i = 0; i < (bitnet ? 4 : 2); i++) {
        uint32_t count = i == 3 ? shape->hidden : shape->dim;
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, norms[i]);
        begin_tensor(g, name, count, 0, 0);
        put_norms(&g->data, count);
    }
}

tiny_file tiny_gguf(const tiny_shape *shape, const char *architecture, uint32_t type)
{
    gguf_parts g = {0};
    tiny_file file = {0};
    put_string(&g.values, "general.architecture");
    tiny_put_u32(&g.values, 8);
    put_string(&g.values, architecture);
    g.value_count++;
    value_u32(&g, architecture, "embedding_length", shape->dim);
    value_u32(&g, architecture, "feed_forward_length", shape->hidden);
    value_u32(&g, architecture, "block_count", shape->layers);
    value_u32(&g, architecture, "context_length", shape->context);
    value_u32(&g, architecture, "attention.head_count", shape->heads);
    value_u32(&g, architecture, "attention.head_count_kv", shape->kv_heads);
    char name[96];
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", architecture);
    put_string(&g.values, name);
    tiny_put_u32(&g.values, 6);
    tiny_put_f32(&g.values, 1e-5f);
    g.value_count++;

    begin_tensor(&g, "token_embd.weight", shape->dim, shape->vocab, 0);
    put_embedding(&g.data, shape);
    begin_tensor(&g, "output_norm.weight", shape->dim, 0, 0);
    put_norms(&g.data, shape->dim);
    for (uint32_t l = 0; l < shape->layers; l++)
        put_layer(&g, shape, l, strcmp(architecture, "llama") != 0, type);

    tiny_put(&file, "GGUF", 4);
    tiny_put_u32(&file, 3);
    put_u64(&file, g.tensor_count);
    put_u64(&file, g.value_count);
    tiny_put(&file, g.values.data, g.values.bytes);
    tiny_put(&file, g.infos.data, g.infos.bytes);
    pad(&file, 32);
    tiny_put(&file, g.data.data, g.data.bytes);
    tiny_free(&g.values);
    tiny_free(&g.infos);
    tiny_free(&g.data);
    return file;
}

// --------------------------------------------------------------------------------------------------- files, equality

void tiny_path(char path[64])
{
    strcpy(path, "/tmp/tmac-tiny-XXXXXX");
    int descriptor = mkstemp(path);
    cr_assert(descriptor >= 0);
    close(descriptor);
}

void tiny_write(const tiny_file *file, const char *path)
{
    FILE *stream = fopen(path, "wb");
    cr_assert_not_null(stream);
    if (file->bytes) cr_assert_eq(fwrite(file->data, 1, file->bytes, stream), file->bytes);
    fclose(stream);
}

tmac_status tiny_open(const tiny_file *file, const tmac_open_options *options, tmac_source *source)
{
    char path[64];
    tiny_path(path);
    tiny_write(file, path);
    tmac_status status = tmac_source_open(path, options, source);
    unlink(path);
    return status;
}

void tiny_open_synthetic(const char *extras, tmac_source *source)
{
    char text[256], path[64];
    tmac_synth_shape synthetic;
    snprintf(text, sizeof text,
             "dim=48,hidden=86,layers=2,heads=4,kv_heads=2,vocab=300,context=96,bitnet=0,%s",
             extras);
    tiny_path(path);
    tmac_status status = tmac_synth_parse(text, &synthetic);
    if (status.code == TMAC_OK) status = tmac_synth_write(&synthetic, 3, path);
    if (status.code == TMAC_OK) status = tmac_source_open(path, NULL, source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    unlink(path);
}

static void same_vector(const float *a, const float *b, uint32_t count, const char *what)
{
    cr_assert_eq(a == NULL, b == NULL, "%s", what);
    if (a) cr_assert_arr_eq(a, b, count * sizeof *a, "%s", what);
}

static void same_matrix(const tmac_matrix *a, const tmac_matrix *b)
{
    size_t weights = (size_t)a->rows * a->columns;
    cr_assert_str_eq(a->name, b->name);
    cr_assert_eq(tmac_number_is_integer(a->number) ? a->number : 0,
                 tmac_number_is_integer(b->number) ? b->number : 0, "%s", a->name);
    cr_assert(a->rows == b->rows && a->columns == b->columns, "%s", a->name);
    void *left = malloc(weights * 4), *right = malloc(weights * 4);
    cr_assert(left && right);
    if (tmac_number_is_integer(a->number)) {
        cr_assert(a->group == b->group && a->scale_count == b->scale_count, "%s", a->name);
        cr_assert_arr_eq(a->scales, b->scales, a->scale_count * sizeof(float), "%s", a->name);
        a->read_codes(a, 0, a->rows, left);
        b->read_codes(b, 0, b->rows, right);
        cr_assert_arr_eq(left, right, weights, "%s", a->name);
    } else {
        a->read_float(a, 0, a->rows, left);
        b->read_float(b, 0, b->rows, right);
        cr_assert_arr_eq(left, right, weights * 4, "%s", a->name);
    }
    free(left);
    free(right);
}

static void same_vocabulary(const tmac_vocabulary *a, const tmac_vocabulary *b)
{
    cr_assert_eq(a->size, b->size);
    for (uint32_t i = 0; i < a->size; i++) {
        const tmac_piece *p = &a->pieces[i], *q = &b->pieces[i];
        cr_assert(p->bytes == q->bytes && memcmp(p->text, q->text, p->bytes) == 0, "piece %u", i);
        cr_assert(p->score == q->score && p->kind == q->kind, "piece %u", i);
    }
    cr_assert(a->bos == b->bos && a->eos == b->eos && a->unknown == b->unknown);
    cr_assert(a->add_bos == b->add_bos && a->add_space_prefix == b->add_space_prefix);
}

void tiny_assert_same(const tmac_source *a, const tmac_source *b, bool whole)
{
    cr_assert(a->dim == b->dim && a->hidden == b->hidden && a->layer_count == b->layer_count);
    cr_assert(a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim);
    cr_assert(a->vocab == b->vocab && a->context == b->context && a->tied_head == b->tied_head);
    cr_assert(a->rope_theta == b->rope_theta && a->rope_dims == b->rope_dims);
    same_matrix(&a->embedding, &b->embedding);
    same_matrix(&a->head, &b->head);
    for (uint32_t l = 0; l < a->layer_count; l++) {
        const tmac_source_layer *p = &a->layers[l], *q = &b->layers[l];
        const tmac_matrix *left[] = {&p->query, &p->key, &p->value, &p->output,
                                     &p->gate,  &p->up,  &p->down};
        const tmac_matrix *right[] = {&q->query, &q->key, &q->value, &q->output,
                                      &q->gate,  &q->up,  &q->down};
        for (int i = 0; i < PARTS; i++)
            same_matrix(left[i], right[i]);
        if (!whole) continue;
        same_vector(p->attention_norm, q->attention_norm, a->dim, "attn_norm");
        same_vector(p->attention_sub_norm, q->attention_sub_norm, a->dim, "attn_sub_norm");
        same_vector(p->ffn_norm, q->ffn_norm, a->dim, "ffn_norm");
        same_vector(p->ffn_sub_norm, q->ffn_sub_norm, a->hidden, "ffn_sub_norm");
    }
    same_vector(a->final_norm, b->final_norm, a->dim, "output_norm");
    if (!whole) return;
    cr_assert_str_eq(a->architecture, b->architecture);
    cr_assert(a->activation == b->activation && a->norm_epsilon == b->norm_epsilon);
    cr_assert(a->final_norm_epsilon == b->final_norm_epsilon);
    same_vocabulary(&a->vocabulary, &b->vocabulary);
}

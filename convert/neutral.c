#include "convert/neutral.h"
#include "convert/convert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "convert/bytes.h"
#include "runtime/half.h"

// Owned memory is a list of blocks; each starts with a header of one cache line, so that what follows is aligned.
typedef struct block {
    struct block *next;
} block;
enum { BLOCK_HEADER = 64 };

tmac_status tmac_no_memory(void)
{
    return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
}

static void close_owned(tmac_source *source)
{
    for (uint32_t i = 0; i < source->shard_count; i++)
        tmac_map_close(&source->shards[i]);
    free(source->shards);
    source->shards = NULL;
    source->shard_count = 0;
    for (block *b = source->owned; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    source->owned = NULL;
    tmac_vocabulary_free(&source->vocabulary);
}

void tmac_source_begin(tmac_source *source, const char *path, const char *format, tmac_map *map)
{
    memset(source, 0, sizeof *source);
    snprintf(source->path, sizeof source->path, "%s", path);
    snprintf(source->format, sizeof source->format, "%s", format);
    snprintf(source->architecture, sizeof source->architecture, "llama");
    source->norm_epsilon = source->final_norm_epsilon = 1e-5f;
    source->rope_theta = 10000.0f;
    source->activation = TMAC_SILU;
    source->map = *map;
    memset(map, 0, sizeof *map);
    source->close = close_owned;
}

void *tmac_source_take(tmac_source *source, size_t bytes)
{
    size_t whole;
    void *memory;
    if (!tmac_size_add(bytes, BLOCK_HEADER, &whole) || posix_memalign(&memory, 64, whole) != 0)
        return NULL;
    memset(memory, 0, whole);
    block *b = memory;
    b->next = source->owned;
    source->owned = b;
    return (char *)memory + BLOCK_HEADER;
}

static void drop(const tmac_map *map)
{
    if (map->data) madvise((void *)(uintptr_t)map->data, map->bytes, MADV_DONTNEED);
}

void tmac_source_drop(const tmac_source *source)
{
    drop(&source->map);
    for (uint32_t i = 0; i < source->shard_count; i++)
        drop(&source->shards[i]);
}

tmac_status tmac_source_take_layers(tmac_source *source)
{
    source->layers = tmac_source_take(source, source->layer_count * sizeof *source->layers);
    return source->layers ? tmac_ok() : tmac_no_memory();
}

// ------------------------------------------------------------------------------------------------------- layers

static const struct {
    const char *name;
    size_t offset; // in tmac_source_layer
} parts[TMAC_LAYER_MATRICES] = {
    [TMAC_LAYER_QUERY] = {"attn_q", offsetof(tmac_source_layer, query)},
    [TMAC_LAYER_KEY] = {"attn_k", offsetof(tmac_source_layer, key)},
    [TMAC_LAYER_VALUE] = {"attn_v", offsetof(tmac_source_layer, value)},
    [TMAC_LAYER_OUTPUT] = {"attn_output", offsetof(tmac_source_layer, output)},
    [TMAC_LAYER_GATE] = {"ffn_gate", offsetof(tmac_source_layer, gate)},
    [TMAC_LAYER_UP] = {"ffn_up", offsetof(tmac_source_layer, up)},
    [TMAC_LAYER_DOWN] = {"ffn_down", offsetof(tmac_source_layer, down)},
};

const char *tmac_layer_part_name(tmac_part_of_layer part)
{
    return parts[part].name;
}

tmac_matrix *tmac_layer_part(const tmac_source *source, uint32_t layer, tmac_part_of_layer part)
{
    return (tmac_matrix *)(void *)((char *)&source->layers[layer] + parts[part].offset);
}

void tmac_layer_part_size(const tmac_source *source, tmac_part_of_layer part, uint32_t *rows,
                          uint32_t *columns)
{
    uint32_t wide = source->heads * source->head_dim, narrow = source->kv_heads * source->head_dim;
    bool ffn = part == TMAC_LAYER_GATE || part == TMAC_LAYER_UP;
    bool kv = part == TMAC_LAYER_KEY || part == TMAC_LAYER_VALUE;
    *columns = part == TMAC_LAYER_DOWN     ? source->hidden
               : part == TMAC_LAYER_OUTPUT ? wide
                                           : source->dim;
    *rows = ffn ? source->hidden : kv ? narrow : part == TMAC_LAYER_QUERY ? wide : source->dim;
}

tmac_status tmac_layer_part_shape(tmac_source *source, uint32_t layer, tmac_part_of_layer part)
{
    enum { NAME_BYTES = 32 };
    tmac_matrix *matrix = tmac_layer_part(source, layer, part);
    char *name = tmac_source_take(source, NAME_BYTES);
    if (!name) return tmac_no_memory();
    snprintf(name, NAME_BYTES, "blk.%u.%s", layer, parts[part].name);
    matrix->name = name;
    tmac_layer_part_size(source, part, &matrix->rows, &matrix->columns);
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------ float numbers

static void widen(tmac_number number, const uint8_t *from, size_t count, float *to)
{
    if (number == TMAC_F32)
        memcpy(to, from, count * sizeof *to);
    else if (number == TMAC_F16)
        for (size_t i = 0; i < count; i++)
            to[i] = tmac_f16_to_f32(tmac_load_u16(from + 2 * i));
    else
        for (size_t i = 0; i < count; i++)
            to[i] = tmac_bf16_to_f32(tmac_load_u16(from + 2 * i));
}

static void read_float_rows(const tmac_matrix *matrix, uint32_t first, uint32_t count,
                            float *values)
{
    size_t row_bytes = matrix->columns * tmac_number_bytes(matrix->number);
    for (uint32_t r = 0; r < count; r++) {
        uint32_t row = tmac_file_row(first + r, matrix->half_split_head);
        widen(matrix->number, (const uint8_t *)matrix->data + row * row_bytes, matrix->columns,
              values + (size_t)r * matrix->columns);
    }
}

void tmac_matrix_float(tmac_matrix *matrix, tmac_number number, const void *data,
                       uint32_t half_split_head)
{
    matrix->number = number;
    matrix->data = data;
    matrix->half_split_head = half_split_head;
    matrix->read_float = read_float_rows;
    bool aligned = (uintptr_t)data % tmac_number_bytes(number) == 0;
    matrix->in_place = aligned && half_split_head == 0 ? data : NULL;
}

tmac_status tmac_matrix_settle(tmac_source *source, tmac_matrix *matrix)
{
    if (matrix->in_place) return tmac_ok();
    size_t count, bytes;
    if (!tmac_size_multiply(matrix->rows, matrix->columns, &count) ||
        !tmac_size_multiply(count, sizeof(float), &bytes))
        return tmac_no_memory();
    float *copy = tmac_source_take(source, bytes);
    if (!copy) return tmac_no_memory();
    matrix->read_float(matrix, 0, matrix->rows, copy);
    source->laborious = true;
    tmac_matrix_float(matrix, TMAC_F32, copy, 0);
    return tmac_ok();
}

tmac_status tmac_source_vector(tmac_source *source, tmac_number number, const void *data,
                               uint32_t count, const float **vector)
{
    float *copy = tmac_source_take(source, count * sizeof *copy);
    if (!copy) return tmac_no_memory();
    widen(number, data, count, copy);
    *vector = copy;
    return tmac_ok();
}

tmac_status tmac_source_constant(tmac_source *source, float value, uint32_t count,
                                 const float **vector)
{
    float *copy = tmac_source_take(source, count * sizeof *copy);
    if (!copy) return tmac_no_memory();
    for (uint32_t i = 0; i < count; i++)
        copy[i] = value;
    *vector = copy;
    return tmac_ok();
}

tmac_status tmac_source_permute(tmac_source *source, const float *values, uint32_t count,
                                uint32_t head, const float **vector)
{
    float *copy = tmac_source_take(source, count * sizeof *copy);
    if (!copy) return tmac_no_memory();
    for (uint32_t i = 0; i < count; i++)
        copy[i] = values[tmac_file_row(i, head)];
    *vector = copy;
    return tmac_ok();
}

bool tmac_vector_is_reciprocal(const float *vector, uint32_t count)
{
    float expected = 1.0f / (float)count;
    for (uint32_t i = 0; i < count; i++)
        if (vector[i] != expected) return false;
    return true;
}

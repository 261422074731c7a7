// TM2 in BitNet order: the same magic and header as TM2 (convert/tm2.c), another order, and no mark that says so.
//
//   embedding; then for each layer the norm before attention, q, k, v, output, attention sub-norm, norm before the FFN,
//   gate, up, down, FFN sub-norm; the last norm; the head
//
// Norms are behind flag 0, f32; matrices behind flag 1 with their shape, rows of an f16 scale and codes. There are no RoPE
// tables and the sign of vocab means nothing. Such files are made of bitnet-b1.58-2B-4T: base 500000, squared ReLU, Q and
// K rows in half-split order, as in the checkpoint. Embedding and head have been rounded to ternary by their maker, so
// that what they say is not what the original says.
#include <stdio.h>
#include <stdlib.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/ternary.h"
#include "convert/tm2.h"
#include "runtime/half.h"

enum { THETA = 500000 };

typedef struct walk {
    tmac_source *source;
    uint64_t at;
} walk;

static tmac_status take_flag(walk *w, uint8_t expected, const char *name, uint64_t bytes,
                             const uint8_t **data)
{
    const tmac_map *map = &w->source->map;
    if (w->at >= map->bytes || bytes > map->bytes - w->at - 1)
        return tmac_fail(TMAC_BAD_FILE,
                         "TM2 in BitNet order: %s ends beyond the file's %zu bytes: truncated "
                         "download?",
                         name, map->bytes);
    if (map->data[w->at] != expected)
        return tmac_fail(TMAC_BAD_FILE, "TM2 in BitNet order: the flag of %s is %u, expected %u",
                         name, map->data[w->at], expected);
    *data = map->data + w->at + 1;
    w->at += 1 + bytes;
    return tmac_ok();
}

static tmac_status take_norm(walk *w, const char *name, uint32_t count, const float **vector)
{
    const uint8_t *data;
    TMAC_TRY(take_flag(w, 0, name, 4 * (uint64_t)count, &data));
    return tmac_source_vector(w->source, TMAC_F32, data, count, vector);
}

static void read_rows(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    uint32_t stride = tmac_tm2_stride(matrix->columns);
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *row = (const uint8_t *)matrix->data +
                             (size_t)tmac_file_row(first + r, matrix->half_split_head) * stride + 2;
        for (uint32_t c = 0; c < matrix->columns; c++) {
            uint32_t code = ((uint32_t)row[c / 4] >> 2 * (c % 4)) & 3u;
            *codes++ = code == 3 ? -1 : (int8_t)code;
        }
    }
}

static void read_scaled(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    uint32_t stride = tmac_tm2_stride(matrix->columns);
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *row = (const uint8_t *)matrix->data + (size_t)(first + r) * stride;
        float scale = tmac_f16_to_f32(tmac_load_u16(row));
        for (uint32_t c = 0; c < matrix->columns; c++) {
            uint32_t code = ((uint32_t)row[2 + c / 4] >> 2 * (c % 4)) & 3u;
            *values++ = code == 0 ? 0.0f : code == 1 ? scale : -scale;
        }
    }
}

// The rows of a matrix whose name and shape are set.
static tmac_status take_rows(walk *w, tmac_matrix *matrix)
{
    uint32_t stride = tmac_tm2_stride(matrix->columns);
    const uint8_t *data;
    TMAC_TRY(take_flag(w, 1, matrix->name, 8 + (uint64_t)matrix->rows * stride, &data));
    if (tmac_load_u32(data) != matrix->rows || tmac_load_u32(data + 4) != matrix->columns)
        return tmac_fail(TMAC_BAD_FILE, "TM2 in BitNet order: %s is not %u x %u", matrix->name,
                         matrix->rows, matrix->columns);
    matrix->data = data + 8;
    for (uint64_t r = 0; r < matrix->rows; r++)
        if (tmac_codes_have_2(data + 8 + r * stride + 2, stride - 2))
            return tmac_fail(TMAC_BAD_FILE,
                             "%s row %llu holds the code 10, which means nothing: damaged?",
                             matrix->name, (unsigned long long)r);
    return tmac_ok();
}

static tmac_status take_table(walk *w, const char *name, tmac_matrix *matrix)
{
    *matrix = (tmac_matrix){.name = name,
                            .number = TMAC_F32,
                            .rows = w->source->vocab,
                            .columns = w->source->dim,
                            .read_float = read_scaled};
    return take_rows(w, matrix);
}

static tmac_status take_part(walk *w, uint32_t layer, tmac_part_of_layer part)
{
    TMAC_TRY(tmac_layer_part_shape(w->source, layer, part));
    tmac_matrix *matrix = tmac_layer_part(w->source, layer, part);
    TMAC_TRY(take_rows(w, matrix));
    matrix->number = TMAC_TERNARY;
    matrix->read_codes = read_rows;
    matrix->half_split_head =
        part == TMAC_LAYER_QUERY || part == TMAC_LAYER_KEY ? w->source->head_dim : 0;
    float *scales = malloc(matrix->rows * sizeof *scales);
    if (!scales) return tmac_no_memory();
    for (uint32_t r = 0; r < matrix->rows; r++)
        scales[r] = tmac_f16_to_f32(tmac_load_u16(
            (const uint8_t *)matrix->data +
            (size_t)tmac_file_row(r, matrix->half_split_head) * tmac_tm2_stride(matrix->columns)));
    tmac_status status = tmac_matrix_group_scales(w->source, matrix, scales, matrix->columns);
    free(scales);
    return status;
}

static tmac_status take_layer(walk *w, uint32_t index)
{
    const tmac_source *source = w->source;
    tmac_source_layer *layer = &source->layers[index];
    TMAC_TRY(take_norm(w, "attn_norm", source->dim, &layer->attention_norm));
    for (int part = TMAC_LAYER_QUERY; part <= TMAC_LAYER_OUTPUT; part++)
        TMAC_TRY(take_part(w, index, (tmac_part_of_layer)part));
    TMAC_TRY(take_norm(w, "attn_sub_norm", source->heads * source->head_dim,
                       &layer->attention_sub_norm));
    TMAC_TRY(take_norm(w, "ffn_norm", source->dim, &layer->ffn_norm));
    for (int part = TMAC_LAYER_GATE; part <= TMAC_LAYER_DOWN; part++)
        TMAC_TRY(take_part(w, index, (tmac_part_of_layer)part));
    return take_norm(w, "ffn_sub_norm", source->hidden, &layer->ffn_sub_norm);
}

tmac_status tmac_read_tm2_bitnet(tmac_source *source)
{
    walk w = {source, TMAC_TM2_HEADER};
    snprintf(source->format, sizeof source->format, "TM2 in BitNet order");
    snprintf(source->architecture, sizeof source->architecture, "bitnet");
    source->activation = TMAC_RELU2;
    source->rope_theta = THETA;
    source->tied_head = false;
    TMAC_TRY(take_table(&w, "token_embd", &source->embedding));
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(take_layer(&w, l));
    TMAC_TRY(take_norm(&w, "output_norm", source->dim, &source->final_norm));
    TMAC_TRY(take_table(&w, "output", &source->head));
    if (w.at != source->map.bytes)
        return tmac_fail(TMAC_BAD_FILE,
                         "TM2 in BitNet order: the head ends at byte %llu but the file has %zu: "
                         "something is appended",
                         (unsigned long long)w.at, source->map.bytes);
    return tmac_ok();
}

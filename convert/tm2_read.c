// Reading TM2 (convert/tm2.c describes it): our own files with an extension, and bodies that others wrote.
//
// The body is walked once: every flag, every recorded shape and the end must be what the header promises. Others write
// the same magic with the tensors of each layer together (BitNet order); such files fail the walk, are recognised by
// their second tensor and read by convert/tm2_bitnet.c.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/ternary.h"
#include "convert/tm2.h"
#include "runtime/half.h"

enum { HEADER_FIELDS = 4, NAME_BYTES = TMAC_TM2_NAME + 8 };

typedef struct walked {  // a tensor of the body
    const uint8_t *data; // NULL: absent
    bool ternary;
} walked;

// ------------------------------------------------------------------------------------------------------- the walk

static tmac_status walk_tensor(const tmac_source *source, uint64_t end, tmac_stacked kind,
                               uint64_t *at, walked *tensor)
{
    tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
    const uint8_t *data = source->map.data;
    if (*at >= end)
        return tmac_fail(TMAC_BAD_FILE,
                         "tensor %s starts at byte %llu, where the body ends: truncated download?",
                         shape.name, (unsigned long long)*at);
    uint8_t flag = data[(*at)++];
    uint64_t bytes = shape.rows * shape.columns * 4;
    bool may_be_ternary =
        shape.part >= 0 || kind == TMAC_STACKED_EMBEDDING || kind == TMAC_STACKED_HEAD;
    if (flag > (may_be_ternary ? 1 : 0))
        return tmac_fail(
            TMAC_BAD_FILE,
            "the flag of tensor %s is %u: truncated download, damaged, or not in llama order",
            shape.name, flag);
    tensor->ternary = flag == 1;
    if (tensor->ternary) {
        if (end - *at < 8 || tmac_load_u32(data + *at) != shape.rows ||
            tmac_load_u32(data + *at + 4) != shape.columns)
            return tmac_fail(TMAC_BAD_FILE, "tensor %s is not of %llu x %u, as the header says",
                             shape.name, (unsigned long long)shape.rows, shape.columns);
        *at += 8;
        bytes = shape.rows * tmac_tm2_stride(shape.columns);
    }
    if (bytes > end - *at)
        return tmac_fail(TMAC_BAD_FILE,
                         "tensor %s ends at byte %llu but the body has %llu: truncated download?",
                         shape.name, (unsigned long long)*at + bytes, (unsigned long long)end);
    tensor->data = data + *at;
    *at += bytes;
    return tmac_ok();
}

static tmac_status walk(const tmac_source *source, const tmac_tm2_index *index,
                        walked tensors[TMAC_STACKED_KINDS])
{
    uint64_t at = TMAC_TM2_HEADER;
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        tensors[kind] = (walked){0};
        if (kind == TMAC_STACKED_HEAD && source->tied_head) continue;
        const tmac_tm2_tensor *listed = tmac_tm2_find(index, shape.name);
        if (index->present && (!listed || listed->kind != TMAC_TM2_BODY)) continue;
        uint64_t begin = at;
        TMAC_TRY(walk_tensor(source, index->body_bytes, kind, &at, &tensors[kind]));
        if (listed && (listed->offset != begin || listed->bytes != at - begin))
            return tmac_fail(TMAC_BAD_FILE, "tensor %s is not where the extension says",
                             shape.name);
    }
    if (at != index->body_bytes)
        return tmac_fail(
            TMAC_BAD_FILE,
            "the last tensor ends at byte %llu but the body has %llu: something is appended",
            (unsigned long long)at, (unsigned long long)index->body_bytes);
    return tmac_ok();
}

// After a ternary embedding: one f32 norm of dim, then a ternary matrix of dim x dim.
static bool in_bitnet_order(const tmac_source *source)
{
    const uint8_t *data = source->map.data;
    uint64_t at = TMAC_TM2_HEADER + 9 + (uint64_t)source->vocab * tmac_tm2_stride(source->dim);
    uint64_t query = at + 1 + 4 * (uint64_t)source->dim;
    return source->map.bytes >= query + 9 && data[TMAC_TM2_HEADER] == 1 && data[at] == 0 &&
           data[query] == 1 && tmac_load_u32(data + query + 1) == source->dim &&
           tmac_load_u32(data + query + 5) == source->dim;
}

// ------------------------------------------------------------------------------------------------------- matrices

// Checks the codes of a ternary tensor of the body and, where `scales` is wanted, widens its f16 scales.
static tmac_status check_rows(const char *name, const uint8_t *rows, uint64_t count,
                              uint32_t columns, float *scales)
{
    uint32_t stride = tmac_tm2_stride(columns);
    for (uint64_t r = 0; r < count; r++, rows += stride) {
        if (tmac_codes_have_2(rows + 2, stride - 2))
            return tmac_fail(TMAC_BAD_FILE,
                             "%s row %llu holds the code 10, which means nothing: damaged?", name,
                             (unsigned long long)r);
        if (scales) scales[r] = tmac_f16_to_f32(tmac_load_u16(rows));
    }
    return tmac_ok();
}

static tmac_status take_scales(tmac_source *source, const tmac_tm2_index *index,
                               tmac_matrix *matrix)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.scales", matrix->name);
    const tmac_tm2_tensor *tensor = tmac_tm2_find(index, name);
    if (!tensor || tensor->kind != TMAC_TM2_SCALES)
        return tmac_fail(TMAC_BAD_FILE, "the extension's tensor %s is missing", name);
    matrix->scale_count = tensor->rows; // tmac_source_check judges whether they fit
    matrix->group = tensor->columns;
    return tmac_source_vector(source, TMAC_F32, source->map.data + tensor->offset, tensor->rows,
                              &matrix->scales);
}

static tmac_status body_scales(tmac_source *source, tmac_matrix *matrix, const uint8_t *rows)
{
    float *scales = malloc(matrix->rows * sizeof *scales);
    if (!scales) return tmac_no_memory();
    tmac_status status = check_rows(matrix->name, rows, matrix->rows, matrix->columns, scales);
    if (status.code == TMAC_OK)
        status = tmac_matrix_group_scales(source, matrix, scales, matrix->columns);
    free(scales);
    return status;
}

static bool float_kind(tmac_tm2_kind kind, tmac_number *number)
{
    if (kind > TMAC_TM2_BF16) return false;
    *number = kind == TMAC_TM2_F32 ? TMAC_F32 : kind == TMAC_TM2_F16 ? TMAC_F16 : TMAC_BF16;
    return true;
}

// A matrix of the extension, whose name and shape are set.
static tmac_status take_extended(tmac_source *source, const tmac_tm2_index *index,
                                 tmac_matrix *matrix)
{
    const tmac_tm2_tensor *tensor = tmac_tm2_find(index, matrix->name);
    tmac_number number;
    if (!tensor || tensor->rows != matrix->rows || tensor->columns != matrix->columns)
        return tmac_fail(TMAC_BAD_FILE,
                         "tensor %s is missing from body and extension, or is not %u x %u",
                         matrix->name, matrix->rows, matrix->columns);
    const uint8_t *data = source->map.data + tensor->offset;
    if (float_kind(tensor->kind, &number)) {
        tmac_matrix_float(matrix, number, data, 0);
        return tmac_ok();
    }
    if (tensor->kind >= TMAC_TM2_Q1) { // any bits are codes
        tmac_tm2_codes(matrix, tensor->kind, data);
        return take_scales(source, index, matrix);
    }
    if (tensor->kind != TMAC_TM2_TERNARY)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s is no matrix", matrix->name);
    if (tmac_codes_have_2(data, tensor->bytes))
        return tmac_fail(TMAC_BAD_FILE, "%s holds the code 10, which means nothing: damaged?",
                         matrix->name);
    tmac_ternary_rows(matrix, data, (matrix->columns + 3) / 4);
    return take_scales(source, index, matrix);
}

// The ternary matrices of all layers, where the file records their hashes.
static tmac_status check_layers(const tmac_source *source)
{
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_source_layer *layer = &source->layers[l];
        const tmac_matrix *const parts[] = {&layer->query,  &layer->key,  &layer->value,
                                            &layer->output, &layer->gate, &layer->up,
                                            &layer->down};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            const tmac_matrix *matrix = parts[i];
            if (matrix->number != TMAC_TERNARY ||
                matrix->detail != tmac_tm2_stride(matrix->columns))
                continue; // of the extension: checked
            tmac_status status = check_rows(matrix->name, (const uint8_t *)matrix->data - 2,
                                            matrix->rows, matrix->columns, NULL);
            if (status.code != TMAC_OK) return tmac_prefix(status, "%s", source->path);
        }
    }
    return tmac_ok();
}

static tmac_status take_part(tmac_source *source, const tmac_tm2_index *index, const walked *tensor,
                             tmac_part_of_layer part, uint32_t layer)
{
    TMAC_TRY(tmac_layer_part_shape(source, layer, part));
    tmac_matrix *matrix = tmac_layer_part(source, layer, part);
    if (!tensor->data) return take_extended(source, index, matrix);
    uint32_t stride = tensor->ternary ? tmac_tm2_stride(matrix->columns) : 4 * matrix->columns;
    const uint8_t *rows = tensor->data + (uint64_t)layer * matrix->rows * stride;
    if (!tensor->ternary) {
        tmac_matrix_float(matrix, TMAC_F32, rows, 0);
        return tmac_matrix_recognise(source, matrix);
    }
    tmac_ternary_rows(matrix, rows + 2, stride);
    if (!index->present) return body_scales(source, matrix, rows);
    if (source->deferring)
        source->check_weights = check_layers;
    else
        TMAC_TRY(check_rows(matrix->name, rows, matrix->rows, matrix->columns, NULL));
    return take_scales(source, index, matrix);
}

// Embedding and head: floats, whatever the body holds; a ternary one is multiplied out.
static void read_scaled_rows(const tmac_matrix *matrix, uint32_t first, uint32_t count,
                             float *values)
{
    uint32_t stride = tmac_tm2_stride(matrix->columns);
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *row = (const uint8_t *)matrix->data + (size_t)(first + r) * stride;
        float scale = tmac_f16_to_f32(tmac_load_u16(row));
        for (uint32_t c = 0; c < matrix->columns; c++) {
            uint32_t code = (uint32_t)row[2 + c / 4] >> (2 * (c % 4)) & 3u;
            *values++ = code == 0 ? 0.0f : code == 1 ? scale : -scale;
        }
    }
}

static tmac_status take_table(tmac_source *source, const tmac_tm2_index *index,
                              const walked *tensor, const char *name, tmac_matrix *matrix)
{
    *matrix = (tmac_matrix){.name = name, .rows = source->vocab, .columns = source->dim};
    if (!tensor->data) {
        TMAC_TRY(take_extended(source, index, matrix));
        return tmac_number_is_integer(matrix->number)
                   ? tmac_fail(TMAC_UNSUPPORTED, "tensor %s is of integers in the extension", name)
                   : tmac_ok();
    }
    tmac_matrix_float(matrix, TMAC_F32, tensor->data, 0);
    if (tensor->ternary) {
        TMAC_TRY(check_rows(name, tensor->data, matrix->rows, matrix->columns, NULL));
        matrix->read_float = read_scaled_rows;
        matrix->in_place = NULL;
    }
    return tmac_matrix_settle(source, matrix); // the body's floats are at odd addresses
}

// --------------------------------------------------------------------------------------------------------- meaning

static tmac_status take_sub_norms(tmac_source *source, const tmac_tm2_index *index)
{
    uint32_t wide = source->heads * source->head_dim;
    const struct {
        const char *name;
        uint32_t count;
        bool attention;
    } norms[] = {{"attn_sub_norm", wide, true}, {"ffn_sub_norm", source->hidden, false}};
    for (size_t i = 0; i < 2; i++) {
        const tmac_tm2_tensor *tensor = tmac_tm2_find(index, norms[i].name);
        if (!tensor) continue;
        if (tensor->kind != TMAC_TM2_F32 || tensor->rows != source->layer_count ||
            tensor->columns != norms[i].count)
            return tmac_fail(TMAC_BAD_FILE, "tensor %s is not %u x %u f32", norms[i].name,
                             source->layer_count, norms[i].count);
        const uint8_t *data = source->map.data + tensor->offset;
        for (uint32_t l = 0; l < source->layer_count; l++, data += 4 * (size_t)norms[i].count)
            TMAC_TRY(tmac_source_vector(source, TMAC_F32, data, norms[i].count,
                                        norms[i].attention ? &source->layers[l].attention_sub_norm
                                                           : &source->layers[l].ffn_sub_norm));
    }
    return tmac_ok();
}

static tmac_status extended_meaning(tmac_source *source, const tmac_tm2_index *index)
{
    char text[16];
    TMAC_TRY(
        tmac_tm2_text(index, "architecture", source->architecture, sizeof source->architecture));
    TMAC_TRY(tmac_tm2_text(index, "activation", text, sizeof text));
    if (strcmp(text, "silu") == 0)
        source->activation = TMAC_SILU;
    else if (strcmp(text, "relu2") == 0)
        source->activation = TMAC_RELU2;
    else
        return tmac_fail(TMAC_UNSUPPORTED, "activation %s is not supported", text);
    TMAC_TRY(tmac_tm2_text(index, "head", text, sizeof text));
    if (strcmp(text, source->tied_head ? "tied" : "own") != 0)
        return tmac_fail(TMAC_BAD_FILE,
                         "header and extension disagree on whether the head is the embedding");
    TMAC_TRY(tmac_tm2_float(index, "norm_epsilon", &source->norm_epsilon));
    TMAC_TRY(tmac_tm2_float(index, "final_norm_epsilon", &source->final_norm_epsilon));
    TMAC_TRY(tmac_tm2_float(index, "rope_base", &source->rope_theta));
    return take_sub_norms(source, index);
}

static tmac_status plain_meaning(tmac_source *source, const uint8_t *sines)
{
    uint32_t pairs = source->head_dim / 2;
    if (source->context >= 2) {
        float sine = tmac_load_f32(sines + 4 * (size_t)(2 * pairs - 1));
        source->rope_theta = tmac_tm2_rope_base(sine, source->head_dim);
        if (source->rope_theta == 0.0f)
            return tmac_fail(TMAC_UNSUPPORTED,
                             "the RoPE tables belong to no base we know (10000, 500000, ...)");
    }
    if (!tmac_tm2_is_bitllama(source)) return tmac_ok();
    const float *narrow, *wide;
    snprintf(source->architecture, sizeof source->architecture, "bitnet");
    source->norm_epsilon = 1e-12f;
    TMAC_TRY(tmac_source_constant(source, 1.0f / (float)source->dim, source->dim, &narrow));
    TMAC_TRY(tmac_source_constant(source, 1.0f / (float)source->hidden, source->hidden, &wide));
    for (uint32_t l = 0; l < source->layer_count; l++) {
        source->layers[l].attention_sub_norm = narrow;
        source->layers[l].ffn_sub_norm = wide;
    }
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------- the file

static tmac_status take_tensors(tmac_source *source, const tmac_tm2_index *index,
                                const walked *tensors)
{
    static const tmac_stacked vectors[] = {TMAC_STACKED_ATTENTION_NORM, TMAC_STACKED_FFN_NORM,
                                           TMAC_STACKED_FINAL_NORM, TMAC_STACKED_SINES};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        if (!tensors[vectors[i]].data)
            return tmac_fail(TMAC_BAD_FILE, "tensor %s is missing from the body",
                             tmac_stacked_describe(source, vectors[i]).name);
    TMAC_TRY(take_table(source, index, &tensors[TMAC_STACKED_EMBEDDING], "token_embd",
                        &source->embedding));
    source->head = source->embedding;
    if (!source->tied_head)
        TMAC_TRY(take_table(source, index, &tensors[TMAC_STACKED_HEAD], "output", &source->head));
    TMAC_TRY(tmac_source_vector(source, TMAC_F32, tensors[TMAC_STACKED_FINAL_NORM].data,
                                source->dim, &source->final_norm));
    size_t norm_bytes = 4 * (size_t)source->dim;
    for (uint32_t l = 0; l < source->layer_count; l++) {
        tmac_source_layer *layer = &source->layers[l];
        TMAC_TRY(tmac_source_vector(source, TMAC_F32,
                                    tensors[TMAC_STACKED_ATTENTION_NORM].data + l * norm_bytes,
                                    source->dim, &layer->attention_norm));
        TMAC_TRY(tmac_source_vector(source, TMAC_F32,
                                    tensors[TMAC_STACKED_FFN_NORM].data + l * norm_bytes,
                                    source->dim, &layer->ffn_norm));
    }
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        int part = tmac_stacked_describe(source, kind).part;
        for (uint32_t l = 0; part >= 0 && l < source->layer_count; l++)
            TMAC_TRY(take_part(source, index, &tensors[kind], (tmac_part_of_layer)part, l));
    }
    return tmac_ok();
}

static tmac_status read_model(tmac_source *source, const tmac_tm2_index *index)
{
    walked tensors[TMAC_STACKED_KINDS];
    TMAC_TRY(tmac_read_llama2c_header(source, source->map.data + HEADER_FIELDS));
    TMAC_TRY(tmac_tm2_read_head_dim(source, index));
    tmac_status status = walk(source, index, tensors);
    if (status.code != TMAC_OK && !index->present && in_bitnet_order(source))
        return tmac_read_tm2_bitnet(source);
    TMAC_TRY(status);
    TMAC_TRY(take_tensors(source, index, tensors));
    if (!index->present) return plain_meaning(source, tensors[TMAC_STACKED_SINES].data);
    TMAC_TRY(extended_meaning(source, index));
    TMAC_TRY(tmac_tm2_read_extras(source, index));
    return tmac_tm2_vocabulary(&source->map, index, &source->vocabulary);
}

tmac_status tmac_read_tm2(tmac_source *source)
{
    tmac_tm2_index index;
    TMAC_TRY(tmac_tm2_index_open(&source->map, &index));
    tmac_status status = read_model(source, &index);
    if (index
            .present) { // the trailer holds the hash of the index, which holds that of every tensor
        memcpy(source->recorded_hash, source->map.data + source->map.bytes - TMAC_TM2_TRAILER + 32,
               TMAC_HASH_BYTES);
        source->has_recorded_hash = true;
    }
    tmac_tm2_index_close(&index);
    return status;
}

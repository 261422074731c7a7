// Three small formats in llama2.c v0's order of tensors (convert/llama_order.h), each behind seven int32 as there:
//
//   TMAC  "TMAC"; matrices are flat streams of 2-bit codes over all layers, without scales: a weight is -1, 0 or +1. Norms
//         and RoPE tables are f32. Nothing is marked or padded.
//   Q4V1  "Q4V1", an int32 block size of 32 behind the seven; matrices in blocks of 4 bits
//   Q8V1  "Q8V1"; blocks of 8 bits
//
// The last two put a byte before each tensor (1: blocks, 0: f32); some files have neither these bytes nor the block size.
// Each way of reading says exactly how long the file is, and the one that fits is taken.
#include <stdio.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/flat.h"
#include "convert/llama_order.h"
#include "convert/readers.h"
#include "convert/tm2.h"

enum { MAGIC_BYTES = 4, HEADER_BYTES = 32 };

typedef struct walked {
    const uint8_t *data;
    bool blocks; // else f32
} walked;

static bool is_matrix(const tmac_stacked_shape *shape, tmac_stacked kind)
{
    return shape->part >= 0 || kind == TMAC_STACKED_EMBEDDING || kind == TMAC_STACKED_HEAD;
}

// Whether the file is exactly this long when read this way.
static bool walk(const tmac_source *source, tmac_flat_kind flat, uint64_t at, bool flags,
                 walked tensors[TMAC_STACKED_KINDS], uint64_t *end)
{
    uint64_t bytes = source->map.bytes;
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        if (kind == TMAC_STACKED_HEAD && source->tied_head) continue;
        bool blocks = is_matrix(&shape, kind);
        if (flags) {
            if (at >= bytes || source->map.data[at] > (blocks ? 1 : 0)) return false;
            blocks = source->map.data[at++] == 1;
        }
        tensors[kind] = (walked){source->map.data + at, blocks};
        uint64_t count = shape.rows * shape.columns;
        at += blocks ? tmac_flat_bytes(flat, count, 0) : 4 * count;
        *end = at;
        if (at > bytes) return false;
    }
    return at == bytes;
}

static tmac_status find_way(const tmac_source *source, tmac_flat_kind flat,
                            walked tensors[TMAC_STACKED_KINDS])
{
    uint64_t end = 0;
    bool sized = flat != TMAC_FLAT_TMAC && source->map.bytes >= HEADER_BYTES + 4 &&
                 tmac_load_u32(source->map.data + HEADER_BYTES) == 32;
    bool found =
        (sized && (walk(source, flat, HEADER_BYTES + 4, true, tensors, &end) ||
                   walk(source, flat, HEADER_BYTES + 4, false, tensors, &end))) ||
        (flat != TMAC_FLAT_TMAC && walk(source, flat, HEADER_BYTES, true, tensors, &end)) ||
        walk(source, flat, HEADER_BYTES, false, tensors, &end);
    return found ? tmac_ok()
                 : tmac_fail(TMAC_BAD_FILE,
                             "the tensors do not end where the file does (byte %llu of %zu): "
                             "truncated download, or damaged",
                             (unsigned long long)end, source->map.bytes);
}

static tmac_status take_matrix(tmac_source *source, tmac_matrix *matrix, const walked *tensor,
                               tmac_flat_kind kind, uint64_t first, bool table)
{
    tmac_flat flat = {.kind = kind, .codes = tensor->data, .first = first};
    if (!tensor->blocks) {
        tmac_matrix_float(matrix, TMAC_F32, tensor->data + 4 * first, 0);
        return table ? tmac_matrix_settle(source, matrix) : tmac_matrix_recognise(source, matrix);
    }
    return table ? tmac_flat_table(source, matrix, &flat) : tmac_flat_matrix(source, matrix, &flat);
}

static tmac_status take_layers(tmac_source *source, const tmac_stacked_shape *shape,
                               const walked *tensor, tmac_flat_kind flat, bool ffn)
{
    for (uint32_t l = 0; l < source->layer_count; l++) {
        tmac_source_layer *layer = &source->layers[l];
        if (shape->part < 0) {
            TMAC_TRY(tmac_source_vector(source, TMAC_F32,
                                        tensor->data + 4 * (uint64_t)l * source->dim, source->dim,
                                        ffn ? &layer->ffn_norm : &layer->attention_norm));
            continue;
        }
        tmac_part_of_layer part = (tmac_part_of_layer)shape->part;
        TMAC_TRY(tmac_layer_part_shape(source, l, part));
        tmac_matrix *matrix = tmac_layer_part(source, l, part);
        uint64_t first = (uint64_t)l * matrix->rows * matrix->columns;
        TMAC_TRY(take_matrix(source, matrix, tensor, flat, first, false));
    }
    return tmac_ok();
}

static tmac_status take_base(tmac_source *source, const uint8_t *sines)
{
    if (source->context < 2) return tmac_ok();
    float sine = tmac_load_f32(sines + 4 * ((uint64_t)source->head_dim - 1));
    source->rope_theta = tmac_tm2_rope_base(sine, source->head_dim);
    return source->rope_theta != 0.0f
               ? tmac_ok()
               : tmac_fail(TMAC_UNSUPPORTED,
                           "the RoPE tables belong to no base we know (10000, 500000, ...)");
}

static tmac_status take_all(tmac_source *source, tmac_flat_kind flat, const walked *tensors)
{
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        tmac_matrix table = {
            .name = shape.name, .rows = (uint32_t)shape.rows, .columns = shape.columns};
        if (kind == TMAC_STACKED_EMBEDDING) {
            TMAC_TRY(take_matrix(source, &table, &tensors[kind], flat, 0, true));
            source->head = source->embedding = table;
        } else if (kind == TMAC_STACKED_HEAD && !source->tied_head) {
            TMAC_TRY(take_matrix(source, &table, &tensors[kind], flat, 0, true));
            source->head = table;
        } else if (kind == TMAC_STACKED_FINAL_NORM) {
            TMAC_TRY(tmac_source_vector(source, TMAC_F32, tensors[kind].data, source->dim,
                                        &source->final_norm));
        } else if (shape.layered) {
            TMAC_TRY(
                take_layers(source, &shape, &tensors[kind], flat, kind == TMAC_STACKED_FFN_NORM));
        }
    }
    return take_base(source, tensors[TMAC_STACKED_SINES].data);
}

tmac_status tmac_read_edge(tmac_source *source)
{
    const uint8_t *data = source->map.data;
    tmac_flat_kind flat = data[0] == 'T'   ? TMAC_FLAT_TMAC
                          : data[1] == '4' ? TMAC_FLAT_Q4V1
                                           : TMAC_FLAT_Q8V1;
    walked tensors[TMAC_STACKED_KINDS] = {{NULL, false}};
    if (source->map.bytes < HEADER_BYTES)
        return tmac_fail(TMAC_BAD_FILE,
                         "the header ends at byte 32 but the file has %zu: truncated download?",
                         source->map.bytes);
    if (flat == TMAC_FLAT_TMAC && tmac_load_u32(data + 4) == 2 && tmac_load_u32(data + 24) == 2 &&
        tmac_load_u32(data + 28) == 4)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "the other TMAC container (version 2 with named tensors, written by "
                         "quantize_bitnet.py), which is not supported: convert the original");
    TMAC_TRY(tmac_read_llama2c_header(source, data + MAGIC_BYTES));
    TMAC_TRY(find_way(source, flat, tensors));
    return take_all(source, flat, tensors);
}

// llama2.c's first format ("v0"): no magic, seven int32, then f32 tensors without any mark between them.
//
//   0   int32 dim, hidden, layers, heads, kv_heads, vocab, context; vocab < 0: the head is a matrix of its own
//   28  f32, in the order of convert/llama_order.h: rows are outputs, columns inputs, RoPE in interleaved pairs; the
//       RoPE tables [context, head_dim / 2] are not used (base 10000 is implied), the last tensor is there only where
//       vocab < 0
//
// What makes a file one of these is that the header says exactly how long the file is.
#include <stdlib.h>

#include "convert/bytes.h"
#include "convert/llama_order.h"
#include "convert/readers.h"

enum { HEADER_BYTES = 28 };

tmac_status tmac_read_llama2c_header(tmac_source *source, const uint8_t *header)
{
    uint32_t *fields[] = {&source->dim,      &source->hidden, &source->layer_count, &source->heads,
                          &source->kv_heads, &source->vocab,  &source->context};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        *fields[i] = tmac_load_u32(header + 4 * i);
    source->tied_head = (int32_t)source->vocab > 0;
    if (!source->tied_head) source->vocab = 0u - source->vocab;
    if (source->heads == 0 || source->dim % source->heads != 0)
        return tmac_fail(TMAC_BAD_FILE,
                         "dim %d is not a multiple of heads %d: not a model, or damaged",
                         (int)source->dim, (int)source->heads);
    source->head_dim = source->rope_dims = source->dim / source->heads;
    TMAC_TRY(tmac_source_check_dimensions(source));
    return tmac_source_take_layers(source);
}

static uint64_t expected_bytes(const tmac_source *source)
{
    uint64_t bytes = HEADER_BYTES;
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        if (kind == TMAC_STACKED_HEAD && source->tied_head) continue;
        bytes += shape.rows * shape.columns * sizeof(float);
    }
    return bytes;
}

// Points the layers' tensors of one kind into the file.
static tmac_status take_layers(tmac_source *source, tmac_stacked kind, tmac_stacked_shape shape,
                               const uint8_t *data)
{
    size_t layer_bytes = shape.rows / source->layer_count * shape.columns * sizeof(float);
    for (uint32_t l = 0; l < source->layer_count; l++, data += layer_bytes) {
        tmac_source_layer *layer = &source->layers[l];
        if (shape.part >= 0) {
            tmac_part_of_layer part = (tmac_part_of_layer)shape.part;
            TMAC_TRY(tmac_layer_part_shape(source, l, part));
            tmac_matrix *matrix = tmac_layer_part(source, l, part);
            tmac_matrix_float(matrix, TMAC_F32, data, 0);
            TMAC_TRY(tmac_matrix_recognise(source, matrix));
        } else {
            TMAC_TRY(tmac_source_vector(source, TMAC_F32, data, shape.columns,
                                        kind == TMAC_STACKED_FFN_NORM ? &layer->ffn_norm
                                                                      : &layer->attention_norm));
        }
    }
    return tmac_ok();
}

tmac_status tmac_read_llama2c(tmac_source *source)
{
    const char *unknown = "no format we know (llama2.c v0, bitllama2.c, GGUF, TM2)";
    if (source->map.bytes < HEADER_BYTES)
        return tmac_fail(TMAC_BAD_FILE, "%s: it has only %zu bytes", unknown, source->map.bytes);
    tmac_status status = tmac_read_llama2c_header(source, source->map.data);
    if (status.code == TMAC_BAD_FILE)
        return tmac_fail(TMAC_BAD_FILE, "%s; taken as llama2.c v0, %s", unknown, status.message);
    TMAC_TRY(status);

    uint64_t expected = expected_bytes(source);
    if (source->map.bytes != expected)
        return tmac_fail(
            TMAC_BAD_FILE,
            "as a llama2.c v0 model (dim %u, hidden %u, %u layers, vocab %u) it should have %llu "
            "bytes but has %zu: %s",
            source->dim, source->hidden, source->layer_count, source->vocab,
            (unsigned long long)expected, source->map.bytes,
            source->map.bytes < expected ? "truncated download?" : "not a model, or damaged");

    const uint8_t *data = source->map.data + HEADER_BYTES;
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        tmac_matrix matrix = {
            .name = shape.name, .rows = (uint32_t)shape.rows, .columns = shape.columns};
        if (kind == TMAC_STACKED_HEAD && source->tied_head) {
            source->head = source->embedding;
            break;
        } else if (kind == TMAC_STACKED_EMBEDDING || kind == TMAC_STACKED_HEAD) {
            tmac_matrix_float(&matrix, TMAC_F32, data, 0);
            *(kind == TMAC_STACKED_HEAD ? &source->head : &source->embedding) = matrix;
        } else if (kind == TMAC_STACKED_FINAL_NORM) {
            TMAC_TRY(
                tmac_source_vector(source, TMAC_F32, data, shape.columns, &source->final_norm));
        } else if (shape.layered) {
            TMAC_TRY(take_layers(source, kind, shape, data));
        }
        data += shape.rows * shape.columns * sizeof(float);
    }
    return tmac_ok();
}

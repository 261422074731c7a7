// llama2.c's later formats, whose header bitllama2.c borrowed (convert/bitllama.c):
//
//   0    u32 magic "24ka", int32 version
//   8    int32 dim, hidden, layers, heads, kv_heads, vocab, context
//   36   u8 1: the head is the embedding
//   v1   zeros up to 256; f32 attention norms [layers, dim], FFN norms, last norm; embedding, all wq, wk, wv, wo, w1
//        (gate), w2 (down), w3 (up), head where it is one of its own
//   v2   int32 group size at byte 37; zeros up to 256; the norms as in v1; then the same matrices, each int8 [n] and
//        f32 scales [n / group]: groups are counted over the whole matrix and may cross rows
#include <stdio.h>

#include "convert/bytes.h"
#include "convert/flat.h"
#include "convert/neutral.h"
#include "convert/readers.h"

enum { HEADER_BYTES = 256, GROUP_AT = 37 };

static const tmac_part_of_layer stored[TMAC_LAYER_MATRICES] = {
    TMAC_LAYER_QUERY, TMAC_LAYER_KEY,  TMAC_LAYER_VALUE, TMAC_LAYER_OUTPUT,
    TMAC_LAYER_GATE,  TMAC_LAYER_DOWN, TMAC_LAYER_UP,
};

typedef struct walk {
    tmac_source *source;
    uint32_t group; // 0: version 1
    const uint8_t *data;
} walk;

static uint64_t matrix_bytes(uint64_t count, uint32_t group)
{
    return group ? tmac_flat_bytes(TMAC_FLAT_Q80, count, group) : 4 * count;
}

static tmac_status check_size(const tmac_source *source, uint32_t group)
{
    uint64_t dim = source->dim, table = source->vocab * dim, layers = source->layer_count;
    uint64_t bytes = HEADER_BYTES + 4 * dim * (2 * layers + 1);
    bool whole = group == 0 || table % group == 0;
    bytes += matrix_bytes(table, group) * (source->tied_head ? 1 : 2);
    for (int i = 0; i < TMAC_LAYER_MATRICES; i++) {
        uint32_t rows, columns;
        tmac_layer_part_size(source, stored[i], &rows, &columns);
        uint64_t count = (uint64_t)rows * columns;
        whole = whole && (group == 0 || count % group == 0);
        bytes += layers * matrix_bytes(count, group);
    }
    if (!whole)
        return tmac_fail(TMAC_BAD_FILE, "its matrices do not fill whole groups of %u", group);
    if (source->map.bytes != bytes)
        return tmac_fail(
            TMAC_BAD_FILE,
            "as a llama2.c v%d model (dim %u, hidden %u, %u layers, vocab %u) it should "
            "have %llu bytes but has %zu: truncated download?",
            group ? 2 : 1, source->dim, source->hidden, source->layer_count, source->vocab,
            (unsigned long long)bytes, source->map.bytes);
    return tmac_ok();
}

static tmac_status take_norms(walk *w, bool ffn)
{
    for (uint32_t l = 0; l < w->source->layer_count; l++) {
        tmac_source_layer *layer = &w->source->layers[l];
        TMAC_TRY(tmac_source_vector(w->source, TMAC_F32, w->data, w->source->dim,
                                    ffn ? &layer->ffn_norm : &layer->attention_norm));
        w->data += 4 * (size_t)w->source->dim;
    }
    return tmac_ok();
}

static tmac_status take_matrix(walk *w, tmac_matrix *matrix, bool table)
{
    uint64_t count = (uint64_t)matrix->rows * matrix->columns;
    tmac_flat flat = {
        .kind = TMAC_FLAT_Q80, .codes = w->data, .scales = w->data + count, .group = w->group};
    w->data += matrix_bytes(count, w->group);
    if (w->group)
        return table ? tmac_flat_table(w->source, matrix, &flat)
                     : tmac_flat_matrix(w->source, matrix, &flat);
    tmac_matrix_float(matrix, TMAC_F32, flat.codes, 0);
    return table ? tmac_ok() : tmac_matrix_recognise(w->source, matrix);
}

static tmac_status take_all(walk *w)
{
    tmac_source *source = w->source;
    TMAC_TRY(take_norms(w, false));
    TMAC_TRY(take_norms(w, true));
    TMAC_TRY(tmac_source_vector(source, TMAC_F32, w->data, source->dim, &source->final_norm));
    w->data += 4 * (size_t)source->dim;
    source->embedding =
        (tmac_matrix){.name = "token_embd", .rows = source->vocab, .columns = source->dim};
    TMAC_TRY(take_matrix(w, &source->embedding, true));
    for (int i = 0; i < TMAC_LAYER_MATRICES; i++)
        for (uint32_t l = 0; l < source->layer_count; l++) {
            TMAC_TRY(tmac_layer_part_shape(source, l, stored[i]));
            TMAC_TRY(take_matrix(w, tmac_layer_part(source, l, stored[i]), false));
        }
    source->head = source->embedding;
    if (source->tied_head) return tmac_ok();
    source->head = (tmac_matrix){.name = "output", .rows = source->vocab, .columns = source->dim};
    return take_matrix(w, &source->head, true);
}

tmac_status tmac_read_llama2c_later(tmac_source *source, uint32_t version)
{
    uint32_t group = version == 2 ? tmac_load_u32(source->map.data + GROUP_AT) : 0;
    snprintf(source->format, sizeof source->format, "llama2.c v%u", version);
    if (version == 2 && (group == 0 || group > source->dim))
        return tmac_fail(TMAC_BAD_FILE, "its group size is %u", group);
    TMAC_TRY(check_size(source, group));
    walk w = {source, group, source->map.data + HEADER_BYTES};
    return take_all(&w);
}

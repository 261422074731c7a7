// bitllama2.c: trained BitNet b1.58 models, ternary weights, one f32 scale a matrix.
//
//   0    u32 magic 0x616b3432 ("24ka" in the file), int32 version 1
//   8    int32 dim, hidden, layers, heads, kv_heads, vocab, context
//   36   u8 1: the head is the embedding; zeros up to 256
//   256  f32 last norm [dim], f32 embedding [vocab, dim], then all wq, all wk, wv, wo, w1 (gate), w2 (down), w3 (up):
//        each f32 scale, then rows * columns / 4 bytes of signed 2-bit codes, flat (convert/ternary.c)
//
// Three things the file does not say:
//   - The order of the codes in a byte. Exporters of before and after a change write it both ways, and every file is
//     valid in both. We know some files by their SHA-256; for others the user must say.
//   - That it is not llama2.c's float format v1, which has the same magic and version: the size tells them apart.
//   - The norms inside the layers, which have no weights: x / (n * rms(x)), so weight 1/n and (for 0/0) epsilon 1e-12,
//     in front of the output and down projections too. The last norm has llama2.c's 1e-5.
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "convert/bytes.h"
#include "convert/neutral.h"
#include "convert/readers.h"
#include "convert/ternary.h"

enum { HEADER_BYTES = 256, FIELDS_AT = 8, SHARED_AT = 36 };

// Files whose bit order is known.
static const struct {
    uint64_t bytes;
    const char *hash;
    tmac_bit_order order;
} known[] = {
    {1312224, "d16ebf2cb9b92836b3daa4455018e48a6eea1e573c534b621d5c0c3785497548",
     TMAC_BIT_ORDER_MSB},
    {558048, "acd871ff71ea7c950bf766cacf78db56f640dd7a66ffb6012a2472d9b1282c88",
     TMAC_BIT_ORDER_MSB},
    {1312224, "c25d26aa9a8a008ca1f7d0ff81aa94c0cbf75e380b1cdeb95c9c966fd202d788",
     TMAC_BIT_ORDER_LSB},
};

// The order in which the kinds of matrices are stored.
static const tmac_part_of_layer stored[TMAC_LAYER_MATRICES] = {
    TMAC_LAYER_QUERY, TMAC_LAYER_KEY,  TMAC_LAYER_VALUE, TMAC_LAYER_OUTPUT,
    TMAC_LAYER_GATE,  TMAC_LAYER_DOWN, TMAC_LAYER_UP,
};

static tmac_bit_order recognise(const tmac_map *map)
{
    char hex[TMAC_HASH_HEX] = "";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].bytes != map->bytes) continue;
        if (!*hex) {
            uint8_t digest[TMAC_HASH_BYTES];
            tmac_hash(map->data, map->bytes, digest);
            tmac_hash_hex(digest, hex);
        }
        if (strcmp(hex, known[i].hash) == 0) return known[i].order;
    }
    return TMAC_BIT_ORDER_UNKNOWN;
}

static tmac_status settle_order(const tmac_map *map, tmac_bit_order *order)
{
    tmac_bit_order recognised = recognise(map);
    if (*order == TMAC_BIT_ORDER_UNKNOWN) *order = recognised;
    if (*order == TMAC_BIT_ORDER_UNKNOWN)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "a bitllama2.c file does not say whether the first of a byte's four codes is in its "
            "high "
            "or its low bits, and this file is not one we know: say --bit-order msb (exports of "
            "before 2025-04-30) or --bit-order lsb (later ones); the wrong one gives nonsense");
    if (recognised != TMAC_BIT_ORDER_UNKNOWN && recognised != *order)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "this file is known to be %s first: leave --bit-order away",
                         recognised == TMAC_BIT_ORDER_MSB ? "msb" : "lsb");
    return tmac_ok();
}

// Bytes of this format, and of llama2.c's float v1 under the same header.
static void expected_bytes(const tmac_source *source, uint64_t *ternary, uint64_t *floating)
{
    uint64_t dim = source->dim, layers = source->layer_count, embedding = source->vocab * dim;
    *ternary = HEADER_BYTES + 4 * (dim + embedding);
    *floating = *ternary + 4 * 2 * layers * dim + (source->tied_head ? 0 : 4 * embedding);
    if (!source->tied_head) *ternary += 4 + embedding / 4;
    for (size_t i = 0; i < TMAC_LAYER_MATRICES; i++) {
        uint32_t rows, columns;
        tmac_layer_part_size(source, stored[i], &rows, &columns);
        uint64_t weights = (uint64_t)rows * columns;
        *ternary += layers * (4 + weights / 4);
        *floating += layers * 4 * weights;
    }
}

static tmac_status check_size(const tmac_source *source, bool *floats)
{
    uint64_t ternary, floating;
    expected_bytes(source, &ternary, &floating);
    *floats = source->map.bytes == floating;
    if (*floats) return tmac_ok();
    if (source->map.bytes != ternary)
        return tmac_fail(
            TMAC_BAD_FILE,
            "with this header (dim %u, hidden %u, %u layers, vocab %u) a bitllama2.c model has "
            "%llu "
            "bytes and a llama2.c v1 float model %llu, but the file has %zu: truncated download?",
            source->dim, source->hidden, source->layer_count, source->vocab,
            (unsigned long long)ternary, (unsigned long long)floating, source->map.bytes);
    if (!source->tied_head)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "a bitllama2.c model with a ternary head of its own, which is not supported");
    return tmac_ok();
}

static tmac_status take_matrix(tmac_source *source, uint32_t layer, tmac_part_of_layer part,
                               bool msb_first, const uint8_t **data)
{
    TMAC_TRY(tmac_layer_part_shape(source, layer, part));
    tmac_matrix *matrix = tmac_layer_part(source, layer, part);
    size_t weights = (size_t)matrix->rows * matrix->columns;
    if (weights % 4 != 0)
        return tmac_fail(TMAC_BAD_FILE, "%s: %u x %u weights do not fill whole bytes", matrix->name,
                         matrix->rows, matrix->columns);
    TMAC_TRY(tmac_matrix_tensor_scale(source, matrix, tmac_load_f32(*data)));
    tmac_ternary_flat(matrix, *data + 4, msb_first);
    if (tmac_codes_have_2(*data + 4, weights / 4))
        return tmac_fail(TMAC_BAD_FILE, "%s holds the code 10, which means nothing: damaged?",
                         matrix->name);
    *data += 4 + weights / 4;
    return tmac_ok();
}

tmac_status tmac_read_bitllama(tmac_source *source, tmac_bit_order order)
{
    const uint8_t *data = source->map.data;
    if (source->map.bytes < HEADER_BYTES)
        return tmac_fail(TMAC_BAD_FILE,
                         "the header ends at byte 256 but the file has %zu: truncated download?",
                         source->map.bytes);
    uint32_t version = tmac_load_u32(data + 4);
    if (version != 1 && version != 2)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "llama2.c format version %u is not supported, 1 and 2 are", version);
    if (data[SHARED_AT] > 1)
        return tmac_fail(TMAC_BAD_FILE, "byte 36 (shared head) is %u, expected 0 or 1",
                         data[SHARED_AT]);
    TMAC_TRY(tmac_read_llama2c_header(source, data + FIELDS_AT));
    source->tied_head = data[SHARED_AT] == 1;
    if (version == 2) return tmac_read_llama2c_later(source, 2);
    bool floats;
    TMAC_TRY(check_size(source, &floats));
    if (floats) return tmac_read_llama2c_later(source, 1);
    TMAC_TRY(settle_order(&source->map, &order));

    snprintf(source->architecture, sizeof source->architecture, "bitnet");
    source->norm_epsilon = 1e-12f;
    data += HEADER_BYTES;
    TMAC_TRY(tmac_source_vector(source, TMAC_F32, data, source->dim, &source->final_norm));
    data += 4 * (size_t)source->dim;
    source->embedding =
        (tmac_matrix){.name = "token_embd", .rows = source->vocab, .columns = source->dim};
    tmac_matrix_float(&source->embedding, TMAC_F32, data, 0);
    source->head = source->embedding;
    data += 4 * (size_t)source->dim * source->vocab;
    for (size_t i = 0; i < TMAC_LAYER_MATRICES; i++)
        for (uint32_t l = 0; l < source->layer_count; l++)
            TMAC_TRY(take_matrix(source, l, stored[i], order == TMAC_BIT_ORDER_MSB, &data));

    const float *narrow,
        *wide; // norms of vectors as long as dim and as hidden: shared by all layers
    TMAC_TRY(tmac_source_constant(source, 1.0f / (float)source->dim, source->dim, &narrow));
    TMAC_TRY(tmac_source_constant(source, 1.0f / (float)source->hidden, source->hidden, &wide));
    for (uint32_t l = 0; l < source->layer_count; l++) {
        tmac_source_layer *layer = &source->layers[l];
        layer->attention_norm = layer->attention_sub_norm = layer->ffn_norm = narrow;
        layer->ffn_sub_norm = wide;
    }
    return tmac_ok();
}

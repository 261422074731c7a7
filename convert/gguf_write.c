// Writing GGUF v3, for llama.cpp and bitnet.cpp.
//
// Ternary weights keep their codes and their exact scale. Where the type cannot hold the scale (f16 block scales; f16 and
// bf16 numbers), the weights are written as -1, 0, +1 and the scale goes to an F32 tensor "blk.N.PART.scale", which both
// programs multiply the projection by. I2_S has room for it. Scales of rows or groups go into the blocks where f16 holds
// them exactly and are refused otherwise. Embedding and head keep their numbers under the ternary types.
//
// One thing GGUF has no name for: an epsilon of its own for the last norm. It is written as "tmac.final_norm_epsilon",
// which other programs skip. RoPE scaling by one factor is a pair of values. Any other is the tensor rope_freqs, which
// llama.cpp takes for llama alone; but its llama has biases too, so that qwen2 can be written as one.
//
// The list of tensors is made first, with offsets, then written; no more than a few rows are unpacked at any time.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/version.h"
#include "convert/gguf.h"
#include "convert/gguf_pack.h"
#include "convert/gguf_values.h"
#include "convert/neutral.h"
#include "convert/writers.h"
#include "runtime/half.h"

enum { NAME_BYTES = 64, ALIGNMENT = 32, PART_TENSORS = 5, LAYER_TENSORS = 48 };

typedef struct item {
    char name[NAME_BYTES];
    uint32_t type;
    uint64_t extent[2]; // fastest first; extent[1] 0: a vector
    uint64_t offset, bytes;
    const tmac_matrix *matrix; // NULL: the values
    const float *values;
    uint32_t head;   // rows of a head to be written in half-split order; 0: as they are
    bool unit;       // ternary weights as -1, 0, +1: their scale is beside them
    bool transposed; // values are [extent[0]][extent[1]]
} item;

typedef struct writer {
    const tmac_source *source;
    uint32_t type; // of projections
    item *items;
    size_t count;
    uint64_t offset;
    tmac_gguf_values values;
    tmac_status status;
} writer;

// --------------------------------------------------------------------------------------------------------- values

// The factor that divides all rotation frequencies; 0 where each has its own.
static float rope_factor(const tmac_source *source)
{
    if (!source->rope_divisors) return 1.0f;
    for (uint32_t i = 1; i < source->rope_dims / 2; i++)
        if (source->rope_divisors[i] != source->rope_divisors[0]) return 0.0f;
    return source->rope_divisors[0];
}

// What cosines and sines are multiplied by.
static float rope_magnitude(const tmac_source *source)
{
    return source->rope_magnitude != 0.0f ? source->rope_magnitude : 1.0f;
}

// What the model is called in GGUF; NULL where nothing there computes the same.
static const char *architecture_of(const tmac_source *source)
{
    const tmac_source_layer *layer = &source->layers[0];
    const bool scaled = rope_factor(source) == 0.0f || rope_magnitude(source) != 1.0f;
    if (!layer->attention_sub_norm != !layer->ffn_sub_norm) return NULL;
    if ((layer->attention_sub_norm || scaled) && layer->extras.query_norm) return NULL;
    if (layer->attention_sub_norm && scaled) return NULL;
    if (layer->attention_sub_norm)
        return source->activation == TMAC_RELU2 ? "bitnet-b1.58" : "bitnet";
    if (source->activation != TMAC_SILU) return NULL;
    if (layer->extras.query_norm) return "qwen3";
    return layer->extras.bias[0] && !scaled ? "qwen2" : "llama";
}

static void put_rope(writer *w, const char *arch)
{
    char name[NAME_BYTES];
    const float factor = rope_factor(w->source), magnitude = rope_magnitude(w->source);
    snprintf(name, sizeof name, "%s.rope.freq_base", arch);
    tmac_put_f32(&w->values, name, w->source->rope_theta);
    if (factor != 0.0f && factor != 1.0f) {
        snprintf(name, sizeof name, "%s.rope.scaling.type", arch);
        tmac_put_text(&w->values, name, "linear");
        snprintf(name, sizeof name, "%s.rope.scaling.factor", arch);
        tmac_put_f32(&w->values, name, factor);
    }
    snprintf(name, sizeof name, "%s.rope.scaling.attn_factor", arch);
    if (magnitude != 1.0f) tmac_put_f32(&w->values, name, magnitude);
}

static tmac_status put_values(writer *w, const char *arch)
{
    const tmac_source *source = w->source;
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = {{"vocab_size", source->vocab},
                   {"context_length", source->context},
                   {"embedding_length", source->dim},
                   {"block_count", source->layer_count},
                   {"feed_forward_length", source->hidden},
                   {"attention.head_count", source->heads},
                   {"attention.head_count_kv", source->kv_heads},
                   {"attention.key_length", source->head_dim},
                   {"attention.value_length", source->head_dim},
                   {"rope.dimension_count", source->rope_dims}};
    static const struct {
        uint32_t type, file_type;
    } file_types[] = {{TMAC_GGUF_TYPE_F32, 0},    {TMAC_GGUF_TYPE_F16, 1},
                      {TMAC_GGUF_TYPE_Q8_0, 7},   {TMAC_GGUF_TYPE_BF16, 32},
                      {TMAC_GGUF_TYPE_TQ1_0, 36}, {TMAC_GGUF_TYPE_TQ2_0, 37},
                      {TMAC_GGUF_TYPE_I2_S, 40}};
    char name[NAME_BYTES];
    tmac_put_text(&w->values, "general.architecture", arch);
    tmac_put_text(&w->values, "general.name", "tmac " TMAC_VERSION);
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].type == w->type)
            tmac_put_u32(&w->values, "general.file_type", file_types[i].file_type);
    tmac_put_u32(&w->values, "general.quantization_version", 2);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        snprintf(name, sizeof name, "%s.%s", arch, numbers[i].name);
        tmac_put_u32(&w->values, name, numbers[i].value);
    }
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", arch);
    tmac_put_f32(&w->values, name, source->norm_epsilon);
    put_rope(w, arch);
    if (source->final_norm_epsilon != source->norm_epsilon)
        tmac_put_f32(&w->values, "tmac.final_norm_epsilon", source->final_norm_epsilon);
    TMAC_TRY(tmac_put_vocabulary(&w->values, &source->vocabulary));
    return w->values.status;
}

// -------------------------------------------------------------------------------------------------------- tensors

static item *add(writer *w, const char *name, uint32_t type, uint64_t columns, uint64_t rows)
{
    item *it = &w->items[w->count++];
    snprintf(it->name, sizeof it->name, "%s", name);
    it->type = type;
    it->extent[0] = columns;
    it->extent[1] = rows;
    it->offset = w->offset;
    it->bytes = tmac_gguf_packed_bytes(type, columns, rows ? rows : 1);
    w->offset += (it->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return it;
}

static void add_vector(writer *w, const char *name, const float *values, uint32_t count,
                       uint32_t head)
{
    if (!values) return;
    item *it = add(w, name, TMAC_GGUF_TYPE_F32, count, 0);
    it->values = values;
    it->head = head;
}

static void add_table(writer *w, const char *name, const tmac_matrix *matrix)
{
    static const uint32_t kept[] = {[TMAC_F32] = TMAC_GGUF_TYPE_F32,
                                    [TMAC_F16] = TMAC_GGUF_TYPE_F16,
                                    [TMAC_BF16] = TMAC_GGUF_TYPE_BF16};
    bool whole = w->type == TMAC_GGUF_TYPE_F32 || w->type == TMAC_GGUF_TYPE_F16 ||
                 w->type == TMAC_GGUF_TYPE_BF16 || w->type == TMAC_GGUF_TYPE_Q8_0;
    item *it = add(w, name, whole ? w->type : kept[matrix->number], matrix->columns, matrix->rows);
    it->matrix = matrix;
}

static bool fits_f16(const tmac_matrix *matrix)
{
    for (uint32_t i = 0; i < matrix->scale_count; i++)
        if (tmac_f16_to_f32(tmac_f32_to_f16(matrix->scales[i])) != matrix->scales[i]) return false;
    return true;
}

static tmac_status add_ternary(writer *w, item *it, const tmac_matrix *matrix)
{
    if (matrix->scale_count == 1) {
        it->unit = w->type != TMAC_GGUF_TYPE_F32 && w->type != TMAC_GGUF_TYPE_I2_S;
        if (!it->unit) return tmac_ok();
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s.scale", matrix->name);
        add_vector(w, name, matrix->scales, 1, 0);
        return tmac_ok();
    }
    bool blocks = matrix->group == matrix->columns || matrix->group % 256 == 0;
    if (w->type == TMAC_GGUF_TYPE_F32 ||
        ((w->type == TMAC_GGUF_TYPE_TQ1_0 || w->type == TMAC_GGUF_TYPE_TQ2_0) && blocks &&
         fits_f16(matrix)))
        return tmac_ok();
    return tmac_fail(TMAC_UNSUPPORTED,
                     "%s has scales of rows or groups, which this type cannot hold exactly: take "
                     "--type f32",
                     matrix->name);
}

static tmac_status add_projection(writer *w, const tmac_matrix *matrix, uint32_t head)
{
    bool ternary_type = w->type == TMAC_GGUF_TYPE_TQ1_0 || w->type == TMAC_GGUF_TYPE_TQ2_0 ||
                        w->type == TMAC_GGUF_TYPE_I2_S;
    bool ternary = matrix->number == TMAC_TERNARY;
    char name[NAME_BYTES];
    if (tmac_number_is_integer(matrix->number) && !ternary)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "%s has weights of one to four bits, which are not written to GGUF",
                         matrix->name);
    if (ternary_type && !ternary)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "%s is not ternary: a ternary type would make another model of it; "
                         "--quantize ternary does that, and the result of rounding an ordinary "
                         "model is garbage",
                         matrix->name);
    if (w->type == TMAC_GGUF_TYPE_I2_S && (uint64_t)matrix->rows * matrix->columns % 128 != 0)
        return tmac_fail(TMAC_UNSUPPORTED, "%s: %u x %u weights do not fill whole blocks",
                         matrix->name, matrix->rows, matrix->columns);
    snprintf(name, sizeof name, "%s.weight", matrix->name);
    item *it = add(w, name, w->type, matrix->columns, matrix->rows);
    it->matrix = matrix;
    it->head = head;
    return ternary ? add_ternary(w, it, matrix) : tmac_ok();
}

static void add_low_rank(writer *w, const tmac_matrix *matrix, const tmac_low_rank *low,
                         uint32_t head)
{
    char name[NAME_BYTES];
    if (low->rank == 0) return;
    snprintf(name, sizeof name, "%s.lrc_u", matrix->name);
    item *it = add(w, name, TMAC_GGUF_TYPE_F32, low->rank, matrix->rows);
    it->values = low->up;
    it->head = head;
    snprintf(name, sizeof name, "%s.lrc_v", matrix->name);
    it = add(w, name, TMAC_GGUF_TYPE_F32, low->rank, matrix->columns);
    it->values = low->down;
    it->transposed = true;
}

static tmac_status add_layer(writer *w, uint32_t index, bool half_split)
{
    const tmac_source *source = w->source;
    const tmac_source_layer *layer = &source->layers[index];
    uint32_t dim = half_split ? source->head_dim : 0;
    const struct {
        const char *name;
        const float *values;
        uint32_t count, head;
    } norms[] = {
        {"attn_norm", layer->attention_norm, source->dim, 0},
        {"attn_q_norm", layer->extras.query_norm, source->head_dim, dim},
        {"attn_k_norm", layer->extras.key_norm, source->head_dim, dim},
        {"attn_sub_norm", layer->attention_sub_norm, source->heads * source->head_dim, 0},
        {"ffn_norm", layer->ffn_norm, source->dim, 0},
        {"ffn_sub_norm", layer->ffn_sub_norm, source->hidden, 0},
    };
    char name[NAME_BYTES];
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        snprintf(name, sizeof name, "blk.%u.%s.weight", index, norms[i].name);
        add_vector(w, name, norms[i].values, norms[i].count, norms[i].head);
    }
    for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
        tmac_part_of_layer part = (tmac_part_of_layer)p;
        const tmac_matrix *matrix = tmac_layer_part(source, index, part);
        uint32_t head = part == TMAC_LAYER_QUERY || part == TMAC_LAYER_KEY ? dim : 0;
        TMAC_TRY(add_projection(w, matrix, head));
        snprintf(name, sizeof name, "%s.bias", matrix->name);
        if (part <= TMAC_LAYER_VALUE)
            add_vector(w, name, layer->extras.bias[part], matrix->rows, head);
        add_low_rank(w, matrix, &layer->extras.low[part], head);
    }
    return tmac_ok();
}

static tmac_status add_all(writer *w, const char *arch)
{
    const tmac_source *source = w->source;
    bool half_split = strcmp(arch, "llama") != 0;
    add_table(w, "token_embd.weight", &source->embedding);
    if (rope_factor(source) == 0.0f)
        add_vector(w, "rope_freqs.weight", source->rope_divisors, source->rope_dims / 2, 0);
    for (uint32_t l = 0; l < source->layer_count; l++)
        TMAC_TRY(add_layer(w, l, half_split));
    add_vector(w, "output_norm.weight", source->final_norm, source->dim, 0);
    if (!source->tied_head) add_table(w, "output.weight", &source->head);
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------- the file

static void write_infos(const writer *w, tmac_output *output)
{
    for (size_t i = 0; i < w->count; i++) {
        const item *it = &w->items[i];
        uint64_t length = strlen(it->name);
        uint32_t dimensions = it->extent[1] ? 2 : 1;
        tmac_output_write(output, &length, sizeof length);
        tmac_output_write(output, it->name, length);
        tmac_output_write(output, &dimensions, sizeof dimensions);
        tmac_output_write(output, it->extent, dimensions * sizeof *it->extent);
        tmac_output_write(output, &it->type, sizeof it->type);
        tmac_output_write(output, &it->offset, sizeof it->offset);
    }
}

static void write_values(const item *it, tmac_output *output)
{
    uint64_t columns = it->extent[1] ? it->extent[0] : 1;
    uint64_t rows = it->extent[1] ? it->extent[1] : it->extent[0];
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t row = tmac_neutral_row((uint32_t)r, it->head);
        for (uint64_t c = 0; c < columns && it->transposed; c++)
            tmac_output_write(output, it->values + c * rows + row, sizeof(float));
        if (!it->transposed)
            tmac_output_write(output, it->values + row * columns, columns * sizeof(float));
    }
}

static tmac_status write_file(writer *w, const char *path)
{
    tmac_output output;
    tmac_progress progress;
    TMAC_TRY(tmac_output_open(path, &output));
    const uint32_t version = 3;
    const uint64_t counts[2] = {w->count, w->values.count};
    tmac_output_write(&output, "GGUF", 4);
    tmac_output_write(&output, &version, sizeof version);
    tmac_output_write(&output, counts, sizeof counts);
    tmac_output_write(&output, w->values.data, w->values.used);
    write_infos(w, &output);
    tmac_output_pad(&output, ALIGNMENT);
    tmac_progress_begin(&progress, "writing", w->offset);
    for (size_t i = 0; i < w->count && w->status.code == TMAC_OK; i++) {
        const item *it = &w->items[i];
        if (it->matrix)
            w->status = tmac_gguf_pack(it->matrix, it->type, it->head, it->unit, &output);
        else
            write_values(it, &output);
        tmac_output_pad(&output, ALIGNMENT);
        tmac_progress_advance(&progress, it->bytes);
        tmac_source_drop(w->source);
    }
    tmac_progress_end(&progress);
    if (w->status.code == TMAC_OK) return tmac_output_commit(&output);
    tmac_output_abort(&output);
    return w->status;
}

tmac_status tmac_gguf_type_parse(const char *text, uint32_t *type)
{
    static const struct {
        const char *name;
        uint32_t type;
    } types[] = {{"f32", TMAC_GGUF_TYPE_F32},     {"f16", TMAC_GGUF_TYPE_F16},
                 {"bf16", TMAC_GGUF_TYPE_BF16},   {"q8_0", TMAC_GGUF_TYPE_Q8_0},
                 {"tq1_0", TMAC_GGUF_TYPE_TQ1_0}, {"tq2_0", TMAC_GGUF_TYPE_TQ2_0},
                 {"i2_s", TMAC_GGUF_TYPE_I2_S}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        *type = types[i].type;
        if (strcmp(text, types[i].name) == 0) return tmac_ok();
    }
    return tmac_fail(TMAC_USAGE,
                     "--type %.20s: expected f32, f16, bf16, q8_0, tq1_0, tq2_0 or i2_s", text);
}

// The weights that one scale belongs to; rows are whole blocks.
static uint32_t block_of(uint32_t type)
{
    if (type == TMAC_GGUF_TYPE_TQ1_0 || type == TMAC_GGUF_TYPE_TQ2_0) return 256;
    return type == TMAC_GGUF_TYPE_Q8_0 ? 32 : 1;
}

static bool fills(const tmac_source *source, uint32_t block)
{
    return source->dim % block == 0 && source->hidden % block == 0 &&
           source->heads * source->head_dim % block == 0;
}

// Who reads what is being written, where not everybody does: added to what the note says already.
static void tell_readers(const writer *w, const char *arch, char note[TMAC_NOTE_BYTES])
{
    const char *only = w->type == TMAC_GGUF_TYPE_I2_S      ? "the type i2_s"
                       : strcmp(arch, "bitnet-b1.58") == 0 ? "the architecture bitnet-b1.58"
                                                           : NULL;
    const tmac_low_rank *low = w->source->layers[0].extras.low;
    bool corrected = false;
    for (int p = 0; p < TMAC_SOURCE_PARTS; p++)
        corrected |= low[p].rank != 0;
    const size_t used = strlen(note), room = TMAC_NOTE_BYTES - used;
    const char *also = used ? "; " : "";
    if (corrected)
        snprintf(note + used, room,
                 "%sthis file needs a llama.cpp that knows low-rank corrections: WrinkleFree's, "
                 "not the original",
                 also);
    else if (only)
        snprintf(note + used, room, "%s%s is known to bitnet.cpp, and not to llama.cpp", also,
                 only);
}

tmac_status tmac_gguf_write(const tmac_source *source, const char *path, const char *type_name,
                            char note[TMAC_NOTE_BYTES])
{
    writer w = {.source = source};
    *note = '\0';
    TMAC_TRY(tmac_gguf_type_parse(type_name, &w.type));
    TMAC_TRY(tmac_source_check(source));
    const char *arch = architecture_of(source);
    if (!arch)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "%s: GGUF has no architecture that computes the same as this model: write "
                         "TM2",
                         path);
    if (!fills(source, block_of(w.type))) {
        snprintf(note, TMAC_NOTE_BYTES,
                 "%s needs rows of a multiple of %u weights, which this model has not (hidden "
                 "size %u, intermediate size %u): falling back to f16",
                 type_name, block_of(w.type), source->dim, source->hidden);
        w.type = TMAC_GGUF_TYPE_F16;
    }
    tell_readers(&w, arch, note);
    w.items = calloc((size_t)source->layer_count * LAYER_TENSORS + 8, sizeof *w.items);
    if (!w.items) return tmac_no_memory();
    w.status = put_values(&w, arch);
    if (w.status.code == TMAC_OK) w.status = add_all(&w, arch);
    tmac_status status = w.status.code == TMAC_OK ? write_file(&w, path) : w.status;
    free(w.items);
    free(w.values.data);
    return status.code == TMAC_OK || strstr(status.message, path) ? status
                                                                  : tmac_prefix(status, "%s", path);
}

// Writing TM2 (convert/tm2.c describes it), as a stream: no more than a megabyte of the model is unpacked at any time.
//
// Where a tensor goes: to the body when the body says it in full but for the rounding of scales to f16, whose exact f32
// values go to the extension; else to the extension alone. A strict file has no extension: everything goes to the body
// and what the body cannot say is refused (convert/tm2_strict.c).
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/progress.h"
#include "base/version.h"
#include "convert/bytes.h"
#include "convert/convert.h"
#include "convert/tm2.h"
#include "convert/tm2_write.h"
#include "runtime/half.h"

enum { CHUNK_WEIGHTS = 1 << 20, NAME_BYTES = TMAC_TM2_NAME };

typedef struct buffer {
    uint8_t *data;
    size_t used, room;
} buffer;

typedef struct writer {
    const tmac_source *source;
    bool strict;
    tmac_output output;
    tmac_progress progress;
    tmac_hash_state hash; // of the tensor being written
    tmac_tm2_tensor current;
    buffer entries, tensors; // of the index
    uint32_t entry_count, tensor_count;
    tmac_status status; // the first failure that is not the output's
} writer;

// ---------------------------------------------------------------------------------------------------------- index

static void append(writer *w, buffer *to, const void *data, size_t bytes)
{
    if (to->used + bytes > to->room) {
        size_t room = 2 * (to->used + bytes) + 4096;
        uint8_t *larger = realloc(to->data, room);
        if (!larger) {
            w->status = tmac_no_memory();
            return;
        }
        to->data = larger;
        to->room = room;
    }
    memcpy(to->data + to->used, data, bytes);
    to->used += bytes;
}

static void append_entry(writer *w, const char *name, tmac_tm2_value kind, const void *value,
                         size_t bytes)
{
    uint8_t fixed[TMAC_TM2_ENTRY] = {(uint8_t)strlen(name), (uint8_t)kind};
    uint32_t value_bytes = (uint32_t)bytes;
    memcpy(fixed + 4, &value_bytes, 4);
    append(w, &w->entries, fixed, sizeof fixed);
    append(w, &w->entries, name, fixed[0]);
    append(w, &w->entries, value, bytes);
    w->entry_count++;
}

static void append_text(writer *w, const char *name, const char *text)
{
    append_entry(w, name, TMAC_TM2_TEXT, text, strlen(text));
}

static void append_float(writer *w, const char *name, float value)
{
    append_entry(w, name, TMAC_TM2_FLOAT, &value, sizeof value);
}

static void append_integer(writer *w, const char *name, int64_t value)
{
    append_entry(w, name, TMAC_TM2_INTEGER, &value, sizeof value);
}

// Starts a tensor: what emit() writes until end_tensor() is its content.
static void begin_tensor(writer *w, const char *name, tmac_tm2_kind kind, uint64_t rows,
                         uint32_t columns)
{
    if (kind != TMAC_TM2_BODY) tmac_output_pad(&w->output, TMAC_TM2_ALIGNMENT);
    memset(&w->current, 0, sizeof w->current);
    snprintf(w->current.name, sizeof w->current.name, "%s", name);
    w->current.kind = kind;
    w->current.rows = (uint32_t)rows; // bounded far below 2^32 by tmac_source_check_dimensions
    w->current.columns = columns;
    w->current.offset = w->output.offset;
    tmac_hash_begin(&w->hash);
}

static void emit(writer *w, const void *data, size_t bytes)
{
    if (!w->strict) tmac_hash_add(&w->hash, data, bytes);
    tmac_output_write(&w->output, data, bytes);
}

static void end_tensor(writer *w)
{
    tmac_tm2_tensor *tensor = &w->current;
    if (w->strict) return;
    tensor->bytes = w->output.offset - tensor->offset;
    tmac_hash_end(&w->hash, tensor->hash);
    uint8_t fixed[TMAC_TM2_TENSOR] = {(uint8_t)strlen(tensor->name), (uint8_t)tensor->kind};
    memcpy(fixed + 4, &tensor->rows, 4);
    memcpy(fixed + 8, &tensor->columns, 4);
    memcpy(fixed + 12, &tensor->offset, 8);
    memcpy(fixed + 20, &tensor->bytes, 8);
    memcpy(fixed + 28, tensor->hash, TMAC_HASH_BYTES);
    append(w, &w->tensors, fixed, sizeof fixed);
    append(w, &w->tensors, tensor->name, fixed[0]);
    w->tensor_count++;
}

// ------------------------------------------------------------------------------------------------------- matrices

static bool ok(const writer *w)
{
    return w->status.code == TMAC_OK && w->output.status.code == TMAC_OK;
}

static uint32_t chunk_rows(const tmac_matrix *matrix)
{
    uint32_t rows = CHUNK_WEIGHTS / matrix->columns;
    return rows == 0 ? 1 : rows < matrix->rows ? rows : matrix->rows;
}

// Packs one row of codes, LSB first: eight codes become two bytes. -1 & 3 is 11.
static void pack_row(const int8_t *codes, uint32_t columns, uint8_t *packed)
{
    uint32_t c = 0;
    for (; c + 8 <= columns; c += 8) {
        uint64_t fields = tmac_load_u64(codes + c) & 0x0303030303030303u;
        fields = (fields | fields >> 6) & 0x000f000f000f000fu;
        fields = (fields | fields >> 12) & 0x000000ff000000ffu;
        packed[c / 4] = (uint8_t)fields;
        packed[c / 4 + 1] = (uint8_t)(fields >> 32);
    }
    if (c < columns) memset(packed + c / 4, 0, (columns - c + 3) / 4);
    for (; c < columns; c++)
        packed[c / 4] |= (uint8_t)((codes[c] & 3) << (2 * (c % 4)));
}

// A scale as the body has it: f16, clamped to what f16 holds (the exact one is in the extension).
static uint16_t body_scale(float scale)
{
    return tmac_f32_to_f16(fminf(fmaxf(scale, -65504.0f), 65504.0f));
}

// Rows of a ternary matrix: with an f16 scale before each (the body) or without (the extension).
static void emit_ternary(writer *w, const tmac_matrix *matrix, bool scales)
{
    uint32_t chunk = chunk_rows(matrix), head = scales ? 2 : 0,
             stride = head + (matrix->columns + 3) / 4;
    int8_t *codes = malloc((size_t)chunk * matrix->columns);
    uint8_t *packed = malloc((size_t)chunk * stride);
    if (!codes || !packed) w->status = tmac_no_memory();
    for (uint32_t first = 0; first < matrix->rows && ok(w); first += chunk) {
        uint32_t count = matrix->rows - first < chunk ? matrix->rows - first : chunk;
        matrix->read_codes(matrix, first, count, codes);
        for (uint32_t r = 0; r < count; r++) {
            uint8_t *row = packed + (size_t)r * stride;
            uint16_t scale =
                body_scale(matrix->scales[matrix->scale_count == matrix->rows ? first + r : 0]);
            memcpy(row, &scale, head);
            pack_row(codes + (size_t)r * matrix->columns, matrix->columns, row + head);
        }
        emit(w, packed, (size_t)count * stride);
        tmac_progress_advance(&w->progress, (uint64_t)count * matrix->columns);
    }
    free(codes);
    free(packed);
}

// Rows of a matrix of one to four bits.
static void emit_codes(writer *w, const tmac_matrix *matrix)
{
    tmac_tm2_kind kind = (tmac_tm2_kind)(TMAC_TM2_Q1 + (matrix->number - TMAC_Q1));
    uint32_t chunk = chunk_rows(matrix);
    size_t stride = tmac_tm2_code_stride(tmac_tm2_code_bits(kind), matrix->columns);
    int8_t *codes = malloc((size_t)chunk * matrix->columns);
    uint8_t *packed = malloc(chunk * stride);
    if (!codes || !packed) w->status = tmac_no_memory();
    for (uint32_t first = 0; first < matrix->rows && ok(w); first += chunk) {
        uint32_t count = matrix->rows - first < chunk ? matrix->rows - first : chunk;
        matrix->read_codes(matrix, first, count, codes);
        for (uint32_t r = 0; r < count; r++)
            tmac_tm2_pack_codes(kind, codes + (size_t)r * matrix->columns, matrix->columns,
                                packed + r * stride);
        emit(w, packed, count * stride);
        tmac_progress_advance(&w->progress, (uint64_t)count * matrix->columns);
    }
    free(codes);
    free(packed);
}

// Narrows exactly: the values came from this format.
static size_t narrow(tmac_number number, float *values, size_t count)
{
    if (number == TMAC_F32) return count * 4;
    uint16_t *halves =
        (uint16_t *)(void *)values; // the front of the same memory, written behind the reader
    for (size_t i = 0; i < count; i++) {
        float value = values[i];
        uint16_t half = number == TMAC_F16 ? tmac_f32_to_f16(value)
                                           : (uint16_t)(tmac_bits_of_float(value) >> 16);
        memcpy(&halves[i], &half, sizeof half);
    }
    return count * 2;
}

// Rows of a float matrix, in its own format or widened to f32.
static void emit_float(writer *w, const tmac_matrix *matrix, tmac_number as)
{
    uint32_t chunk = chunk_rows(matrix);
    float *values = malloc((size_t)chunk * matrix->columns * sizeof *values);
    if (!values) w->status = tmac_no_memory();
    for (uint32_t first = 0; first < matrix->rows && ok(w); first += chunk) {
        uint32_t count = matrix->rows - first < chunk ? matrix->rows - first : chunk;
        size_t weights = (size_t)count * matrix->columns;
        matrix->read_float(matrix, first, count, values);
        emit(w, values, narrow(as, values, weights));
        tmac_source_drop(w->source);
        tmac_progress_advance(&w->progress, weights);
    }
    free(values);
}

// ----------------------------------------------------------------------------------------------------------- body

typedef enum where { BODY_TERNARY, BODY_FLOAT, EXTENSION } where;

static where place_of(const writer *w, int part)
{
    bool ternary = true, floating = true;
    for (uint32_t l = 0; l < w->source->layer_count; l++) {
        const tmac_matrix *matrix = tmac_layer_part(w->source, l, (tmac_part_of_layer)part);
        ternary = ternary && matrix->number == TMAC_TERNARY && matrix->group == matrix->columns;
        floating = floating && (w->strict ? !tmac_number_is_integer(matrix->number)
                                          : matrix->number == TMAC_F32);
    }
    return ternary ? BODY_TERNARY : floating ? BODY_FLOAT : EXTENSION;
}

static bool table_in_body(const writer *w, const tmac_matrix *matrix)
{
    return w->strict || matrix->number == TMAC_F32;
}

static void write_part(writer *w, const tmac_stacked_shape *shape)
{
    static const uint8_t flags[] = {1, 0};
    where place = place_of(w, shape->part);
    if (place == EXTENSION) return;
    begin_tensor(w, shape->name, TMAC_TM2_BODY, shape->rows, shape->columns);
    emit(w, &flags[place], 1);
    if (place == BODY_TERNARY) {
        int32_t size[2] = {(int32_t)shape->rows, (int32_t)shape->columns};
        emit(w, size, sizeof size);
    }
    for (uint32_t l = 0; l < w->source->layer_count && ok(w); l++) {
        const tmac_matrix *matrix = tmac_layer_part(w->source, l, (tmac_part_of_layer)shape->part);
        if (place == BODY_TERNARY)
            emit_ternary(w, matrix, true);
        else
            emit_float(w, matrix, TMAC_F32);
        tmac_source_drop(w->source);
    }
    end_tensor(w);
}

static void emit_rope_table(writer *w, bool sines)
{
    uint32_t pairs = w->source->head_dim / 2;
    float *row = malloc(pairs * sizeof *row);
    if (!row) w->status = tmac_no_memory();
    for (uint32_t position = 0; position < w->source->context && ok(w); position++) {
        for (uint32_t i = 0; i < pairs; i++) {
            double angle =
                position * pow((double)w->source->rope_theta, -2.0 * i / w->source->head_dim);
            row[i] = (float)(sines ? sin(angle) : cos(angle));
        }
        emit(w, row, pairs * sizeof *row);
    }
    free(row);
}

// Norms and RoPE tables.
static void write_vectors(writer *w, tmac_stacked kind, const tmac_stacked_shape *shape)
{
    const tmac_source *source = w->source;
    const uint8_t flag = 0;
    size_t bytes = source->dim * sizeof(float);
    begin_tensor(w, shape->name, TMAC_TM2_BODY, shape->rows, shape->columns);
    emit(w, &flag, 1);
    if (kind == TMAC_STACKED_FINAL_NORM)
        emit(w, source->final_norm, bytes);
    else if (!shape->layered)
        emit_rope_table(w, kind == TMAC_STACKED_SINES);
    for (uint32_t l = 0; l < source->layer_count && shape->layered; l++)
        emit(w,
             kind == TMAC_STACKED_FFN_NORM ? source->layers[l].ffn_norm
                                           : source->layers[l].attention_norm,
             bytes);
    end_tensor(w);
}

static void write_body(writer *w)
{
    const tmac_source *source = w->source;
    int32_t fields[] = {(int32_t)source->dim,         (int32_t)source->hidden,
                        (int32_t)source->layer_count, (int32_t)source->heads,
                        (int32_t)source->kv_heads,    (int32_t)source->vocab,
                        (int32_t)source->context};
    if (!source->tied_head) fields[5] = -fields[5];
    tmac_output_write(&w->output, "TM2", 4);
    tmac_output_write(&w->output, fields, sizeof fields);
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS && ok(w); kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        const tmac_matrix *table =
            kind == TMAC_STACKED_EMBEDDING ? &source->embedding : &source->head;
        if (shape.part >= 0) {
            write_part(w, &shape);
        } else if (kind != TMAC_STACKED_EMBEDDING && kind != TMAC_STACKED_HEAD) {
            write_vectors(w, kind, &shape);
        } else if (table_in_body(w, table) && !(kind == TMAC_STACKED_HEAD && source->tied_head)) {
            const uint8_t flag = 0;
            begin_tensor(w, shape.name, TMAC_TM2_BODY, shape.rows, shape.columns);
            emit(w, &flag, 1);
            emit_float(w, table, TMAC_F32);
            end_tensor(w);
        }
    }
}

// ------------------------------------------------------------------------------------------------------- extension

static tmac_tm2_kind kind_of(tmac_number number)
{
    static const tmac_tm2_kind kinds[] = {
        [TMAC_F32] = TMAC_TM2_F32,         [TMAC_F16] = TMAC_TM2_F16, [TMAC_BF16] = TMAC_TM2_BF16,
        [TMAC_TERNARY] = TMAC_TM2_TERNARY, [TMAC_Q1] = TMAC_TM2_Q1,   [TMAC_Q2] = TMAC_TM2_Q2,
        [TMAC_Q3] = TMAC_TM2_Q3,           [TMAC_Q4] = TMAC_TM2_Q4};
    return kinds[number];
}

static void write_matrix(writer *w, const char *name, const tmac_matrix *matrix)
{
    begin_tensor(w, name, kind_of(matrix->number), matrix->rows, matrix->columns);
    if (matrix->number == TMAC_TERNARY)
        emit_ternary(w, matrix, false);
    else if (tmac_number_is_integer(matrix->number))
        emit_codes(w, matrix);
    else
        emit_float(w, matrix, matrix->number);
    end_tensor(w);
    tmac_source_drop(w->source);
}

static void write_block(writer *w, const char *name, tmac_tm2_kind kind, uint32_t rows,
                        uint32_t columns, const void *data)
{
    begin_tensor(w, name, kind, rows, columns);
    emit(w, data, tmac_tm2_tensor_bytes(kind, rows, columns));
    end_tensor(w);
}

static void write_parts(writer *w)
{
    char name[NAME_BYTES];
    for (int part = 0; part < TMAC_LAYER_MATRICES; part++) {
        bool absent = place_of(w, part) == EXTENSION;
        for (uint32_t l = 0; l < w->source->layer_count && ok(w); l++) {
            const tmac_matrix *matrix = tmac_layer_part(w->source, l, (tmac_part_of_layer)part);
            const char *part_name = tmac_layer_part_name((tmac_part_of_layer)part);
            snprintf(name, sizeof name, "blk.%u.%s", l, part_name);
            if (absent) write_matrix(w, name, matrix);
            if (!tmac_number_is_integer(matrix->number)) continue;
            snprintf(name, sizeof name, "blk.%u.%s.scales", l, part_name);
            write_block(w, name, TMAC_TM2_SCALES, matrix->scale_count, matrix->group,
                        matrix->scales);
        }
    }
}

static void write_sub_norms(writer *w)
{
    const tmac_source *source = w->source;
    uint32_t wide = source->heads * source->head_dim;
    if (source->layers[0].attention_sub_norm) {
        begin_tensor(w, "attn_sub_norm", TMAC_TM2_F32, source->layer_count, wide);
        for (uint32_t l = 0; l < source->layer_count; l++)
            emit(w, source->layers[l].attention_sub_norm, wide * sizeof(float));
        end_tensor(w);
    }
    if (source->layers[0].ffn_sub_norm) {
        begin_tensor(w, "ffn_sub_norm", TMAC_TM2_F32, source->layer_count, source->hidden);
        for (uint32_t l = 0; l < source->layer_count; l++)
            emit(w, source->layers[l].ffn_sub_norm, source->hidden * sizeof(float));
        end_tensor(w);
    }
}

// What plain sentencepiece does not have. Absent where it is not needed: files of those stay as they were.
static void write_words(writer *w, const tmac_vocabulary *vocabulary)
{
    if (vocabulary->merge_count)
        write_block(w, "vocab.merges", TMAC_TM2_U32, 2 * vocabulary->merge_count, 1,
                    vocabulary->merges);
    if (vocabulary->stop_count)
        write_block(w, "vocab.stops", TMAC_TM2_U32, vocabulary->stop_count, 1, vocabulary->stops);
    if (vocabulary->kind == TMAC_VOCABULARY_BPE) append_text(w, "vocab.kind", "bpe");
    if (vocabulary->pattern[0]) append_text(w, "vocab.pattern", vocabulary->pattern);
    if (vocabulary->chat[0]) append_text(w, "vocab.chat", vocabulary->chat);
    if (vocabulary->whole_words) append_integer(w, "vocab.whole_words", 1);
    if (vocabulary->nfc) append_integer(w, "vocab.nfc", 1);
}

static void write_extras(writer *w)
{
    const tmac_source *source = w->source;
    if (!tmac_tm2_needs_version_2(source)) return;
    append_integer(w, "head_dim", source->head_dim);
    append_float(w, "rope_magnitude", source->rope_magnitude);
    if (source->rope_divisors)
        write_block(w, "rope_divisors", TMAC_TM2_F32, source->rope_dims / 2, 1,
                    source->rope_divisors);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        tmac_tm2_extra extras[TMAC_TM2_EXTRAS];
        uint32_t count = tmac_tm2_list_extras(source, l, extras);
        for (uint32_t i = 0; i < count && ok(w); i++)
            if (*extras[i].place)
                write_block(w, extras[i].name, TMAC_TM2_F32, extras[i].rows, extras[i].columns,
                            *extras[i].place);
    }
}

static void write_vocabulary(writer *w)
{
    const tmac_vocabulary *vocabulary = &w->source->vocabulary;
    uint32_t size = vocabulary->size;
    if (size == 0) return;
    uint32_t *lengths = calloc(size, sizeof *lengths);
    float *scores = calloc(size, sizeof *scores);
    uint8_t *kinds = calloc(size, 1);
    if (!lengths || !scores || !kinds) w->status = tmac_no_memory();
    uint64_t text_bytes = 0;
    for (uint32_t i = 0; i < size && ok(w); i++) {
        lengths[i] = vocabulary->pieces[i].bytes;
        scores[i] = vocabulary->pieces[i].score;
        kinds[i] = vocabulary->pieces[i].kind;
        text_bytes += lengths[i];
    }
    if (text_bytes > UINT32_MAX)
        w->status = tmac_fail(TMAC_UNSUPPORTED, "a vocabulary of over 4 GB of text");
    if (ok(w)) {
        begin_tensor(w, "vocab.text", TMAC_TM2_BYTES, text_bytes, 1);
        for (uint32_t i = 0; i < size; i++)
            emit(w, vocabulary->pieces[i].text, lengths[i]);
        end_tensor(w);
        write_block(w, "vocab.lengths", TMAC_TM2_U32, size, 1, lengths);
        write_block(w, "vocab.scores", TMAC_TM2_F32, size, 1, scores);
        write_block(w, "vocab.kinds", TMAC_TM2_BYTES, size, 1, kinds);
        append_integer(w, "vocab.size", size);
        append_integer(w, "vocab.bos", vocabulary->bos);
        append_integer(w, "vocab.eos", vocabulary->eos);
        append_integer(w, "vocab.unknown", vocabulary->unknown);
        append_integer(w, "vocab.add_bos", vocabulary->add_bos);
        append_integer(w, "vocab.add_space_prefix", vocabulary->add_space_prefix);
        write_words(w, vocabulary);
    }
    free(lengths);
    free(scores);
    free(kinds);
}

static void write_trailer(writer *w, uint64_t body_bytes)
{
    const uint32_t counts[2] = {w->entry_count, w->tensor_count};
    const uint32_t version = tmac_tm2_needs_version_2(w->source) ? 2 : 1;
    uint8_t trailer[TMAC_TM2_TRAILER] = {0};
    uint64_t bytes = sizeof counts + w->entries.used + w->tensors.used;
    tmac_output_pad(&w->output, TMAC_TM2_ALIGNMENT);
    tmac_hash_begin(&w->hash);
    emit(w, counts, sizeof counts);
    emit(w, w->entries.data, w->entries.used);
    emit(w, w->tensors.data, w->tensors.used);
    tmac_hash_end(&w->hash, trailer + 32);
    uint64_t extension = w->output.offset + sizeof trailer - body_bytes;
    memcpy(trailer, TMAC_TM2_TRAILER_MAGIC, 8);
    memcpy(trailer + 8, &version, 4);
    memcpy(trailer + 16, &extension, 8);
    memcpy(trailer + 24, &bytes, 8);
    tmac_output_write(&w->output, trailer, sizeof trailer);
}

static void write_extension(writer *w)
{
    const tmac_source *source = w->source;
    uint64_t body_bytes = w->output.offset;
    if (!table_in_body(w, &source->embedding)) write_matrix(w, "token_embd", &source->embedding);
    if (!source->tied_head && !table_in_body(w, &source->head))
        write_matrix(w, "output", &source->head);
    write_parts(w);
    write_sub_norms(w);
    write_extras(w);
    write_vocabulary(w);
    append_text(w, "generator", "tmac " TMAC_VERSION);
    append_text(w, "architecture", source->architecture);
    append_text(w, "activation", source->activation == TMAC_RELU2 ? "relu2" : "silu");
    append_text(w, "head", source->tied_head ? "tied" : "own");
    append_float(w, "norm_epsilon", source->norm_epsilon);
    append_float(w, "final_norm_epsilon", source->final_norm_epsilon);
    append_float(w, "rope_base", source->rope_theta);
    append_text(w, "source.path", source->path);
    append_text(w, "source.format", source->format);
    if (ok(w)) write_trailer(w, body_bytes);
}

// ------------------------------------------------------------------------------------------------------- the file

static uint64_t weights_of(const tmac_source *source)
{
    uint64_t all = (uint64_t)source->vocab * source->dim * (source->tied_head ? 1 : 2);
    for (int part = 0; part < TMAC_LAYER_MATRICES; part++) {
        uint32_t rows, columns;
        tmac_layer_part_size(source, (tmac_part_of_layer)part, &rows, &columns);
        all += (uint64_t)rows * columns * source->layer_count;
    }
    return all;
}

tmac_status tmac_tm2_write(const tmac_source *source, const char *path, bool strict)
{
    TMAC_TRY(tmac_source_check(source));
    if (strict) {
        tmac_status allowed = tmac_tm2_check_strict(source);
        if (allowed.code != TMAC_OK) return tmac_prefix(allowed, "%s", path);
    }
    writer w = {.source = source, .strict = strict};
    TMAC_TRY(tmac_output_open(path, &w.output));
    tmac_progress_begin(&w.progress, "writing", weights_of(source));
    write_body(&w);
    if (!strict && ok(&w)) write_extension(&w);
    tmac_progress_end(&w.progress);
    free(w.entries.data);
    free(w.tensors.data);
    if (w.status.code == TMAC_OK) return tmac_output_commit(&w.output);
    tmac_output_abort(&w.output);
    return tmac_prefix(w.status, "%s", path);
}

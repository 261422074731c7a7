// Writing TMAC v1 (convert/edge.c describes it). The format has no scales and rounds the embedding too, so that what it
// holds is another model: whoever asks for it has asked for that.
//
// Codes of ternary projections stay as they are; everything else is rounded by the format's own rule: over the whole
// stacked tensor, w > 0.7 mean|W|: +1, w < -0.7 mean|W|: -1.
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "convert/llama_order.h"
#include "convert/neutral.h"
#include "convert/writers.h"
#include "runtime/extras.h"
#include "runtime/math.h"

typedef struct writer {
    const tmac_source *source;
    tmac_output output;
    float *row;
    int8_t *codes;
    uint32_t byte, held; // of the stream: codes not written yet
} writer;

static void put_codes(writer *w, uint32_t count)
{
    for (uint32_t c = 0; c < count; c++) {
        w->byte |= ((uint32_t)w->codes[c] & 3u) << 2 * w->held;
        if (++w->held < 4) continue;
        uint8_t byte = (uint8_t)w->byte;
        tmac_output_write(&w->output, &byte, 1);
        w->byte = w->held = 0;
    }
}

static void end_stream(writer *w)
{
    uint8_t byte = (uint8_t)w->byte;
    if (w->held) tmac_output_write(&w->output, &byte, 1);
    w->byte = w->held = 0;
}

static double magnitudes(writer *w, const tmac_matrix *matrix)
{
    double sum = 0;
    for (uint32_t r = 0; r < matrix->rows; r++) {
        matrix->read_float(matrix, r, 1, w->row);
        for (uint32_t c = 0; c < matrix->columns; c++)
            sum += fabs((double)w->row[c]);
    }
    return sum;
}

static void put_matrix(writer *w, const tmac_matrix *matrix, double threshold)
{
    for (uint32_t r = 0; r < matrix->rows; r++) {
        if (matrix->number == TMAC_TERNARY) {
            matrix->read_codes(matrix, r, 1, w->codes);
        } else {
            matrix->read_float(matrix, r, 1, w->row);
            for (uint32_t c = 0; c < matrix->columns; c++)
                w->codes[c] =
                    (int8_t)(((double)w->row[c] > threshold) - ((double)w->row[c] < -threshold));
        }
        put_codes(w, matrix->columns);
    }
}

static void put_part(writer *w, int part)
{
    double sum = 0, count = 0;
    for (uint32_t l = 0; l < w->source->layer_count; l++) {
        const tmac_matrix *matrix = tmac_layer_part(w->source, l, (tmac_part_of_layer)part);
        if (matrix->number != TMAC_TERNARY) sum += magnitudes(w, matrix);
        count += (double)matrix->rows * matrix->columns;
    }
    for (uint32_t l = 0; l < w->source->layer_count; l++)
        put_matrix(w, tmac_layer_part(w->source, l, (tmac_part_of_layer)part), 0.7 * sum / count);
    end_stream(w);
}

static void put_table(writer *w, const tmac_matrix *matrix)
{
    double count = (double)matrix->rows * matrix->columns;
    put_matrix(w, matrix, 0.7 * magnitudes(w, matrix) / count);
    end_stream(w);
}

static void put_rotations(writer *w, bool sines)
{
    const tmac_source *source = w->source;
    for (uint32_t p = 0; p < source->context; p++)
        for (uint32_t i = 0; i < source->head_dim / 2; i++) {
            double angle = p * tmac_pow((double)source->rope_theta, -2.0 * i / source->head_dim);
            float value = (float)(sines ? tmac_sin(angle) : tmac_cos(angle));
            tmac_output_write(&w->output, &value, sizeof value);
        }
}

static void put_all(writer *w)
{
    const tmac_source *source = w->source;
    size_t norm = source->dim * sizeof(float);
    for (tmac_stacked kind = 0; kind < TMAC_STACKED_KINDS; kind++) {
        tmac_stacked_shape shape = tmac_stacked_describe(source, kind);
        if (shape.part >= 0)
            put_part(w, shape.part);
        else if (kind == TMAC_STACKED_EMBEDDING)
            put_table(w, &source->embedding);
        else if (kind == TMAC_STACKED_HEAD && !source->tied_head)
            put_table(w, &source->head);
        else if (kind == TMAC_STACKED_FINAL_NORM)
            tmac_output_write(&w->output, source->final_norm, norm);
        else if (kind == TMAC_STACKED_COSINES || kind == TMAC_STACKED_SINES)
            put_rotations(w, kind == TMAC_STACKED_SINES);
        for (uint32_t l = 0; shape.part < 0 && shape.layered && l < source->layer_count; l++)
            tmac_output_write(&w->output,
                              kind == TMAC_STACKED_FFN_NORM ? source->layers[l].ffn_norm
                                                            : source->layers[l].attention_norm,
                              norm);
    }
}

static tmac_status check(const tmac_source *source)
{
    TMAC_TRY(tmac_source_check(source));
    bool plain = !tmac_source_has_extras(source) && source->activation == TMAC_SILU &&
                 source->heads * source->head_dim == source->dim;
    for (uint32_t l = 0; l < source->layer_count; l++) {
        plain = plain && !source->layers[l].attention_sub_norm && !source->layers[l].ffn_sub_norm;
        for (int p = 0; p < TMAC_LAYER_MATRICES; p++)
            if (tmac_layer_part(source, l, (tmac_part_of_layer)p)->number > TMAC_TERNARY)
                return tmac_fail(TMAC_UNSUPPORTED,
                                 "TMAC v1 cannot hold weights of one to four bits");
    }
    return plain ? tmac_ok()
                 : tmac_fail(TMAC_UNSUPPORTED,
                             "TMAC v1 holds plain llama models alone: no sub-norms, SiLU");
}

tmac_status tmac_tmac1_write(const tmac_source *source, const char *path)
{
    tmac_status status = check(source);
    if (status.code != TMAC_OK) return tmac_prefix(status, "%s", path);
    uint32_t widest = source->dim > source->hidden ? source->dim : source->hidden;
    writer w = {.source = source};
    TMAC_TRY(tmac_output_open(path, &w.output));
    w.row = malloc(widest * sizeof *w.row);
    w.codes = malloc(widest);
    if (w.row && w.codes) {
        int32_t fields[] = {(int32_t)source->dim,         (int32_t)source->hidden,
                            (int32_t)source->layer_count, (int32_t)source->heads,
                            (int32_t)source->kv_heads,    (int32_t)source->vocab,
                            (int32_t)source->context};
        if (!source->tied_head) fields[5] = -fields[5];
        tmac_output_write(&w.output, "TMAC", 4);
        tmac_output_write(&w.output, fields, sizeof fields);
        put_all(&w);
        status = tmac_output_commit(&w.output);
    } else {
        tmac_output_abort(&w.output);
        status = tmac_no_memory();
    }
    free(w.row);
    free(w.codes);
    return status;
}

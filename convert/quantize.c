// Rounding float projections to fewer bits, which makes another model of them. Only on request.
//
//   ternary, by rows (TM2's rule)    t = 0.4 mean|row|; w > t: +1, w < -t: -1; scale: the mean of |w| > t as f16, or
//                                    mean|row| + 1e-6 where there is none
//   ternary, by tensor (TMAC's rule) t = 0.7 mean|W|, strictly; scale: the mean of |w| > t, as f16
//   q4                               32 weights of a row share a scale, their largest over -8 as f16; code: nearest
//
// Scales are computed at once, codes when rows are read: a matrix never exists rounded. The rows of a quantized source go
// through one buffer, so it belongs to one thread.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert.h"
#include "convert/neutral.h"
#include "runtime/half.h"

enum { Q4_GROUP = 32 };

typedef struct rounded { // what tmac_matrix.data points to
    tmac_matrix original;
    float *row;              // shared by all matrices of the source
    const float *thresholds; // [rows], or one for the tensor; ternary alone
    bool by_tensor;
} rounded;

static float f16(float value)
{
    return tmac_f16_to_f32(tmac_f32_to_f16(value));
}

static void ternary_codes(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const rounded *r = matrix->data;
    for (uint32_t i = first; i < first + count; i++) {
        float t = r->thresholds[r->by_tensor ? 0 : i];
        r->original.read_float(&r->original, i, 1, r->row);
        for (uint32_t c = 0; c < matrix->columns; c++)
            *codes++ = (int8_t)((r->row[c] > t) - (r->row[c] < -t));
    }
}

static void q4_codes(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const rounded *r = matrix->data;
    uint32_t groups = (matrix->columns + matrix->group - 1) / matrix->group;
    for (uint32_t i = first; i < first + count; i++) {
        r->original.read_float(&r->original, i, 1, r->row);
        for (uint32_t c = 0; c < matrix->columns; c++) {
            float scale = matrix->scales[(size_t)i * groups + c / matrix->group];
            float code = scale != 0.0f ? rintf(r->row[c] / scale) : 0.0f;
            *codes++ = (int8_t)(code < -8.0f ? -8.0f : code > 7.0f ? 7.0f : code);
        }
    }
}

static double mean_magnitude(const float *values, uint32_t count)
{
    double sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += fabs((double)values[i]);
    return sum / count;
}

// The sum and number of magnitudes above t.
static void above(const float *values, uint32_t count, float t, double *sum, double *number)
{
    for (uint32_t i = 0; i < count; i++)
        if (fabsf(values[i]) > t) {
            *sum += fabs((double)values[i]);
            *number += 1;
        }
}

static void row_scales(const rounded *r, float *thresholds, float *scales)
{
    const tmac_matrix *m = &r->original;
    for (uint32_t i = 0; i < m->rows; i++) {
        double sum = 0, number = 0;
        m->read_float(m, i, 1, r->row);
        double mean = mean_magnitude(r->row, m->columns);
        thresholds[i] = (float)(0.4 * mean);
        above(r->row, m->columns, thresholds[i], &sum, &number);
        scales[i] = f16((float)(number > 0 ? sum / number : mean + 1e-6));
    }
}

static void tensor_scale(const rounded *r, float *threshold, float *scale)
{
    const tmac_matrix *m = &r->original;
    double mean = 0, sum = 0, number = 0;
    for (uint32_t i = 0; i < m->rows; i++) {
        m->read_float(m, i, 1, r->row);
        mean += mean_magnitude(r->row, m->columns) / m->rows;
    }
    *threshold = (float)(0.7 * mean);
    for (uint32_t i = 0; i < m->rows; i++) {
        m->read_float(m, i, 1, r->row);
        above(r->row, m->columns, *threshold, &sum, &number);
    }
    *scale = f16((float)(number > 0 ? sum / number : mean + 1e-6));
}

static void q4_scales(const rounded *r, uint32_t group, float *scales)
{
    const tmac_matrix *m = &r->original;
    for (uint32_t i = 0; i < m->rows; i++) {
        m->read_float(m, i, 1, r->row);
        for (uint32_t c = 0; c < m->columns; c += group) {
            float largest = 0.0f;
            for (uint32_t k = c; k < c + group && k < m->columns; k++)
                if (fabsf(r->row[k]) > fabsf(largest)) largest = r->row[k];
            *scales++ = f16(largest / -8.0f);
        }
    }
}

static void judge(const tmac_matrix *matrix, const rounded *r, int8_t *codes,
                  tmac_quantize_report *report)
{
    uint32_t groups = (matrix->columns + matrix->group - 1) / matrix->group;
    for (uint32_t i = 0; i < matrix->rows; i++) {
        matrix->read_codes(matrix, i, 1, codes); // leaves the floats of the row in r->row
        for (uint32_t c = 0; c < matrix->columns; c++) {
            size_t s = matrix->scale_count == 1 ? 0 : (size_t)i * groups + c / matrix->group;
            double w = (double)r->row[c], error = w - codes[c] * (double)matrix->scales[s];
            report->squared_error += error * error;
            report->squares += w * w;
            report->zeros += codes[c] == 0;
        }
    }
    report->weights += (uint64_t)matrix->rows * matrix->columns;
    for (uint32_t i = 0; i < matrix->scale_count; i++) {
        float scale = fabsf(matrix->scales[i]);
        if (report->scales == 0 || scale < report->scale_low) report->scale_low = scale;
        if (report->scales == 0 || scale > report->scale_high) report->scale_high = scale;
        report->scale_sum += (double)scale;
        report->scales++;
    }
}

static tmac_status quantize(tmac_source *source, tmac_matrix *matrix, tmac_quantization kind,
                            float *row, int8_t *codes, tmac_quantize_report *report)
{
    rounded *r = tmac_source_take(source, sizeof *r);
    bool q4 = kind == TMAC_QUANTIZE_Q4, by_tensor = kind == TMAC_QUANTIZE_TERNARY_TENSOR;
    uint32_t group = q4 && matrix->columns > Q4_GROUP ? Q4_GROUP : matrix->columns;
    uint64_t count =
        by_tensor ? 1 : (uint64_t)matrix->rows * ((matrix->columns + group - 1) / group);
    if (!r || count > UINT32_MAX) return tmac_no_memory();
    float *scales = tmac_source_take(source, (size_t)count * sizeof *scales);
    float *thresholds = tmac_source_take(source, (size_t)(q4 ? 1 : count) * sizeof *thresholds);
    if (!scales || !thresholds) return tmac_no_memory();
    *r = (rounded){
        .original = *matrix, .row = row, .thresholds = thresholds, .by_tensor = by_tensor};
    if (q4)
        q4_scales(r, group, scales);
    else if (by_tensor)
        tensor_scale(r, thresholds, scales);
    else
        row_scales(r, thresholds, scales);
    matrix->number = q4 ? TMAC_Q4 : TMAC_TERNARY;
    matrix->data = r;
    matrix->group = group;
    matrix->scale_count = (uint32_t)count;
    matrix->scales = scales;
    matrix->read_codes = q4 ? q4_codes : ternary_codes;
    matrix->read_float = NULL;
    matrix->in_place = NULL;
    for (uint64_t i = 0; i < count; i++)
        if (!isfinite(scales[i]))
            return tmac_fail(TMAC_UNSUPPORTED, "%s: a scale is outside the range of f16",
                             matrix->name);
    judge(matrix, r, codes, report);
    return tmac_ok();
}

tmac_status tmac_quantize(tmac_source *source, tmac_quantization kind, tmac_quantize_report *report)
{
    uint32_t wide = source->heads * source->head_dim;
    uint32_t widest = source->dim > source->hidden ? source->dim : source->hidden;
    if (wide > widest) widest = wide;
    memset(report, 0, sizeof *report);
    float *row = tmac_source_take(source, widest * sizeof *row);
    int8_t *codes = tmac_source_take(source, widest);
    if (!row || !codes) return tmac_no_memory();
    for (uint32_t l = 0; l < source->layer_count; l++)
        for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
            tmac_matrix *matrix = tmac_layer_part(source, l, (tmac_part_of_layer)p);
            if (tmac_number_is_integer(matrix->number)) continue;
            TMAC_TRY(quantize(source, matrix, kind, row, codes, report));
            tmac_source_drop(source);
        }
    source->has_recorded_hash = false; // it is another model now
    return tmac_ok();
}

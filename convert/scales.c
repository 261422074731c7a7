// Scales of ternary matrices: finding them in float matrices, and saying them in the coarsest form.
//
// Trainers and converters store the same ternary matrix as floats, with a scale per block, a row or the tensor. All
// end here as group scales of 256 along a row, and are then reduced: to one scale when all groups agree to the last
// bit, to row scales when those of each row do. So every file of one model gives the same codes and the same scales.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "convert/neutral.h"
#include "convert/ternary.h"
#include "runtime/half.h"

enum { RECOGNISED_GROUP = 256 }; // TQ2_0's block

tmac_status tmac_matrix_tensor_scale(tmac_source *source, tmac_matrix *matrix, float scale)
{
    float *scales = tmac_source_take(source, sizeof *scales);
    if (!scales) return tmac_no_memory();
    *scales = scale;
    matrix->group = matrix->columns;
    matrix->scale_count = 1;
    matrix->scales = scales;
    return tmac_ok();
}

static bool same_bits(float a, float b)
{
    return tmac_bits_of_float(a) == tmac_bits_of_float(b);
}

// The one scale of `count` groups, 0 when all are zeros. False when they disagree.
static bool common_scale(const float *scales, size_t count, float *common)
{
    bool found = false;
    *common = 0.0f;
    for (size_t i = 0; i < count; i++) {
        if (isnan(scales[i])) continue;
        if (found && !same_bits(*common, scales[i])) return false;
        *common = scales[i];
        found = true;
    }
    return true;
}

tmac_status tmac_matrix_group_scales(tmac_source *source, tmac_matrix *matrix, const float *scales,
                                     uint32_t group)
{
    size_t per_row = ((size_t)matrix->columns + group - 1) / group, all = matrix->rows * per_row;
    float common;
    if (common_scale(scales, all, &common)) return tmac_matrix_tensor_scale(source, matrix, common);

    float *rows = tmac_source_take(source, matrix->rows * sizeof *rows);
    if (!rows) return tmac_no_memory();
    uint32_t agreeing = 0;
    while (agreeing < matrix->rows &&
           common_scale(scales + agreeing * per_row, per_row, &rows[agreeing]))
        agreeing++;
    if (agreeing == matrix->rows) {
        matrix->group = matrix->columns;
        matrix->scale_count = matrix->rows;
        matrix->scales = rows;
        return tmac_ok();
    }

    float *groups = tmac_source_take(source, all * sizeof *groups);
    if (!groups) return tmac_no_memory();
    for (size_t i = 0; i < all; i++)
        groups[i] = isnan(scales[i]) ? 0.0f : scales[i];
    matrix->group = group;
    matrix->scale_count = (uint32_t)all;
    matrix->scales = groups;
    return tmac_ok();
}

// The scale of one group of floats: NaN for zeros alone. False when two magnitudes differ or one is not finite.
static bool group_scale(const float *values, uint32_t count, float *scale)
{
    uint32_t magnitude = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits = tmac_bits_of_float(values[i]) & 0x7fffffffu;
        if (bits == 0) continue;
        if (magnitude == 0) magnitude = bits;
        if (bits != magnitude) return false;
    }
    if (magnitude >= 0x7f800000u) return false;
    *scale = magnitude ? tmac_float_of_bits(magnitude) : NAN;
    return true;
}

// Reads the matrix once, a row at a time, and gives up at the first group that is not ternary: for a float model that
// is the first one.
static bool scan(const tmac_matrix *matrix, float *row, float *scales)
{
    for (uint32_t r = 0; r < matrix->rows; r++) {
        matrix->read_float(matrix, r, 1, row);
        for (uint32_t c = 0; c < matrix->columns; c += RECOGNISED_GROUP) {
            uint32_t left = matrix->columns - c;
            if (!group_scale(row + c, left < RECOGNISED_GROUP ? left : RECOGNISED_GROUP, scales++))
                return false;
        }
    }
    return true;
}

tmac_status tmac_matrix_recognise(tmac_source *source, tmac_matrix *matrix)
{
    size_t per_row = ((size_t)matrix->columns + RECOGNISED_GROUP - 1) / RECOGNISED_GROUP;
    if (per_row * matrix->rows > UINT32_MAX) return tmac_ok();
    float *scales = malloc(matrix->rows * per_row * sizeof *scales);
    float *row = malloc(matrix->columns * sizeof *row);
    tmac_status status = scales && row ? tmac_ok() : tmac_no_memory();
    if (status.code == TMAC_OK && scan(matrix, row, scales)) {
        source->laborious = true;
        status = tmac_matrix_group_scales(source, matrix, scales, RECOGNISED_GROUP);
        if (status.code == TMAC_OK && matrix->read_codes) { // a reader's own
            matrix->number = TMAC_TERNARY;
            matrix->read_float = NULL;
        } else if (status.code == TMAC_OK) {
            tmac_ternary_signs(matrix);
        }
    }
    free(scales);
    free(row);
    return status;
}

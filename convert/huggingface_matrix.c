// Projections of Hugging Face checkpoints.
//
//   packed  uint8 [rows / 4, columns]: byte (r, c) holds in bits 2i..2i+1 the code of row r + i * rows / 4, codes 0, 1, 2 =
//           -1, 0, +1, and `weight_scale` beside it, one number that multiplies (autobitlinear) or divides (bitlinear)
//   base-3  uint8 too, but byte = w0 + 3 w1 + 9 w2 + 27 w3, w = 0, 1, 2. Nothing in the file says so. Of 256 byte values
//           37 mean something in both, so the whole tensor is looked at: a byte over 80 is not base-3, a field of 3 is
//           not 2-bit. Where none fits the tensor is refused. Where both do, the user has to say which it is, and of base-3
//           digits always in which order they go.
//   float   a model that is ternary at inference only: code = round(w / m) held to -1..1, with m the mean of |w| over the
//           tensor, at least 1e-5. Exactly ternary floats are taken as they are.
#include "convert/huggingface.h"

#include <math.h>

#include "convert/bytes.h"
#include "convert/neutral.h"
#include "convert/ternary.h"
#include "runtime/half.h"

// --------------------------------------------------------------------------------------------------------- packed

static void read_packed(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    uint32_t quarter = matrix->rows / 4, columns = matrix->columns;
    for (uint32_t r = 0; r < count; r++, codes += columns) {
        uint32_t row = tmac_file_row(first + r, matrix->half_split_head);
        const uint8_t *from = (const uint8_t *)matrix->data + (size_t)(row % quarter) * columns;
        uint32_t shift = row / quarter * 2;
        for (uint32_t c = 0; c < columns; c++)
            codes[c] = (int8_t)((from[c] >> shift & 3) - 1);
    }
}

static const uint8_t powers_of_3[4] = {1, 3, 9, 27};

// Digit i of byte (r, c) is row r + i * rows / 4.
static void read_base3_rows(const tmac_matrix *matrix, uint32_t first, uint32_t count,
                            int8_t *codes)
{
    uint32_t quarter = matrix->rows / 4, columns = matrix->columns;
    for (uint32_t r = 0; r < count; r++, codes += columns) {
        uint32_t row = tmac_file_row(first + r, matrix->half_split_head);
        const uint8_t *from = (const uint8_t *)matrix->data + (size_t)(row % quarter) * columns;
        uint32_t power = powers_of_3[row / quarter];
        for (uint32_t c = 0; c < columns; c++)
            codes[c] = (int8_t)((int)(from[c] / power % 3) - 1);
    }
}

// Digit i of byte e / 4 is element e of the row-major matrix, i = e % 4.
static void read_base3_flat(const tmac_matrix *matrix, uint32_t first, uint32_t count,
                            int8_t *codes)
{
    const uint8_t *data = matrix->data;
    for (uint32_t r = 0; r < count; r++) {
        uint64_t e = (uint64_t)tmac_file_row(first + r, matrix->half_split_head) * matrix->columns;
        for (uint32_t c = 0; c < matrix->columns; c++, e++)
            *codes++ = (int8_t)(data[e / 4] / powers_of_3[e % 4] % 3 - 1);
    }
}

static tmac_status take_packed_scale(tmac_source *source, tmac_matrix *matrix, bool divide,
                                     const tmac_st_tensor *scale)
{
    tmac_number number;
    const float *value;
    if (!scale)
        return tmac_fail(TMAC_BAD_FILE, "%s: packed weights without a weight_scale beside them",
                         matrix->name);
    if (!tmac_st_number(scale, &number) ||
        scale->extent[0] * scale->extent[1] * scale->extent[2] * scale->extent[3] != 1)
        return tmac_fail(TMAC_UNSUPPORTED, "%s: weight_scale is not one float", matrix->name);
    TMAC_TRY(tmac_source_vector(source, number, scale->data, 1, &value));
    if (divide && *value == 0.0f)
        return tmac_fail(TMAC_BAD_FILE, "%s: weight_scale is 0 and divides", matrix->name);
    return tmac_matrix_tensor_scale(source, matrix, divide ? 1.0f / *value : *value);
}

static tmac_status take_packed(tmac_source *source, tmac_matrix *matrix, bool divide,
                               const tmac_st_tensor *tensor, const tmac_st_tensor *scale,
                               tmac_base3 base3)
{
    if (tensor->dimensions != 2 || matrix->rows % 4 != 0 || tensor->extent[0] != matrix->rows / 4 ||
        tensor->extent[1] != matrix->columns)
        return tmac_fail(TMAC_BAD_FILE,
                         "tensor %s is %llu x %llu bytes; %u x %u ternary weights are packed into "
                         "%u x %u",
                         tensor->name, (unsigned long long)tensor->extent[0],
                         (unsigned long long)tensor->extent[1], matrix->rows, matrix->columns,
                         matrix->rows / 4, matrix->columns);
    bool bits = !tmac_codes_have_3(tensor->data, tensor->bytes), digits = true;
    for (uint64_t i = 0; i < tensor->bytes && digits; i++)
        digits = tensor->data[i] <= 80;
    if (bits && digits && base3 == TMAC_BASE3_UNKNOWN)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "tensor %s can be read as 2-bit fields and as base-3 digits, which differ: give "
            "--base3 none for 2-bit fields, or rows or flat for digits in that order",
            tensor->name);
    if (!bits && !digits)
        return tmac_fail(
            TMAC_BAD_FILE,
            "tensor %s holds a field of 3 and a byte over 80: neither 2-bit fields nor "
            "base-3 digits: damaged?",
            tensor->name);
    if (!bits && (base3 == TMAC_BASE3_UNKNOWN || base3 == TMAC_BASE3_NONE))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %s holds base-3 digits, whose order the file does not say: give "
                         "--base3 rows (digit i of a byte belongs to row r + i * rows / 4) or "
                         "--base3 flat (to the i-th of four weights in a row)",
                         tensor->name);
    matrix->number = TMAC_TERNARY;
    matrix->data = tensor->data;
    matrix->read_codes = !digits || base3 == TMAC_BASE3_NONE ? read_packed
                         : base3 == TMAC_BASE3_ROWS          ? read_base3_rows
                                                             : read_base3_flat;
    return take_packed_scale(source, matrix, divide, scale);
}

// ---------------------------------------------------------------------------------------------------------- float

// Number i at `data`.
static inline float load(tmac_number number, const uint8_t *data, size_t i)
{
    if (number == TMAC_F32) return tmac_load_f32(data + 4 * i);
    uint16_t half = tmac_load_u16(data + 2 * i);
    return number == TMAC_F16 ? tmac_f16_to_f32(half) : tmac_bf16_to_f32(half);
}

static void read_online(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    tmac_number number = (tmac_number)matrix->detail;
    float mean = matrix->scales[0];
    for (uint32_t r = 0; r < count; r++) {
        size_t at = (size_t)tmac_file_row(first + r, matrix->half_split_head) * matrix->columns;
        for (uint32_t c = 0; c < matrix->columns; c++) {
            float ratio = load(number, matrix->data, at + c) / mean;
            *codes++ = ratio > 0.5f ? 1 : ratio < -0.5f ? -1 : 0; // 0.5 is a tie: to the even 0
        }
    }
}

tmac_status tmac_matrix_ternarize(tmac_source *source, tmac_matrix *matrix)
{
    size_t count = (size_t)matrix->rows * matrix->columns;
    double sum = 0.0;
    for (size_t row = 0; row < matrix->rows; row++) {
        double part = 0.0;
        for (size_t c = 0; c < matrix->columns; c++)
            part += fabs((double)load(matrix->number, matrix->data, row * matrix->columns + c));
        sum += part;
    }
    if (!isfinite(sum))
        return tmac_fail(TMAC_BAD_FILE, "%s holds a number that is not finite", matrix->name);
    float mean = (float)(sum / (double)count);
    TMAC_TRY(tmac_matrix_tensor_scale(source, matrix, mean > 1e-5f ? mean : 1e-5f));
    matrix->detail = (uint32_t)matrix->number;
    matrix->number = TMAC_TERNARY;
    matrix->read_codes = read_online;
    matrix->read_float = NULL;
    matrix->in_place = NULL;
    return tmac_ok();
}

static tmac_status take_float(tmac_source *source, tmac_matrix *matrix,
                              const tmac_hf_config *config, const tmac_st_tensor *tensor,
                              uint32_t half_split_head)
{
    tmac_number number;
    if (!tmac_st_number(tensor, &number))
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %s has dtype %s; F32, F16, BF16 and packed U8 are read",
                         tensor->name, tensor->type_name);
    if (tensor->dimensions != 2 || tensor->extent[0] != matrix->rows ||
        tensor->extent[1] != matrix->columns)
        return tmac_fail(TMAC_BAD_FILE, "tensor %s is %llu x %llu, the model needs %u x %u",
                         tensor->name, (unsigned long long)tensor->extent[0],
                         (unsigned long long)tensor->extent[1], matrix->rows, matrix->columns);
    tmac_matrix_float(matrix, number, tensor->data, half_split_head);
    TMAC_TRY(tmac_matrix_recognise(source, matrix));
    return matrix->number != TMAC_TERNARY && config->bitnet ? tmac_matrix_ternarize(source, matrix)
                                                            : tmac_ok();
}

tmac_status tmac_hf_matrix(tmac_source *source, tmac_matrix *matrix, const tmac_hf_config *config,
                           const tmac_st_tensor *tensor, const tmac_st_tensor *scale,
                           tmac_base3 base3, uint32_t half_split_head)
{
    matrix->half_split_head = half_split_head;
    if (tensor->type == TMAC_ST_U8)
        return take_packed(source, matrix, config->divide, tensor, scale, base3);
    if (scale)
        return tmac_fail(TMAC_UNSUPPORTED, "%s has a weight_scale beside %s weights", matrix->name,
                         tensor->type_name);
    return take_float(source, matrix, config, tensor, half_split_head);
}

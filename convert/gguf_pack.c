// Layouts: convert/gguf_integers.c, convert/gguf_floats.c and convert/ternary.c describe them where they are read.
#include "convert/gguf_pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/gguf.h"
#include "convert/neutral.h"
#include "runtime/half.h"

enum { I2_S_TAIL = 32 };

uint64_t tmac_gguf_packed_bytes(uint32_t type, uint64_t columns, uint64_t rows)
{
    switch (type) {
    case TMAC_GGUF_TYPE_F32:
        return rows * columns * 4;
    case TMAC_GGUF_TYPE_Q8_0:
        return rows * columns / 32 * 34;
    case TMAC_GGUF_TYPE_TQ1_0:
        return rows * columns / 256 * 54;
    case TMAC_GGUF_TYPE_TQ2_0:
        return rows * columns / 256 * 66;
    case TMAC_GGUF_TYPE_I2_S:
        return rows * columns / 4 + I2_S_TAIL;
    default:
        return rows * columns * 2;
    }
}

// --------------------------------------------------------------------------------------------------- one row of floats

static uint16_t to_bf16(float value) // to nearest, ties to even; NaNs stay NaNs
{
    uint32_t bits = tmac_bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static size_t pack_q8_0(const float *row, uint32_t columns, uint8_t *to)
{
    uint8_t *begin = to;
    for (uint32_t c = 0; c < columns; c += 32, to += 34) {
        float largest = 0.0f;
        for (uint32_t i = 0; i < 32; i++)
            largest = fmaxf(largest, fabsf(row[c + i]));
        float d = largest / 127.0f, inverse = d > 0.0f ? 1.0f / d : 0.0f;
        uint16_t half = tmac_f32_to_f16(d);
        memcpy(to, &half, 2);
        for (uint32_t i = 0; i < 32; i++)
            to[2 + i] = (uint8_t)(int8_t)roundf(row[c + i] * inverse);
    }
    return (size_t)(to - begin);
}

static size_t pack_floats(const float *row, uint32_t columns, uint32_t type, uint8_t *to)
{
    if (type == TMAC_GGUF_TYPE_Q8_0) return pack_q8_0(row, columns, to);
    if (type == TMAC_GGUF_TYPE_F32) {
        memcpy(to, row, columns * sizeof *row);
        return columns * sizeof *row;
    }
    for (uint32_t c = 0; c < columns; c++) {
        uint16_t half = type == TMAC_GGUF_TYPE_F16 ? tmac_f32_to_f16(row[c]) : to_bf16(row[c]);
        memcpy(to + 2 * (size_t)c, &half, 2);
    }
    return 2 * (size_t)columns;
}

// ---------------------------------------------------------------------------------------------------- one row of codes

static float scale_of(const tmac_matrix *matrix, bool unit, uint32_t row, uint32_t column)
{
    if (unit) return 1.0f;
    if (matrix->scale_count == 1) return matrix->scales[0];
    size_t groups = ((size_t)matrix->columns + matrix->group - 1) / matrix->group;
    return matrix->scales[row * groups + column / matrix->group];
}

// Digits 0, 1, 2, the first most significant, as the byte whose products with powers of 3 give them back in their
// uppermost bits: the number over 243, rounded up.
static uint8_t to_digits(const int8_t *codes, size_t stride, int count)
{
    uint32_t value = 0;
    for (int n = 0; n < 5; n++)
        value = value * 3 + (n < count ? (uint32_t)(codes[(size_t)n * stride] + 1) : 0);
    return (uint8_t)((value * 256 + 242) / 243);
}

static void pack_tq1_0(const int8_t *codes, uint8_t *to)
{
    for (int m = 0; m < 32; m++)
        *to++ = to_digits(codes + m, 32, 5);
    for (int m = 0; m < 16; m++)
        *to++ = to_digits(codes + 160 + m, 16, 5);
    for (int j = 0; j < 4; j++)
        *to++ = to_digits(codes + 240 + j, 4, 4);
}

static void pack_tq2_0(const int8_t *codes, uint8_t *to)
{
    for (int half = 0; half < 2; half++, codes += 128)
        for (int m = 0; m < 32; m++)
            *to++ = (uint8_t)((codes[m] + 1) | (codes[m + 32] + 1) << 2 | (codes[m + 64] + 1) << 4 |
                              (codes[m + 96] + 1) << 6);
}

static size_t pack_blocks(const tmac_matrix *matrix, const int8_t *codes, uint32_t row, bool unit,
                          uint32_t type, uint8_t *to)
{
    uint8_t *begin = to;
    uint32_t bytes = type == TMAC_GGUF_TYPE_TQ1_0 ? 52 : 64;
    for (uint32_t c = 0; c < matrix->columns; c += 256, to += bytes + 2) {
        uint16_t d = tmac_f32_to_f16(scale_of(matrix, unit, row, c));
        if (type == TMAC_GGUF_TYPE_TQ1_0)
            pack_tq1_0(codes + c, to);
        else
            pack_tq2_0(codes + c, to);
        memcpy(to + bytes, &d, 2);
    }
    return (size_t)(to - begin);
}

// Whole blocks of 32 with scale 1.
static size_t pack_unit_q8_0(const int8_t *codes, uint32_t columns, uint8_t *to)
{
    static const uint16_t one = 0x3c00;
    for (uint32_t c = 0; c < columns; c += 32, to += 34) {
        memcpy(to, &one, 2);
        memcpy(to + 2, codes + c, 32);
    }
    return columns / 32 * 34;
}

// I2_S blocks of 128 cross rows where those are no multiple long: what is left of a row waits in `held`.
typedef struct stream {
    int8_t held[128];
    uint32_t count;
} stream;

static size_t pack_i2_s(stream *s, const int8_t *codes, uint32_t columns, uint8_t *to)
{
    uint8_t *begin = to;
    for (uint32_t c = 0; c < columns; c++) {
        s->held[s->count++] = codes[c];
        if (s->count < 128) continue;
        for (int m = 0; m < 32; m++)
            *to++ = (uint8_t)((s->held[m] + 1) << 6 | (s->held[m + 32] + 1) << 4 |
                              (s->held[m + 64] + 1) << 2 | (s->held[m + 96] + 1));
        s->count = 0;
    }
    return (size_t)(to - begin);
}

static size_t pack_codes(const tmac_matrix *matrix, const int8_t *codes, uint32_t row, bool unit,
                         uint32_t type, float *values, stream *s, uint8_t *to)
{
    if (type == TMAC_GGUF_TYPE_I2_S) return pack_i2_s(s, codes, matrix->columns, to);
    if (type == TMAC_GGUF_TYPE_TQ1_0 || type == TMAC_GGUF_TYPE_TQ2_0)
        return pack_blocks(matrix, codes, row, unit, type, to);
    if (type == TMAC_GGUF_TYPE_Q8_0 && unit) return pack_unit_q8_0(codes, matrix->columns, to);
    for (uint32_t c = 0; c < matrix->columns; c++)
        values[c] = (float)codes[c] * scale_of(matrix, unit, row, c);
    return pack_floats(values, matrix->columns, type, to);
}

tmac_status tmac_gguf_pack(const tmac_matrix *matrix, uint32_t type, uint32_t head, bool unit,
                           tmac_output *output)
{
    bool ternary = matrix->number == TMAC_TERNARY;
    int8_t *codes = malloc(matrix->columns);
    float *values = malloc(matrix->columns * sizeof *values);
    uint8_t *packed = malloc(matrix->columns * sizeof(float) + 128);
    stream s = {.count = 0};
    tmac_status status = codes && values && packed ? tmac_ok() : tmac_no_memory();
    for (uint32_t r = 0; r < matrix->rows && status.code == TMAC_OK; r++) {
        uint32_t row = tmac_neutral_row(r, head);
        size_t bytes;
        if (ternary) {
            matrix->read_codes(matrix, row, 1, codes);
            bytes = pack_codes(matrix, codes, row, unit, type, values, &s, packed);
        } else {
            matrix->read_float(matrix, row, 1, values);
            bytes = pack_floats(values, matrix->columns, type, packed);
        }
        tmac_output_write(output, packed, bytes);
    }
    if (status.code == TMAC_OK && type == TMAC_GGUF_TYPE_I2_S) {
        float tail[I2_S_TAIL / 4] = {matrix->scales[0]};
        tmac_output_write(output, tail, sizeof tail);
    }
    free(codes);
    free(values);
    free(packed);
    return status;
}

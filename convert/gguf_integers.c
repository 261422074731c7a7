// GGUF tensors whose weights are small integers, in blocks along a row; f16 scales are d. Codes mean code - 1 but where
// said otherwise.
//
//   TQ1_0      256 weights, 54 bytes: qs[48], qh[4], d. Byte b holds digits to base 3, the first most significant: digit n
//              is (b 3^n mod 256) 3 / 256. Digits 0-4 of qs[0..31], of qs[32..47], then digits 0-3 of qh.
//   TQ2_0      256 weights, 66 bytes: convert/ternary.c; then d
//   I2_S       codes in one of three layouts, then one f32 scale: convert/ternary.c, and here for the other two:
//                neon64: as the canonical one with blocks of 64 in 16 bytes; x86x4: byte (r / 4) K + c has row r of column c
//                in bits 6 - 2 (r % 4)
//   IQ1_BN     a row: d, then 64 weights in 13 bytes: 12 bytes of five digits each (least significant first in the order of
//              powers 81, 27, 9, 3, 1 of the decoder), three to 16 weights, whose 16th is a digit of byte 12
//   IQ2_BN     a row: f32 scale, then 64 weights in 16 bytes: byte j has weight j + 16 l in bits 2l
//   IQ2_BN_R4  four rows together: 4 f32 scales, then 64 columns in 64 bytes: byte 4k + i + 16l has columns 16l + i +
//              {0, 4, 8, 12} of row k in bits 0, 2, 4, 6
//   Q2_0       64 weights, 18 bytes: d, weight j in byte j / 4, bits 2 (j % 4); PQ2_0: 128 weights, 34 bytes. Code 3 means
//              +2: a tensor that has it is not ternary and becomes two-bit integers, w = (1 - code) (-d)
//   Q4_0       convert/gguf_floats.c; its weights are integers n - 8 with a scale for each 32
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/gguf_blocks.h"
#include "convert/neutral.h"
#include "convert/ternary.h"
#include "runtime/half.h"

enum { WIDEST = 256 };

// --------------------------------------------------------------------------------------------------------- blocks

static int8_t *tq1_0_digits(const uint8_t *from, int bytes, int digits, int8_t *codes)
{
    static const uint8_t powers[] = {1, 3, 9, 27, 81};
    for (int n = 0; n < digits; n++)
        for (int m = 0; m < bytes; m++)
            *codes++ = (int8_t)(((uint8_t)(from[m] * powers[n]) * 3 >> 8) - 1);
    return codes;
}

static void tq1_0(const uint8_t *from, int8_t *codes)
{
    codes = tq1_0_digits(from, 32, 5, codes);
    codes = tq1_0_digits(from + 32, 16, 5, codes);
    tq1_0_digits(from + 48, 4, 4, codes);
}

static int8_t iq1_bn_digit(uint8_t byte, int j)
{
    static const uint8_t powers[] = {81, 27, 9, 3, 1};
    uint32_t v = (uint8_t)(byte * powers[j]);
    return (int8_t)((int)((v + (v >> 1)) >> 7) - 1);
}

static void iq1_bn(const uint8_t *from, int8_t *codes)
{
    for (int part = 0; part < 4; part++) {
        for (int k = 0; k < 3; k++)
            for (int j = 0; j < 5; j++)
                *codes++ = iq1_bn_digit(from[3 * part + k], j);
        *codes++ = iq1_bn_digit(from[12], part);
    }
}

static void iq2_bn(const uint8_t *from, int8_t *codes)
{
    for (int l = 0; l < 4; l++)
        for (int j = 0; j < 16; j++)
            *codes++ = (int8_t)((from[j] >> 2 * l & 3) - 1);
}

static void two_bits(const uint8_t *from, int count, int8_t *codes)
{
    for (int j = 0; j < count; j++)
        codes[j] = (int8_t)((from[j / 4] >> 2 * (j % 4) & 3) - 1);
}

static void q2_0(const uint8_t *from, int8_t *codes)
{
    two_bits(from + 2, 64, codes);
}

static void pq2_0(const uint8_t *from, int8_t *codes)
{
    two_bits(from + 2, 128, codes);
}

static void q4_0(const uint8_t *from, int8_t *codes)
{
    for (int i = 0; i < 16; i++) {
        codes[i] = (int8_t)((from[2 + i] & 15) - 8);
        codes[i + 16] = (int8_t)((from[2 + i] >> 4) - 8);
    }
}

static void tq2_0(const uint8_t *from, int8_t *codes)
{
    for (int half = 0; half < 2; half++)
        for (int l = 0; l < 4; l++)
            for (int m = 0; m < 32; m++)
                *codes++ = (int8_t)((from[32 * half + m] >> 2 * l & 3) - 1);
}

typedef struct packing {
    uint32_t type, block, bytes;
    uint32_t scale_at; // of the f16 in a block; or:
    uint32_t row_meta; // bytes of the scale in front of a row, 2 (f16) or 4 (f32); 0: block scales
    void (*decode)(const uint8_t *from, int8_t *codes);
} packing;

static const packing packings[] = {
    {TMAC_GGUF_TYPE_TQ1_0, 256, 54, 52, 0, tq1_0}, {TMAC_GGUF_TYPE_TQ2_0, 256, 66, 64, 0, tq2_0},
    {TMAC_GGUF_TYPE_IQ1_BN, 64, 13, 0, 2, iq1_bn}, {TMAC_GGUF_TYPE_IQ2_BN, 64, 16, 0, 4, iq2_bn},
    {TMAC_GGUF_TYPE_Q2_0, 64, 18, 0, 0, q2_0},     {TMAC_GGUF_TYPE_PQ2_0, 128, 34, 0, 0, pq2_0},
    {TMAC_GGUF_TYPE_Q4_0, 32, 18, 0, 0, q4_0},
};

static const uint8_t *row_of(const tmac_matrix *matrix, const packing *p, uint32_t row)
{
    size_t stride = p->row_meta + (size_t)(matrix->columns / p->block) * p->bytes;
    return (const uint8_t *)matrix->data + tmac_file_row(row, matrix->half_split_head) * stride;
}

static void read_blocks(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const packing *p = &packings[matrix->detail];
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *from = row_of(matrix, p, first + r) + p->row_meta;
        for (uint32_t c = 0; c < matrix->columns;
             c += p->block, from += p->bytes, codes += p->block)
            p->decode(from, codes);
    }
}

// Two-bit weights with a code that ternary ones have not: the negated codes, which lie within -2..1.
static void read_negated(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    read_blocks(matrix, first, count, codes);
    for (size_t i = 0; i < (size_t)count * matrix->columns; i++)
        codes[i] = (int8_t)-codes[i];
}

// ---------------------------------------------------------------------------------------------------------- scales

// The largest code of a tensor, and whether `count` more of them are all 0. Every open reads all codes through this:
// hence byte arithmetic that compilers turn into vectors.
static bool look(int8_t *largest, const int8_t *codes, uint32_t count)
{
    int8_t high = *largest;
    uint8_t any = 0;
    for (uint32_t i = 0; i < count; i++) {
        high = codes[i] > high ? codes[i] : high;
        any |= (uint8_t)codes[i];
    }
    *largest = high;
    return any == 0;
}

static float row_scale(const packing *p, const uint8_t *row)
{
    return p->row_meta == 2 ? tmac_f16_to_f32(tmac_load_u16(row)) : tmac_load_f32(row);
}

// One scale for every block (row), NaN where it has zeros alone, which take any.
static tmac_status collect(const tmac_matrix *matrix, const packing *p, float scale, float *scales,
                           int8_t *largest)
{
    for (uint32_t r = 0; r < matrix->rows; r++) {
        const uint8_t *row = row_of(matrix, p, r), *block = row + p->row_meta;
        bool zeros = true;
        for (uint32_t c = 0; c < matrix->columns; c += p->block, block += p->bytes) {
            int8_t codes[WIDEST];
            p->decode(block, codes);
            bool empty = look(largest, codes, p->block);
            float d = p->row_meta ? 0.0f : tmac_f16_to_f32(tmac_load_u16(block + p->scale_at));
            if (!isfinite(d))
                return tmac_fail(TMAC_BAD_FILE, "%s: the scale of a block in row %u is not finite",
                                 matrix->name, r);
            if (p->row_meta == 0) *scales++ = empty ? NAN : d * scale;
            zeros = zeros && empty;
        }
        if (p->row_meta == 0) continue;
        float d = row_scale(p, row) * scale;
        if (!isfinite(d))
            return tmac_fail(TMAC_BAD_FILE, "%s: the scale of row %u is not finite", matrix->name,
                             r);
        *scales++ = zeros ? NAN : d;
    }
    return tmac_ok();
}

// A code of 3 means +2 where it may be.
static tmac_status settle_number(tmac_matrix *matrix, const packing *p, int8_t largest,
                                 float *scales, size_t count)
{
    matrix->number = p->type == TMAC_GGUF_TYPE_Q4_0 ? TMAC_Q4 : TMAC_TERNARY;
    if (p->type == TMAC_GGUF_TYPE_Q4_0 || largest < 2) return tmac_ok();
    if (p->type != TMAC_GGUF_TYPE_Q2_0 && p->type != TMAC_GGUF_TYPE_PQ2_0)
        return tmac_fail(TMAC_BAD_FILE,
                         "%s holds the code 3, which no ternary weight has: damaged?",
                         matrix->name);
    matrix->number = TMAC_Q2;
    matrix->read_codes = read_negated;
    for (size_t i = 0; i < count; i++)
        scales[i] = -scales[i];
    return tmac_ok();
}

static tmac_status take_blocks(tmac_source *source, tmac_matrix *matrix, float scale)
{
    const packing *p = &packings[matrix->detail];
    uint32_t group = p->row_meta ? matrix->columns : p->block;
    size_t count = (size_t)matrix->rows * (matrix->columns / group);
    float *scales = count <= UINT32_MAX ? malloc(count * sizeof *scales) : NULL;
    if (!scales) return tmac_no_memory();
    int8_t largest = 0;
    matrix->read_codes = read_blocks;
    tmac_status status = collect(matrix, p, scale, scales, &largest);
    if (status.code == TMAC_OK) status = settle_number(matrix, p, largest, scales, count);
    if (status.code == TMAC_OK) status = tmac_matrix_group_scales(source, matrix, scales, group);
    free(scales);
    return status;
}

// ------------------------------------------------------------------------------------------------------ IQ2_BN_R4

static const uint8_t *r4_group(const tmac_matrix *matrix, uint32_t file_row)
{
    size_t stride = 16 + (size_t)matrix->columns / 64 * 64;
    return (const uint8_t *)matrix->data + file_row / 4 * stride;
}

static void read_r4(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    for (uint32_t r = 0; r < count; r++, codes += matrix->columns) {
        uint32_t row = tmac_file_row(first + r, matrix->half_split_head), k = row % 4;
        const uint8_t *from = r4_group(matrix, row) + 16;
        for (uint32_t c = 0; c < matrix->columns; c++) {
            uint32_t in = c % 64, l = in / 16, i = in % 4, shift = in % 16 / 4 * 2;
            uint8_t byte = from[c / 64 * 64 + 4 * k + i + 16 * l];
            codes[c] = (int8_t)((byte >> shift & 3) - 1);
        }
    }
}

static tmac_status take_r4(tmac_source *source, tmac_matrix *matrix, float scale)
{
    if (matrix->rows % 4 != 0)
        return tmac_fail(TMAC_BAD_FILE, "%s has %u rows; IQ2_BN_R4 packs four together",
                         matrix->name, matrix->rows);
    float *scales = malloc(matrix->rows * sizeof *scales);
    if (!scales) return tmac_no_memory();
    tmac_status status = tmac_ok();
    for (uint32_t r = 0; r < matrix->rows; r++) {
        uint32_t row = tmac_file_row(r, matrix->half_split_head);
        scales[r] = tmac_load_f32(r4_group(matrix, row) + 4 * (size_t)(row % 4)) * scale;
        if (!isfinite(scales[r]))
            status =
                tmac_fail(TMAC_BAD_FILE, "%s: the scale of row %u is not finite", matrix->name, r);
        if (row % 4 == 0 && tmac_codes_have_3(r4_group(matrix, row) + 16, matrix->columns))
            status = tmac_fail(TMAC_BAD_FILE,
                               "%s holds the code 3, which no ternary weight has: damaged?",
                               matrix->name);
    }
    matrix->number = TMAC_TERNARY;
    matrix->read_codes = read_r4;
    if (status.code == TMAC_OK)
        status = tmac_matrix_group_scales(source, matrix, scales, matrix->columns);
    free(scales);
    return status;
}

// ------------------------------------------------------------------------------------------------------------ I2_S

static void read_neon64(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const uint8_t *data = matrix->data;
    for (uint32_t r = 0; r < count; r++) {
        uint64_t e = (uint64_t)tmac_file_row(first + r, matrix->half_split_head) * matrix->columns;
        for (uint32_t c = 0; c < matrix->columns; c++, e++)
            *codes++ = (int8_t)((data[e / 64 * 16 + e % 16] >> (6 - 2 * (e % 64 / 16)) & 3) - 1);
    }
}

static void read_x86x4(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    for (uint32_t r = 0; r < count; r++) {
        uint32_t row = tmac_file_row(first + r, matrix->half_split_head);
        const uint8_t *from = (const uint8_t *)matrix->data + (size_t)(row / 4) * matrix->columns;
        for (uint32_t c = 0; c < matrix->columns; c++)
            *codes++ = (int8_t)((from[c] >> (6 - 2 * (row % 4)) & 3) - 1);
    }
}

static tmac_status take_i2_s(tmac_source *source, tmac_matrix *matrix, float scale,
                             tmac_i2s_layout layout)
{
    const uint8_t *data = matrix->data;
    size_t code_bytes = (size_t)matrix->rows * matrix->columns / 4;
    if (tmac_codes_have_3(data, code_bytes))
        return tmac_fail(TMAC_BAD_FILE,
                         "%s holds the code 3, which no ternary weight has: damaged?",
                         matrix->name);
    if (layout == TMAC_I2S_X86X4 && matrix->rows % 4 != 0)
        return tmac_fail(TMAC_BAD_FILE, "%s has %u rows; --i2s-layout x86x4 packs four together",
                         matrix->name, matrix->rows);
    tmac_ternary_i2_s(matrix, data, matrix->half_split_head);
    if (layout == TMAC_I2S_NEON64) matrix->read_codes = read_neon64;
    if (layout == TMAC_I2S_X86X4) matrix->read_codes = read_x86x4;
    return tmac_matrix_tensor_scale(source, matrix, tmac_load_f32(data + code_bytes) * scale);
}

tmac_status tmac_gguf_integer_matrix(tmac_source *source, tmac_matrix *matrix,
                                     const tmac_gguf_tensor *tensor, float scale,
                                     tmac_i2s_layout layout, uint32_t half_split_head)
{
    matrix->data = tensor->data;
    matrix->half_split_head = half_split_head;
    if (tensor->type == TMAC_GGUF_TYPE_I2_S) return take_i2_s(source, matrix, scale, layout);
    if (tensor->type == TMAC_GGUF_TYPE_IQ2_BN_R4) return take_r4(source, matrix, scale);
    uint32_t count = sizeof packings / sizeof *packings;
    for (matrix->detail = 0; matrix->detail < count; matrix->detail++)
        if (packings[matrix->detail].type == tensor->type)
            return take_blocks(source, matrix, scale);
    return tmac_fail(TMAC_UNSUPPORTED, "tensor %.*s has type %s, which projections may not have",
                     (int)tensor->name.bytes, tensor->name.data, tmac_gguf_type_name(tensor->type));
}

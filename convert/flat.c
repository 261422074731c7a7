#include "convert/flat.h"

#include "convert/bytes.h"
#include "convert/neutral.h"
#include "runtime/half.h"

enum { BLOCK = 32, Q4V1_BYTES = 18, Q8V1_BYTES = 34 };

uint64_t tmac_flat_bytes(tmac_flat_kind kind, uint64_t count, uint32_t group)
{
    uint64_t blocks = (count + BLOCK - 1) / BLOCK;
    return kind == TMAC_FLAT_Q80    ? count + count / group * 4
           : kind == TMAC_FLAT_TMAC ? (count + 3) / 4
                                    : blocks * (kind == TMAC_FLAT_Q4V1 ? Q4V1_BYTES : Q8V1_BYTES);
}

static float weight(const tmac_flat *flat, uint64_t e)
{
    const uint8_t *block;
    switch (flat->kind) {
    case TMAC_FLAT_Q80:
        return (float)(int8_t)flat->codes[e] * tmac_load_f32(flat->scales + 4 * (e / flat->group));
    case TMAC_FLAT_Q4V1:
        block = flat->codes + e / BLOCK * Q4V1_BYTES;
        return (float)((block[2 + e % BLOCK / 2] >> 4 * (e % 2) & 15) - 8) *
               tmac_f16_to_f32(tmac_load_u16(block));
    case TMAC_FLAT_Q8V1:
        block = flat->codes + e / BLOCK * Q8V1_BYTES;
        return (float)(int8_t)block[2 + e % BLOCK] * tmac_f16_to_f32(tmac_load_u16(block));
    default: {
        uint32_t code = flat->codes[e / 4] >> 2 * (e % 4) & 3;
        return code == 0 ? 0.0f : code == 1 ? 1.0f : -1.0f;
    }
    }
}

static void read_values(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    const tmac_flat *flat = matrix->data;
    uint64_t e = flat->first + (uint64_t)first * matrix->columns;
    for (uint64_t end = e + (uint64_t)count * matrix->columns; e < end; e++)
        *values++ = weight(flat, e);
}

static void read_signs(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const tmac_flat *flat = matrix->data;
    uint64_t e = flat->first + (uint64_t)first * matrix->columns;
    for (uint64_t end = e + (uint64_t)count * matrix->columns; e < end; e++) {
        float value = weight(flat, e);
        *codes++ = (int8_t)((value > 0.0f) - (value < 0.0f));
    }
}

tmac_status tmac_flat_table(tmac_source *source, tmac_matrix *matrix, const tmac_flat *flat)
{
    tmac_flat *copy = tmac_source_take(source, sizeof *copy);
    if (!copy) return tmac_no_memory();
    *copy = *flat;
    matrix->number = TMAC_F32;
    matrix->data = copy;
    matrix->read_float = read_values;
    return tmac_ok();
}

tmac_status tmac_flat_matrix(tmac_source *source, tmac_matrix *matrix, const tmac_flat *flat)
{
    TMAC_TRY(tmac_flat_table(source, matrix, flat));
    matrix->read_codes = read_signs;
    return tmac_matrix_recognise(source, matrix);
}

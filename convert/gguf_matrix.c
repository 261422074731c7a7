// Tensors of a GGUF as matrices of the neutral form. TQ2_0 and I2_S blocks are described in convert/ternary.c.
#include <math.h>
#include <stdlib.h>

#include "convert/bytes.h"
#include "convert/gguf_model.h"
#include "runtime/half.h"
#include "convert/neutral.h"
#include "convert/ternary.h"

bool tmac_gguf_number(uint32_t type, tmac_number *number)
{
    if (type == TMAC_GGUF_TYPE_F32)
        *number = TMAC_F32;
    else if (type == TMAC_GGUF_TYPE_F16)
        *number = TMAC_F16;
    else if (type == TMAC_GGUF_TYPE_BF16)
        *number = TMAC_BF16;
    else
        return false;
    return true;
}

static bool all_zero(const uint8_t *codes) // 64 bytes of the unsigned code 1
{
    uint64_t other = 0;
    for (size_t i = 0; i < 64; i += 8)
        other |= tmac_load_u64(codes + i) ^ 0x5555555555555555u;
    return other == 0;
}

// Collects the block scales in neutral row order and checks the codes.
static tmac_status tq2_0_scales(const tmac_matrix *matrix, const uint8_t *data, float scale,
                                uint32_t half_split_head, float *scales)
{
    uint32_t blocks = matrix->columns / TMAC_TQ2_BLOCK;
    for (uint32_t r = 0; r < matrix->rows; r++) {
        const uint8_t *block =
            data + (size_t)tmac_file_row(r, half_split_head) * blocks * TMAC_TQ2_BYTES;
        for (uint32_t b = 0; b < blocks; b++, block += TMAC_TQ2_BYTES) {
            if (tmac_codes_have_3(block, 64))
                return tmac_fail(TMAC_BAD_FILE,
                                 "%s holds the code 3, which no ternary weight has: damaged?",
                                 matrix->name);
            float d = tmac_f16_to_f32(tmac_load_u16(block + 64)) * scale;
            if (!isfinite(d))
                return tmac_fail(TMAC_BAD_FILE, "%s: the scale of a block in row %u is not finite",
                                 matrix->name, r);
            *scales++ = all_zero(block) ? NAN : d;
        }
    }
    return tmac_ok();
}

static tmac_status take_tq2_0(tmac_source *source, tmac_matrix *matrix, const uint8_t *data,
                              float scale, uint32_t half_split_head)
{
    size_t count = (size_t)matrix->rows * (matrix->columns / TMAC_TQ2_BLOCK);
    float *scales = count <= UINT32_MAX ? malloc(count * sizeof *scales) : NULL;
    if (!scales) return tmac_no_memory();
    tmac_status status = tq2_0_scales(matrix, data, scale, half_split_head, scales);
    if (status.code == TMAC_OK)
        status = tmac_matrix_group_scales(source, matrix, scales, TMAC_TQ2_BLOCK);
    free(scales);
    tmac_ternary_tq2_0(matrix, data, half_split_head);
    return status;
}

static tmac_status take_i2_s(tmac_source *source, tmac_matrix *matrix, const uint8_t *data,
                             float scale, uint32_t half_split_head)
{
    size_t code_bytes = (size_t)matrix->rows * matrix->columns / 4;
    if (tmac_codes_have_3(data, code_bytes))
        return tmac_fail(TMAC_BAD_FILE,
                         "%s holds the code 3, which no ternary weight has: damaged?",
                         matrix->name);
    tmac_ternary_i2_s(matrix, data, half_split_head);
    return tmac_matrix_tensor_scale(source, matrix, tmac_load_f32(data + code_bytes) * scale);
}

static tmac_status take_float(tmac_source *source, tmac_matrix *matrix, tmac_number number,
                              const uint8_t *data, float scale, uint32_t half_split_head)
{
    tmac_matrix_float(matrix, number, data, half_split_head);
    TMAC_TRY(tmac_matrix_recognise(source, matrix));
    if (scale == 1.0f) return tmac_ok();
    if (matrix->number != TMAC_TERNARY)
        return tmac_fail(TMAC_UNSUPPORTED, "%s is a float matrix with a scale beside it",
                         matrix->name);
    float *scales = tmac_source_take(source, matrix->scale_count * sizeof *scales);
    if (!scales) return tmac_no_memory();
    for (uint32_t i = 0; i < matrix->scale_count; i++)
        scales[i] = matrix->scales[i] * scale;
    matrix->scales = scales;
    return tmac_ok();
}

tmac_status tmac_gguf_matrix(tmac_source *source, tmac_matrix *matrix,
                             const tmac_gguf_tensor *tensor, float scale, uint32_t half_split_head)
{
    tmac_number number;
    if (tensor->extent[0] != matrix->columns || tensor->extent[1] != matrix->rows ||
        tensor->extent[2] != 1 || tensor->extent[3] != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %.*s is %llu x %llu, the model needs %u x %u",
                         (int)tensor->name.bytes, tensor->name.data,
                         (unsigned long long)tensor->extent[1],
                         (unsigned long long)tensor->extent[0], matrix->rows, matrix->columns);
    if (tmac_gguf_number(tensor->type, &number))
        return take_float(source, matrix, number, tensor->data, scale, half_split_head);
    return tensor->type == TMAC_GGUF_TYPE_TQ2_0
               ? take_tq2_0(source, matrix, tensor->data, scale, half_split_head)
               : take_i2_s(source, matrix, tensor->data, scale, half_split_head);
}

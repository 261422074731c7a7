// Tensors of a GGUF as matrices of the neutral form: ternary wherever they are.
#include "convert/gguf_blocks.h"
#include "convert/gguf_model.h"
#include "convert/neutral.h"

static tmac_status take_float(tmac_source *source, tmac_matrix *matrix,
                              const tmac_gguf_tensor *tensor, float scale, uint32_t half_split_head)
{
    tmac_gguf_float_matrix(matrix, tensor, half_split_head);
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
                             const tmac_gguf_tensor *tensor, float scale, tmac_i2s_layout layout,
                             uint32_t half_split_head)
{
    if (tensor->extent[0] != matrix->columns || tensor->extent[1] != matrix->rows ||
        tensor->extent[2] != 1 || tensor->extent[3] != 1)
        return tmac_fail(TMAC_BAD_FILE, "tensor %.*s is %llu x %llu, the model needs %u x %u",
                         (int)tensor->name.bytes, tensor->name.data,
                         (unsigned long long)tensor->extent[1],
                         (unsigned long long)tensor->extent[0], matrix->rows, matrix->columns);
    return tmac_gguf_is_float(tensor->type) && tensor->type != TMAC_GGUF_TYPE_Q4_0
               ? take_float(source, matrix, tensor, scale, half_split_head)
               : tmac_gguf_integer_matrix(source, matrix, tensor, scale, layout, half_split_head);
}

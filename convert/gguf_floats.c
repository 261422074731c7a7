// GGUF tensors whose weights are floats, in blocks along a row. Half-precision numbers are f16.
//
//   Q4_0  32 weights, 18 bytes: d; byte i has weight i in its low half, i + 16 in its high one; (n - 8) d
//   Q8_0  32 weights, 34 bytes: d; int8 [32]; q d
//   Q4_K  256 weights, 144 bytes: d, m; 12 bytes of eight 6-bit scales and eight 6-bit minima; 128 bytes of halves.
//         Chunk c of 64 weights is bytes 32c..: the low halves are sub-block 2c, the high ones 2c + 1; d s q - m o
//   Q6_K  256 weights, 210 bytes: low halves [128], upper two bits [64], int8 scales [16], d; (q - 32) s d
#include "base/memory.h"
#include "convert/bytes.h"
#include "convert/gguf_blocks.h"
#include "convert/neutral.h"
#include "runtime/half.h"

enum { WIDEST = 256 };

static void q4_0(const uint8_t *from, float *to)
{
    float d = tmac_f16_to_f32(tmac_load_u16(from));
    for (int i = 0; i < 16; i++) {
        to[i] = (float)((from[2 + i] & 15) - 8) * d;
        to[i + 16] = (float)((from[2 + i] >> 4) - 8) * d;
    }
}

static void q8_0(const uint8_t *from, float *to)
{
    float d = tmac_f16_to_f32(tmac_load_u16(from));
    for (int i = 0; i < 32; i++)
        to[i] = (float)(int8_t)from[2 + i] * d;
}

// The 6-bit scale and minimum of sub-block j.
static void q4_k_pair(const uint8_t *s, int j, int *scale, int *minimum)
{
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = s[j + 4] >> 4 | (s[j] >> 6) << 4;
    }
}

static void q4_k(const uint8_t *from, float *to)
{
    float d = tmac_f16_to_f32(tmac_load_u16(from)), m = tmac_f16_to_f32(tmac_load_u16(from + 2));
    const uint8_t *scales = from + 4, *halves = from + 16;
    for (int j = 0; j < 8; j++) {
        int scale, minimum;
        q4_k_pair(scales, j, &scale, &minimum);
        float step = d * (float)scale, offset = m * (float)minimum;
        for (int i = 0; i < 32; i++)
            to[32 * j + i] = step * (float)(halves[32 * (j / 2) + i] >> 4 * (j % 2) & 15) - offset;
    }
}

static void q6_k(const uint8_t *from, float *to)
{
    float d = tmac_f16_to_f32(tmac_load_u16(from + 208));
    for (int half = 0; half < 2; half++) {
        const uint8_t *low = from + 64 * half, *high = from + 128 + 32 * half,
                      *scales = from + 192 + 8 * half;
        for (int quarter = 0; quarter < 4; quarter++)
            for (int l = 0; l < 32; l++) {
                int four = low[l + 32 * (quarter % 2)] >> 4 * (quarter / 2) & 15;
                int q = (four | (high[l] >> 2 * quarter & 3) << 4) - 32;
                float scale = (float)(int8_t)scales[2 * quarter + l / 16];
                to[128 * half + 32 * quarter + l] = d * scale * (float)q;
            }
    }
}

static const struct {
    uint32_t type, block, bytes;
    void (*decode)(const uint8_t *from, float *to);
} formats[] = {
    {TMAC_GGUF_TYPE_Q4_0, 32, 18, q4_0},
    {TMAC_GGUF_TYPE_Q8_0, 32, 34, q8_0},
    {TMAC_GGUF_TYPE_Q4_K, 256, 144, q4_k},
    {TMAC_GGUF_TYPE_Q6_K, 256, 210, q6_k},
};

static bool find(uint32_t type, uint32_t *format)
{
    for (*format = 0; *format < sizeof formats / sizeof *formats; ++*format)
        if (formats[*format].type == type) return true;
    return false;
}

static const uint8_t *row_of(const tmac_matrix *matrix, uint32_t row)
{
    size_t blocks = matrix->columns / formats[matrix->detail].block;
    return (const uint8_t *)matrix->data +
           tmac_file_row(row, matrix->half_split_head) * blocks * formats[matrix->detail].bytes;
}

static void read_values(const tmac_matrix *matrix, uint32_t first, uint32_t count, float *values)
{
    uint32_t block = formats[matrix->detail].block, bytes = formats[matrix->detail].bytes;
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *from = row_of(matrix, first + r);
        for (uint32_t c = 0; c < matrix->columns; c += block, from += bytes, values += block)
            formats[matrix->detail].decode(from, values);
    }
}

static void read_signs(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    uint32_t block = formats[matrix->detail].block, bytes = formats[matrix->detail].bytes;
    for (uint32_t r = 0; r < count; r++) {
        const uint8_t *from = row_of(matrix, first + r);
        for (uint32_t c = 0; c < matrix->columns; c += block, from += bytes) {
            float values[WIDEST];
            formats[matrix->detail].decode(from, values);
            for (uint32_t i = 0; i < block; i++)
                *codes++ = (int8_t)((values[i] > 0.0f) - (values[i] < 0.0f));
        }
    }
}

static bool plain_number(uint32_t type, tmac_number *number)
{
    *number = type == TMAC_GGUF_TYPE_F32   ? TMAC_F32
              : type == TMAC_GGUF_TYPE_F16 ? TMAC_F16
                                           : TMAC_BF16;
    return type == TMAC_GGUF_TYPE_F32 || type == TMAC_GGUF_TYPE_F16 || type == TMAC_GGUF_TYPE_BF16;
}

bool tmac_gguf_is_float(uint32_t type)
{
    uint32_t format;
    tmac_number number;
    return plain_number(type, &number) || find(type, &format);
}

void tmac_gguf_float_matrix(tmac_matrix *matrix, const tmac_gguf_tensor *tensor,
                            uint32_t half_split_head)
{
    tmac_number number;
    if (plain_number(tensor->type, &number)) {
        tmac_matrix_float(matrix, number, tensor->data, half_split_head);
        return;
    }
    find(tensor->type, &matrix->detail);
    matrix->number = TMAC_F32;
    matrix->data = tensor->data;
    matrix->half_split_head = half_split_head;
    matrix->read_float = read_values;
    matrix->read_codes = read_signs;
}

tmac_status tmac_gguf_floats(tmac_source *source, const tmac_gguf_tensor *tensor,
                             const float **values)
{
    uint64_t rows = tensor->extent[1] * tensor->extent[2] * tensor->extent[3];
    size_t bytes;
    if (!tmac_gguf_is_float(tensor->type) || rows > UINT32_MAX || tensor->extent[0] > UINT32_MAX ||
        !tmac_size_multiply((size_t)rows * sizeof(float), tensor->extent[0], &bytes))
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %.*s has type %s, expected floats",
                         (int)tensor->name.bytes, tensor->name.data,
                         tmac_gguf_type_name(tensor->type));
    tmac_matrix matrix = {.rows = (uint32_t)rows, .columns = (uint32_t)tensor->extent[0]};
    float *copy = tmac_source_take(source, bytes);
    if (!copy) return tmac_no_memory();
    tmac_gguf_float_matrix(&matrix, tensor, 0);
    matrix.read_float(&matrix, 0, matrix.rows, copy);
    *values = copy;
    return tmac_ok();
}

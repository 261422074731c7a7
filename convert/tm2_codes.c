// Weights of one to four bits in TM2: per row a stream of unsigned codes of b bits, the first from bit 0 of the first byte
// upwards, padded with zeros to a whole byte. A code means code - 2^(b-1); with one bit, 2 * code - 1. Every bit pattern
// is valid, so there is nothing to check in the codes themselves.
#include "convert/tm2.h"

// value = code * step + low.
static int32_t step_of(uint32_t bits)
{
    return bits == 1 ? 2 : 1;
}

static int32_t low_of(uint32_t bits)
{
    return -(1 << (bits - 1));
}

// detail holds the bits of a code.
static void read_codes(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    uint32_t bits = matrix->detail, mask = (1u << bits) - 1;
    int32_t step = step_of(bits), low = low_of(bits);
    size_t stride = tmac_tm2_code_stride(bits, matrix->columns);
    const uint8_t *row = (const uint8_t *)matrix->data + first * stride;
    for (uint32_t r = 0; r < count; r++, row += stride) {
        uint32_t window = 0, held = 0; // bits read and not yet used; at most 3 + 8 of them
        const uint8_t *from = row;
        for (uint32_t c = 0; c < matrix->columns; c++, held -= bits, window >>= bits) {
            if (held < bits) {
                window |= (uint32_t)*from++ << held;
                held += 8;
            }
            *codes++ = (int8_t)((int32_t)(window & mask) * step + low);
        }
    }
}

void tmac_tm2_codes(tmac_matrix *matrix, tmac_tm2_kind kind, const uint8_t *data)
{
    matrix->number = (tmac_number)(TMAC_Q1 + (kind - TMAC_TM2_Q1));
    matrix->data = data;
    matrix->detail = tmac_tm2_code_bits(kind);
    matrix->read_codes = read_codes;
}

void tmac_tm2_pack_codes(tmac_tm2_kind kind, const int8_t *values, uint32_t columns,
                         uint8_t *packed)
{
    uint32_t bits = tmac_tm2_code_bits(kind), window = 0, held = 0;
    int32_t step = step_of(bits), low = low_of(bits);
    for (uint32_t c = 0; c < columns; c++) {
        window |= (uint32_t)((values[c] - low) / step) << held;
        held += bits;
        if (held >= 8) {
            *packed++ = (uint8_t)window;
            window >>= 8;
            held -= 8;
        }
    }
    if (held > 0) *packed = (uint8_t)window;
}

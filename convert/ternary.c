// How files pack ternary weights. A code has 2 bits; K is the number of columns.
//
//   flat    element e of the whole matrix, row-major, is in byte e/4, bits 2(e%4) (lsb) or 6-2(e%4) (msb).
//           Signed codes. bitllama2.c.
//   rows    the same, LSB first, each row padded to whole bytes. TM2.
//   TQ2_0   blocks of 256 along a row: 64 bytes of codes, then an f16 scale. Byte j+m of half j in {0, 32} holds in
//           bits 2l the element 4j + 32l + m. Codes 0, 1, 2 = -1, 0, +1.
//   I2_S    blocks of 128 over the flat row-major stream: element j of a block is in byte j%32, bits 6-2(j/32). Codes
//           0, 1, 2 = -1, 0, +1. Rows start on a block where K is a multiple of 128; else blocks cross rows.
#include "convert/ternary.h"

#include <string.h>

#include "convert/bytes.h"

// The four signed codes of a byte, LSB first, as four int8 in memory order. The two steps spread the 2-bit fields to
// bytes; then 3 (binary 11) becomes 0xff = -1: adding 0xfc to a byte of 3, which is the only one with bit 1 set.
static uint32_t four_signed(uint8_t byte)
{
    uint32_t spread = byte;
    spread = (spread | spread << 12) & 0x000f000fu;
    spread = (spread | spread << 6) & 0x03030303u;
    return spread | (spread >> 1 & 0x01010101u) * 0xfcu;
}

static int8_t one_signed(uint8_t byte, uint32_t shift)
{
    uint32_t code = (uint32_t)byte >> shift & 3u;
    return code == 3 ? -1 : (int8_t)code;
}

static void lsb_row(const uint8_t *from, uint32_t columns, int8_t *codes)
{
    uint32_t whole = columns / 4;
    for (uint32_t i = 0; i < whole; i++) {
        uint32_t four = four_signed(from[i]);
        memcpy(codes + 4 * (size_t)i, &four, 4);
    }
    for (uint32_t i = 4 * whole; i < columns; i++)
        codes[i] = one_signed(from[i / 4], 2 * (i % 4));
}

// -------------------------------------------------------------------------------------------------- flat and rows

static void read_flat(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const uint8_t *data = matrix->data;
    uint64_t element = (uint64_t)first * matrix->columns,
             end = element + (uint64_t)count * matrix->columns;
    bool msb_first = matrix->detail != 0;
    while (element < end) {
        uint8_t byte = data[element / 4];
        if (element % 4 == 0 && end - element >= 4) {
            uint32_t four = four_signed(byte);
            if (msb_first) four = __builtin_bswap32(four);
            memcpy(codes, &four, 4);
            codes += 4;
            element += 4;
        } else {
            uint32_t place = (uint32_t)(element % 4);
            *codes++ = one_signed(byte, msb_first ? 6 - 2 * place : 2 * place);
            element++;
        }
    }
}

void tmac_ternary_flat(tmac_matrix *matrix, const void *data, bool msb_first)
{
    matrix->number = TMAC_TERNARY;
    matrix->data = data;
    matrix->detail = msb_first;
    matrix->read_codes = read_flat;
}

static void read_rows(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    for (uint32_t r = 0; r < count; r++)
        lsb_row((const uint8_t *)matrix->data + (size_t)(first + r) * matrix->detail,
                matrix->columns, codes + (size_t)r * matrix->columns);
}

void tmac_ternary_rows(tmac_matrix *matrix, const void *data, uint32_t stride)
{
    matrix->number = TMAC_TERNARY;
    matrix->data = data;
    matrix->detail = stride;
    matrix->read_codes = read_rows;
}

// ---------------------------------------------------------------------------------------------------------- TQ2_0

static void tq2_0_block(const uint8_t *from, int8_t *codes)
{
    for (uint32_t half = 0; half < 64; half += 32)
        for (uint32_t l = 0; l < 4; l++)
            for (uint32_t m = 0; m < 32; m++)
                codes[4 * half + 32 * l + m] = (int8_t)((from[half + m] >> (2 * l) & 3) - 1);
}

static void read_tq2_0(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    uint32_t blocks = matrix->columns / TMAC_TQ2_BLOCK;
    for (uint32_t r = 0; r < count; r++) {
        size_t row = tmac_file_row(first + r, matrix->half_split_head);
        const uint8_t *from = (const uint8_t *)matrix->data + row * blocks * TMAC_TQ2_BYTES;
        for (uint32_t b = 0; b < blocks; b++, from += TMAC_TQ2_BYTES, codes += TMAC_TQ2_BLOCK)
            tq2_0_block(from, codes);
    }
}

void tmac_ternary_tq2_0(tmac_matrix *matrix, const void *data, uint32_t half_split_head)
{
    matrix->number = TMAC_TERNARY;
    matrix->data = data;
    matrix->half_split_head = half_split_head;
    matrix->read_codes = read_tq2_0;
}

// ----------------------------------------------------------------------------------------------------------- I2_S

static void i2_s_block(const uint8_t *from, int8_t *codes)
{
    for (uint32_t l = 0; l < 4; l++)
        for (uint32_t m = 0; m < 32; m++)
            codes[32 * l + m] = (int8_t)((from[m] >> (6 - 2 * l) & 3) - 1);
}

static void read_i2_s(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    const uint8_t *data = matrix->data;
    for (uint32_t r = 0; r < count; r++) {
        uint64_t element =
            (uint64_t)tmac_file_row(first + r, matrix->half_split_head) * matrix->columns;
        uint64_t end = element + matrix->columns;
        while (element < end) {
            const uint8_t *block = data + element / TMAC_I2S_BLOCK * TMAC_I2S_BYTES;
            uint32_t place = (uint32_t)(element % TMAC_I2S_BLOCK);
            if (place == 0 && end - element >= TMAC_I2S_BLOCK) {
                i2_s_block(block, codes);
                codes += TMAC_I2S_BLOCK;
                element += TMAC_I2S_BLOCK;
            } else {
                *codes++ = (int8_t)((block[place % 32] >> (6 - 2 * (place / 32)) & 3) - 1);
                element++;
            }
        }
    }
}

void tmac_ternary_i2_s(tmac_matrix *matrix, const void *data, uint32_t half_split_head)
{
    matrix->number = TMAC_TERNARY;
    matrix->data = data;
    matrix->half_split_head = half_split_head;
    matrix->read_codes = read_i2_s;
}

// ------------------------------------------------------------------------------------------------- float numbers

// The sign of a number whose magnitude is not zero, from its bits: the formats differ in width alone.
static void read_signs_32(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    for (uint32_t r = 0; r < count; r++) {
        size_t row = tmac_file_row(first + r, matrix->half_split_head);
        const uint8_t *from = (const uint8_t *)matrix->data + row * matrix->columns * 4;
        for (uint32_t c = 0; c < matrix->columns; c++) {
            uint32_t bits = tmac_load_u32(from + 4 * (size_t)c);
            *codes++ = bits << 1 == 0 ? 0 : bits >> 31 ? -1 : 1;
        }
    }
}

static void read_signs_16(const tmac_matrix *matrix, uint32_t first, uint32_t count, int8_t *codes)
{
    for (uint32_t r = 0; r < count; r++) {
        size_t row = tmac_file_row(first + r, matrix->half_split_head);
        const uint8_t *from = (const uint8_t *)matrix->data + row * matrix->columns * 2;
        for (uint32_t c = 0; c < matrix->columns; c++) {
            uint32_t bits = tmac_load_u16(from + 2 * (size_t)c);
            *codes++ = (bits & 0x7fffu) == 0 ? 0 : bits >> 15 ? -1 : 1;
        }
    }
}

void tmac_ternary_signs(tmac_matrix *matrix)
{
    matrix->read_codes = matrix->number == TMAC_F32 ? read_signs_32 : read_signs_16;
    matrix->number = TMAC_TERNARY;
    matrix->read_float = NULL;
    matrix->in_place = NULL;
}

// --------------------------------------------------------------------------------------------------------- checks

// 32 codes at a time: `high` has bit 0 of a field set where the code is 2 or 3.
static bool have(const uint8_t *codes, size_t bytes, bool three)
{
    const uint64_t low_bits = 0x5555555555555555u;
    uint64_t found = 0;
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word = tmac_load_u64(codes + i), high = word >> 1;
        found |= high & (three ? word : ~word);
    }
    for (; i < bytes; i++) {
        uint64_t word = codes[i], high = word >> 1;
        found |= high & (three ? word : ~word);
    }
    return (found & low_bits) != 0;
}

bool tmac_codes_have_2(const uint8_t *codes, size_t bytes)
{
    return have(codes, bytes, false);
}

bool tmac_codes_have_3(const uint8_t *codes, size_t bytes)
{
    return have(codes, bytes, true);
}

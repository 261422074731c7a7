// Decoders of ternary matrices, one for each way files pack them. Private to convert/.
//
// Each sets number, data, half_split_head and read_codes of a matrix whose shape is known; scales are set apart
// (convert/neutral.h). The codes have been checked: no decoder meets one that means nothing.
#ifndef TMAC_CONVERT_TERNARY_H
#define TMAC_CONVERT_TERNARY_H

#include "runtime/source.h"

// Signed 2-bit codes 00 = 0, 01 = +1, 11 = -1, the first of a byte in bits 0-1 (lsb) or 6-7 (msb).
// Flat: one stream over the whole matrix, rows need not start on a byte.
void tmac_ternary_flat(tmac_matrix *matrix, const void *data, bool msb_first);
// Rows of ceil(columns / 4) bytes, LSB first, `stride` bytes apart.
void tmac_ternary_rows(tmac_matrix *matrix, const void *data, uint32_t stride);

// GGUF's. columns a multiple of 256 (TQ2_0); rows * columns a multiple of 128 (I2_S).
enum { TMAC_TQ2_BLOCK = 256, TMAC_TQ2_BYTES = 66, TMAC_I2S_BLOCK = 128, TMAC_I2S_BYTES = 32 };
void tmac_ternary_tq2_0(tmac_matrix *matrix, const void *data, uint32_t half_split_head);
void tmac_ternary_i2_s(tmac_matrix *matrix, const void *data, uint32_t half_split_head);

// Signs of the f32, f16 or bf16 numbers of a float matrix, which becomes ternary.
void tmac_ternary_signs(tmac_matrix *matrix);

// Whether any of the 4 * bytes codes is 10, which means nothing as a signed code; or is 11, which means nothing as an
// unsigned one.
bool tmac_codes_have_2(const uint8_t *codes, size_t bytes);
bool tmac_codes_have_3(const uint8_t *codes, size_t bytes);

#endif

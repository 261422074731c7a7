// Matrices of the neutral form as GGUF tensors. Private to convert/.
#ifndef TMAC_CONVERT_GGUF_PACK_H
#define TMAC_CONVERT_GGUF_PACK_H

#include "base/file.h"
#include "runtime/source.h"

// Bytes of a tensor of a type that is written: F32, F16, BF16, Q8_0, TQ1_0, TQ2_0, I2_S.
uint64_t tmac_gguf_packed_bytes(uint32_t type, uint64_t columns, uint64_t rows);

// Writes the rows of a matrix; head: of a head to be put into half-split order, 0: as they are. unit: a ternary matrix
// without its scale.
tmac_status tmac_gguf_pack(const tmac_matrix *matrix, uint32_t type, uint32_t head, bool unit,
                           tmac_output *output);

#endif

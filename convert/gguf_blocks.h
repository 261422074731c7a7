// Block formats of GGUF tensors as matrices of the neutral form. Private to convert/.
#ifndef TMAC_CONVERT_GGUF_BLOCKS_H
#define TMAC_CONVERT_GGUF_BLOCKS_H

#include "convert/convert.h"
#include "convert/gguf.h"

// Whether a tensor of this type is decoded to floats: F32, F16, BF16, Q4_0, Q8_0, Q4_K, Q6_K.
bool tmac_gguf_is_float(uint32_t type);

// Makes a float matrix of such a tensor. Types in blocks get a read_codes for the signs too.
void tmac_gguf_float_matrix(tmac_matrix *matrix, const tmac_gguf_tensor *tensor,
                            uint32_t half_split_head);

// All numbers of such a tensor, owned by the source.
tmac_status tmac_gguf_floats(tmac_source *source, const tmac_gguf_tensor *tensor,
                             const float **values);

// Makes an integer matrix of a tensor in TQ1_0, TQ2_0, I2_S, IQ1_BN, IQ2_BN, IQ2_BN_R4, Q2_0, PQ2_0 or Q4_0: its scales
// times `scale`.
tmac_status tmac_gguf_integer_matrix(tmac_source *source, tmac_matrix *matrix,
                                     const tmac_gguf_tensor *tensor, float scale,
                                     tmac_i2s_layout layout, uint32_t half_split_head);

#endif

// What the values and tensors of a GGUF mean. Private to convert/.
#ifndef TMAC_CONVERT_GGUF_MODEL_H
#define TMAC_CONVERT_GGUF_MODEL_H

#include "convert/convert.h"
#include "convert/gguf.h"
#include "runtime/source.h"

// size 0 where there is no vocabulary. TMAC_UNSUPPORTED: it is of a kind that we do not read.
tmac_status tmac_gguf_vocabulary(const tmac_gguf *gguf, tmac_vocabulary *vocabulary);

// Makes a source matrix, whose name and shape are set, from its tensor: ternary where it is. scale: from the tensor
// "NAME.scale" beside it, 1 where there is none. half_split_head as in tmac_matrix.
tmac_status tmac_gguf_matrix(tmac_source *source, tmac_matrix *matrix,
                             const tmac_gguf_tensor *tensor, float scale, tmac_i2s_layout layout,
                             uint32_t half_split_head);

#endif

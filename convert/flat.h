// Weights that lie as one stream over a whole tensor, rows and layers one after the other. Private to convert/.
#ifndef TMAC_CONVERT_FLAT_H
#define TMAC_CONVERT_FLAT_H

#include "runtime/source.h"

typedef enum tmac_flat_kind {
    TMAC_FLAT_Q80,  // int8 codes, f32 scales apart, one for `group` codes: llama2.c v2
    TMAC_FLAT_Q4V1, // 32 weights in 18 bytes: f16 scale; weights 2i and 2i + 1 in the low and high half of byte i, less 8
    TMAC_FLAT_Q8V1, // 32 weights in 34 bytes: f16 scale, int8 codes
    TMAC_FLAT_TMAC, // four signed 2-bit codes in a byte, LSB first, no scale: 00 = 0, 01 = +1, else -1
} tmac_flat_kind;

typedef struct tmac_flat {
    tmac_flat_kind kind;
    const uint8_t *codes, *scales;
    uint32_t group;
    uint64_t first; // element of the stream at which the matrix starts
} tmac_flat;

// Makes a float matrix, ternary where its numbers are. The flat is copied.
tmac_status tmac_flat_matrix(tmac_source *source, tmac_matrix *matrix, const tmac_flat *flat);
// The same for an embedding or head, which stay floats.
tmac_status tmac_flat_table(tmac_source *source, tmac_matrix *matrix, const tmac_flat *flat);

// Bytes of a stream of `count` weights (of TMAC_FLAT_Q80 with its scales).
uint64_t tmac_flat_bytes(tmac_flat_kind kind, uint64_t count, uint32_t group);

#endif

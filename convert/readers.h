// One reader per format: what convert/open.c chooses from. Private to convert/.
//
// A reader gets a source on which tmac_source_begin was called (the file is mapped) and fills it in. When it fails, the
// caller closes the source. Messages leave the file name to the caller.
#ifndef TMAC_CONVERT_READERS_H
#define TMAC_CONVERT_READERS_H

#include "convert/convert.h"
#include "convert/vocabulary.h"
#include "runtime/source.h"

tmac_status tmac_read_llama2c(tmac_source *source);
tmac_status tmac_read_bitllama(tmac_source *source, tmac_bit_order order);
tmac_status tmac_read_gguf(tmac_source *source, tmac_i2s_layout layout);
// A folder: source->path is its name, nothing is mapped.
tmac_status tmac_read_huggingface(tmac_source *source, tmac_base3 base3);
tmac_status tmac_read_tm2(tmac_source *source);
// TM2 with the tensors of each layer together; the header has been read.
tmac_status tmac_read_tm2_bitnet(tmac_source *source);
// llama2.c v1 and v2; the header has been read.
tmac_status tmac_read_llama2c_later(tmac_source *source, uint32_t version);
// TMAC v1, Q4V1, Q8V1.
tmac_status tmac_read_edge(tmac_source *source);

// Vocabularies inside these files. `*vocabulary` is empty when there is none.
tmac_status tmac_read_gguf_vocabulary(const tmac_map *map, tmac_vocabulary *vocabulary);
tmac_status tmac_read_tm2_vocabulary(const tmac_map *map, tmac_vocabulary *vocabulary);

// Seven int32: dim, hidden, layers, heads, kv_heads, vocab (negative: the head is a matrix of its own), context. Fills
// the source's dimensions, head_dim and rope_dims in, checks them, takes the layers.
tmac_status tmac_read_llama2c_header(tmac_source *source, const uint8_t *header);

#endif

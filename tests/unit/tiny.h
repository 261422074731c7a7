// Tiny model files made byte by byte, one builder per format, all of the same model: what the readers must agree on.
#ifndef TMAC_TESTS_UNIT_TINY_H
#define TMAC_TESTS_UNIT_TINY_H

#include "convert/convert.h"

typedef struct tiny_shape {
    uint32_t dim, hidden, layers, heads, kv_heads, vocab, context;
} tiny_shape;

typedef struct tiny_file { // grows as it is written
    uint8_t *data;
    size_t bytes, room;
} tiny_file;

void tiny_put(tiny_file *file, const void *data, size_t bytes);
void tiny_put_u32(tiny_file *file, uint32_t value);
void tiny_put_f32(tiny_file *file, float value);
void tiny_put_byte(tiny_file *file, uint32_t value);
void tiny_free(tiny_file *file);

// The weights that every file holds: part counts query, key, value, output, gate, up, down. Rows are neutral.
int tiny_code(const tiny_shape *shape, uint32_t layer, uint32_t part, uint32_t row,
              uint32_t column);
float tiny_scale(uint32_t layer, uint32_t part); // exact in f16
void tiny_part_size(const tiny_shape *shape, uint32_t part, uint32_t *rows, uint32_t *columns);

tiny_file tiny_llama2c(const tiny_shape *shape, bool ternary, bool own_head);
tiny_file tiny_bitllama(const tiny_shape *shape, bool msb_first);
// type: 0 F32, 1 F16, 30 BF16, 35 TQ2_0, 36 I2_S for the matrices of the layers.
tiny_file tiny_gguf(const tiny_shape *shape, const char *architecture, uint32_t type);
tiny_file tiny_tokenizer(uint32_t pieces); // a tokenizer.bin

// Writes the file where nobody else does and opens it; the name is gone when it returns.
tmac_status tiny_open(const tiny_file *file, const tmac_open_options *options, tmac_source *source);
// A model of tmac-synth: 2 layers of 48, 300 tokens, 96 positions, and what `extras` adds to that shape.
void tiny_open_synthetic(const char *extras, tmac_source *source);
// A fresh name for a file, removed by the caller.
void tiny_path(char path[64]);
void tiny_write(const tiny_file *file, const char *path);

// Criterion assertions: both hold the same model to the last bit; norms and epsilons too where `whole`.
void tiny_assert_same(const tmac_source *a, const tmac_source *b, bool whole);

#endif

// The GGUF container: named values and named tensors. Private to convert/. What they mean is convert/gguf_model.c's.
#ifndef TMAC_CONVERT_GGUF_H
#define TMAC_CONVERT_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "base/status.h"

enum { TMAC_GGUF_DIMENSIONS = 4 };

typedef struct tmac_gguf_text {
    const char *data; // in the file: no NUL
    uint32_t bytes;
} tmac_gguf_text;

typedef enum tmac_gguf_kind {
    TMAC_GGUF_U8,
    TMAC_GGUF_I8,
    TMAC_GGUF_U16,
    TMAC_GGUF_I16,
    TMAC_GGUF_U32,
    TMAC_GGUF_I32,
    TMAC_GGUF_F32,
    TMAC_GGUF_BOOL,
    TMAC_GGUF_STRING,
    TMAC_GGUF_ARRAY,
    TMAC_GGUF_U64,
    TMAC_GGUF_I64,
    TMAC_GGUF_F64,
    TMAC_GGUF_KINDS
} tmac_gguf_kind;

typedef struct tmac_gguf_value {
    tmac_gguf_text name;
    tmac_gguf_kind kind, element; // element: of an array
    uint64_t count;               // of an array
    const uint8_t *data;          // the value, or the first element
} tmac_gguf_value;

typedef enum tmac_gguf_type { // those we read
    TMAC_GGUF_TYPE_F32 = 0,
    TMAC_GGUF_TYPE_F16 = 1,
    TMAC_GGUF_TYPE_Q4_0 = 2,
    TMAC_GGUF_TYPE_Q8_0 = 8,
    TMAC_GGUF_TYPE_Q4_K = 12,
    TMAC_GGUF_TYPE_Q6_K = 14,
    TMAC_GGUF_TYPE_BF16 = 30,
    TMAC_GGUF_TYPE_TQ1_0 = 34,
    TMAC_GGUF_TYPE_TQ2_0 = 35,
    TMAC_GGUF_TYPE_I2_S = 36,
    TMAC_GGUF_TYPE_Q2_0 = 42, // groups of 64; those of 128 are made PQ2_0 when the file is opened
    TMAC_GGUF_TYPE_IQ1_BN = 134,
    TMAC_GGUF_TYPE_IQ2_BN = 135,
    TMAC_GGUF_TYPE_PQ2_0 = 142,
    TMAC_GGUF_TYPE_IQ2_BN_R4 = 335,
} tmac_gguf_type;

// Tokens that end a text, where a model has more than the two beside eos that GGUF has names for. Ours.
#define TMAC_GGUF_STOPS "tmac.tokenizer.stop_token_ids"

typedef struct tmac_gguf_tensor {
    tmac_gguf_text name;
    uint32_t dimensions;
    uint64_t extent[TMAC_GGUF_DIMENSIONS]; // fastest first; 1 beyond `dimensions`
    uint32_t type;
    const uint8_t *data; // all its bytes are in the file
    bool used;           // for the reader: what it has made use of
} tmac_gguf_tensor;

typedef struct tmac_gguf {
    tmac_gguf_value *values; // sorted by name, no name twice
    size_t value_count;
    tmac_gguf_tensor *tensors; // the same
    size_t tensor_count;
} tmac_gguf;

// Parses and checks: every offset, length and count against the file, every tensor's type and extent.
tmac_status tmac_gguf_open(const tmac_map *map, tmac_gguf *gguf);
void tmac_gguf_close(tmac_gguf *gguf);

const tmac_gguf_value *tmac_gguf_value_find(const tmac_gguf *gguf, const char *name); // NULL: none
tmac_gguf_tensor *tmac_gguf_tensor_find(const tmac_gguf *gguf, const char *name);

// Values by name. The `fallback` stands for an absent one; required: an absent one is an error.
tmac_status tmac_gguf_integer(const tmac_gguf *gguf, const char *name, bool required,
                              int64_t fallback, int64_t *value);
tmac_status tmac_gguf_float(const tmac_gguf *gguf, const char *name, bool required, float fallback,
                            float *value);
// false where the value is absent or no string.
bool tmac_gguf_string(const tmac_gguf *gguf, const char *name, tmac_gguf_text *text);
bool tmac_gguf_text_is(tmac_gguf_text text, const char *expected);

// "f32", "tq2_0", ...: those that are written. TMAC_USAGE with the list for others.
tmac_status tmac_gguf_type_parse(const char *text, uint32_t *type);

const char *tmac_gguf_type_name(uint32_t type); // "Q4_K", "type 99"'s is "unknown"

#endif

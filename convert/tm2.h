// TM2 files: the parts that reader and writer share. Private to convert/. The format is described in convert/tm2.c.
#ifndef TMAC_CONVERT_TM2_H
#define TMAC_CONVERT_TM2_H

#include "base/file.h"
#include "base/hash.h"
#include "convert/llama_order.h"

#define TMAC_TM2_TRAILER_MAGIC "TM2+ext\n"
enum { TMAC_TM2_HEADER = 32, TMAC_TM2_TRAILER = 64, TMAC_TM2_ALIGNMENT = 64, TMAC_TM2_NAME = 40 };
enum { TMAC_TM2_ENTRY = 8, TMAC_TM2_TENSOR = 60 }; // bytes of a record before its name

typedef enum tmac_tm2_kind {
    TMAC_TM2_F32, // rows x columns
    TMAC_TM2_F16,
    TMAC_TM2_BF16,
    TMAC_TM2_TERNARY, // rows of ceil(columns / 4) bytes of signed codes, LSB first
    TMAC_TM2_SCALES,  // `rows` f32, each for `columns` weights of a row
    TMAC_TM2_BYTES,   // rows bytes; columns 1
    TMAC_TM2_U32,     // rows numbers; columns 1
    TMAC_TM2_BODY,    // a tensor of the body, with its flag and, where ternary, its shape
    TMAC_TM2_Q1, // rows of ceil(columns * b / 8) bytes: unsigned codes of b bits one after the other, from bit 0 upwards
    TMAC_TM2_Q2,
    TMAC_TM2_Q3,
    TMAC_TM2_Q4,
    TMAC_TM2_KINDS
} tmac_tm2_kind;

typedef struct tmac_tm2_tensor {
    char name[TMAC_TM2_NAME];
    tmac_tm2_kind kind;
    uint32_t rows, columns;
    uint64_t offset, bytes; // in the file
    uint8_t hash[TMAC_HASH_BYTES];
} tmac_tm2_tensor;

typedef enum tmac_tm2_value {
    TMAC_TM2_TEXT = 't',
    TMAC_TM2_FLOAT = 'f',
    TMAC_TM2_INTEGER = 'i'
} tmac_tm2_value;

typedef struct tmac_tm2_entry {
    char name[TMAC_TM2_NAME];
    tmac_tm2_value kind;
    const uint8_t *data;
    uint32_t bytes; // of the text; 4 for a float; 8 for an integer
} tmac_tm2_entry;

typedef struct tmac_tm2_index {
    tmac_tm2_entry *entries; // sorted by name, none twice
    uint32_t entry_count;
    tmac_tm2_tensor *tensors; // the same
    uint32_t tensor_count;
    uint64_t body_bytes; // where the body ends: the whole file when there is no extension
    uint32_t version;    // of the extension
    bool present;
} tmac_tm2_index;

// Finds, checks and parses the extension. A file without one is fine: present is false.
tmac_status tmac_tm2_index_open(const tmac_map *map, tmac_tm2_index *index);
void tmac_tm2_index_close(tmac_tm2_index *index);

const tmac_tm2_tensor *tmac_tm2_find(const tmac_tm2_index *index, const char *name); // NULL: none
bool tmac_tm2_has(const tmac_tm2_index *index, const char *name);                    // an entry
tmac_status tmac_tm2_text(const tmac_tm2_index *index, const char *name, char *text, size_t room);
tmac_status tmac_tm2_float(const tmac_tm2_index *index, const char *name, float *value);
tmac_status tmac_tm2_integer(const tmac_tm2_index *index, const char *name, int64_t *value);

// The vocabulary, empty where there is none. On failure the caller frees what was taken of it.
tmac_status tmac_tm2_vocabulary(const tmac_map *map, const tmac_tm2_index *index,
                                tmac_vocabulary *vocabulary);

// A matrix of kinds Q1 to Q4 whose rows lie at `data`; name and shape are set already.
void tmac_tm2_codes(tmac_matrix *matrix, tmac_tm2_kind kind, const uint8_t *data);

// One row of such a matrix, as the file has it: tmac_tm2_code_stride bytes.
void tmac_tm2_pack_codes(tmac_tm2_kind kind, const int8_t *values, uint32_t columns,
                         uint8_t *packed);

// What only some architectures have (convert/tm2_extras.c): every vector that a layer may have beyond its matrices and
// norms, and where the source keeps it.
enum { TMAC_TM2_EXTRAS = 19 };
typedef struct tmac_tm2_extra {
    char name[TMAC_TM2_NAME];
    uint32_t rows, columns; // 0: the rank, not known yet
    const float **place;
    uint32_t *rank; // NULL: no correction of low rank
} tmac_tm2_extra;
uint32_t tmac_tm2_list_extras(const tmac_source *source, uint32_t layer,
                              tmac_tm2_extra extras[TMAC_TM2_EXTRAS]);
bool tmac_tm2_needs_version_2(const tmac_source *source);
tmac_status tmac_tm2_read_extras(tmac_source *source, const tmac_tm2_index *index);
tmac_status tmac_tm2_read_head_dim(tmac_source *source, const tmac_tm2_index *index);

// Bytes of a tensor of the extension.
uint64_t tmac_tm2_tensor_bytes(tmac_tm2_kind kind, uint32_t rows, uint32_t columns);

// Bits of a code of kinds Q1 to Q4 and the bytes of a row of them.
static inline uint32_t tmac_tm2_code_bits(tmac_tm2_kind kind)
{
    return (uint32_t)kind - TMAC_TM2_Q1 + 1;
}
static inline size_t tmac_tm2_code_stride(uint32_t bits, uint32_t columns)
{
    return (size_t)(((uint64_t)columns * bits + 7) / 8);
}

// Bytes of a row of a ternary tensor of the body: an f16 scale and the codes.
static inline uint32_t tmac_tm2_stride(uint32_t columns)
{
    return 2 + (columns + 3) / 4;
}

// ---------------------------------------------------------------------------------- what a body without extension means

// The base of RoPE whose angles a table holds: from the sine of position 1 and the last pair. 0: none that we know.
float tmac_tm2_rope_base(float sine, uint32_t head_dim);

// The sine in question.
float tmac_tm2_rope_sine(float base, uint32_t head_dim);

// Whether all norms inside the layers are 1/dim: the mark of a bitllama2.c model.
bool tmac_tm2_is_bitllama(const tmac_source *source);

#endif

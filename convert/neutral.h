// What the readers of convert/ share: building a tmac_source. Private to convert/.
//
// Everything a reader allocates hangs on source->owned and lives until tmac_source_close. A reader that fails closes
// the source; the pieces it took go with it.
#ifndef TMAC_CONVERT_NEUTRAL_H
#define TMAC_CONVERT_NEUTRAL_H

#include "runtime/source.h"

// Prepares an empty source for `path`: takes over the map, installs close. rope_theta 10000, epsilons 1e-5, SiLU,
// "llama": the conventions of llama2.c, which most formats leave unsaid.
void tmac_source_begin(tmac_source *source, const char *path, const char *format, tmac_map *map);

// Zeroed memory, 64-byte aligned, freed by tmac_source_close. NULL when there is none left.
void *tmac_source_take(tmac_source *source, size_t bytes);

// Gives the file's pages back to the operating system, which brings them in again when they are read: who works through
// a file larger than memory calls it between matrices.
void tmac_source_drop(const tmac_source *source);

// Takes source->layers once the dimensions have been checked.
tmac_status tmac_source_take_layers(tmac_source *source);

// ------------------------------------------------------------------------------------------------------- matrices

// The seven matrices of a layer, in the order of a forward pass.
typedef enum tmac_part_of_layer {
    TMAC_LAYER_QUERY,
    TMAC_LAYER_KEY,
    TMAC_LAYER_VALUE,
    TMAC_LAYER_OUTPUT,
    TMAC_LAYER_GATE,
    TMAC_LAYER_UP,
    TMAC_LAYER_DOWN,
    TMAC_LAYER_MATRICES
} tmac_part_of_layer;

const char *tmac_layer_part_name(tmac_part_of_layer part); // "attn_q", ...
tmac_matrix *tmac_layer_part(const tmac_source *source, uint32_t layer, tmac_part_of_layer part);

// Gives the matrix its shape and its name: "blk.LAYER.PART".
tmac_status tmac_layer_part_shape(tmac_source *source, uint32_t layer, tmac_part_of_layer part);
void tmac_layer_part_size(const tmac_source *source, tmac_part_of_layer part, uint32_t *rows,
                          uint32_t *columns);

// A float matrix at `data`: rows x columns numbers, any alignment. in_place is set where the data can be used as it
// lies. half_split_head as in tmac_matrix.
void tmac_matrix_float(tmac_matrix *matrix, tmac_number number, const void *data,
                       uint32_t half_split_head);

// Turns a float matrix at `data` into a ternary one: codes round(w / m) held to -1..1, m = mean |w|, at least 1e-5.
tmac_status tmac_matrix_ternarize(tmac_source *source, tmac_matrix *matrix);

// Copies a float matrix that cannot be used in place into owned f32 memory, where it can.
tmac_status tmac_matrix_settle(tmac_source *source, tmac_matrix *matrix);

// Turns a float matrix that holds only {-s, 0, +s} into a ternary one (convert/ternary.h); leaves others as they are.
tmac_status tmac_matrix_recognise(tmac_source *source, tmac_matrix *matrix);

// One scale for the tensor.
tmac_status tmac_matrix_tensor_scale(tmac_source *source, tmac_matrix *matrix, float scale);

// Group scales (rows x ceil(columns / group), neutral row order) to the coarsest form that says the same: tensor, row
// or group. NaN marks a group of zeros, which takes any scale.
tmac_status tmac_matrix_group_scales(tmac_source *source, tmac_matrix *matrix, const float *scales,
                                     uint32_t group);

// -------------------------------------------------------------------------------------------------------- vectors

// An owned f32 copy of `count` numbers at `data`.
tmac_status tmac_source_vector(tmac_source *source, tmac_number number, const void *data,
                               uint32_t count, const float **vector);
// An owned vector of one value.
tmac_status tmac_source_constant(tmac_source *source, float value, uint32_t count,
                                 const float **vector);

// An owned copy in neutral order of a vector in half-split order, `head` numbers a head.
tmac_status tmac_source_permute(tmac_source *source, const float *values, uint32_t count,
                                uint32_t head, const float **vector);

// The neutral row that a half-split file has at `row`: the inverse of tmac_file_row.
static inline uint32_t tmac_neutral_row(uint32_t row, uint32_t head)
{
    if (head == 0) return row;
    uint32_t in_head = row % head;
    return row - in_head + in_head % (head / 2) * 2 + in_head / (head / 2);
}

// The marks of a bitllama2.c model, whose norms inside the layers divide by the vector's length and have no weights:
// every weight is the f32 nearest 1/count.
bool tmac_vector_is_reciprocal(const float *vector, uint32_t count);

// Bytes of one number in memory: 4 or 2.
static inline size_t tmac_number_bytes(tmac_number number)
{
    return number == TMAC_F32 ? 4 : 2;
}

tmac_status tmac_no_memory(void);

#endif

// The inside of a model: packed matrices, workspace, KV cache. Shared by model.c, session.c, linear.c and decode.c.
#ifndef TMAC_RUNTIME_MODEL_PRIVATE_H
#define TMAC_RUNTIME_MODEL_PRIVATE_H

#include "base/memory.h"
#include "runtime/floats.h"
#include "runtime/kernel.h"
#include "runtime/tmac.h"

// What a plan entry comes to once its names are looked up. Shared by all layers with this input set.
typedef struct tmac_resolved {
    tmac_input_set set;
    const tmac_layout *layout;
    const tmac_kernel *kernel[TMAC_BUCKETS];
} tmac_resolved;

// One matrix, ready to multiply.
typedef struct tmac_linear {
    uint32_t rows, columns;
    // Integer weights:
    const uint8_t *tiles; // whole tiles of the resolved layout
    uint32_t tile_count;
    const float *scales;
    uint32_t scales_per_row; // 0: one for the tensor; else the number of scale groups of a row
    // Float:
    tmac_number number;
    const void *weights; // rows x columns
} tmac_linear;

// Matrices that share one input and are multiplied in one phase.
typedef struct tmac_linear_set {
    uint32_t matrices;
    tmac_linear linear[TMAC_SET_MATRICES];
    const tmac_resolved *resolved; // NULL: float matrices
    uint32_t columns, group;
    uint32_t tile_count; // of all matrices; rows of all matrices for float ones
} tmac_linear_set;

// All matrices that read one vector of the transformer. Nearly always one set; a file that mixes number formats among
// q, k and v gets a set for each.
typedef struct tmac_step {
    uint32_t sets;
    tmac_linear_set set[TMAC_SET_MATRICES];
    bool wants_floats, wants_ternary; // of its input; the latter: integers for integer weights
} tmac_step;

typedef struct tmac_layer {
    const float *attention_norm, *attention_sub_norm, *ffn_norm, *ffn_sub_norm;
    tmac_step attention_in, attention_out, ffn_in, ffn_out; // (q,k,v), (o), (gate,up), (down)
} tmac_layer;

enum { TMAC_FLOAT_ROWS = 64 }; // rows of a float matrix that are multiplied together

// What one worker needs for itself; sized for the largest input set.
typedef struct tmac_scratch {
    float *values; // [widest vector]
    int8_t *codes; // [widest vector]
    int32_t *sums; // [sums_room]
    float *rows;   // [sums_room]
    float *scores; // [4 x context, rounded up to 16]
} tmac_scratch;

struct tmac_model {
    const tmac_source *source;
    tmac_pool *pool;
    const tmac_floats *floats;
    tmac_plan plan;
    tmac_resolved resolved[TMAC_PLAN_ENTRIES];
    uint32_t resolved_count;
    tmac_layer *layers;
    tmac_step head; // one float set
    tmac_arena weights, workspace;
    float *turns; // [context][rope_dims / 2] pairs of cosine, sine

    uint32_t batch_capacity, widest;
    size_t sums_room;
    // [batch_capacity] rows each:
    float *x;      // dim
    float *normed; // widest: the float input of a step
    float *query, *key, *value, *attended, *gate, *up;
    uint8_t *prepared; // prepared_room each
    float *activation_scale;
    float *logits; // vocab
    size_t prepared_room;
    tmac_scratch *scratch; // one per worker

    tmac_profile profile;
};

struct tmac_session {
    tmac_model *model;
    tmac_kv kv;
    uint32_t capacity, length, pending; // pending: items of the batch being checked
    tmac_pages cache;
    size_t key_bytes, value_bytes; // of one KV head of one layer
    uint8_t *keys, *values;        // [layer][kv_head]
};

// linear.c ---------------------------------------------------------------------------------------------------------

// Splits matrices with one input into sets of one format and group, and counts what each entry of the plan covers.
uint32_t tmac_partition(const tmac_matrix *const *matrices, uint32_t count,
                        uint32_t first_of_set[TMAC_SET_MATRICES + 1]);

// The input set of matrices [0, count), all of one format.
tmac_input_set tmac_input_set_of(const tmac_matrix *const *matrices, uint32_t count,
                                 tmac_residency residency);

// Where the outputs of a step go: token n's rows of matrix i at y[i] + n * stride[i]; added to what is there when
// `residual`.
typedef struct tmac_outputs {
    float *y[TMAC_SET_MATRICES];
    size_t stride[TMAC_SET_MATRICES];
    bool residual;
} tmac_outputs;

// Multiplies the prepared (or float) input of `tokens` tokens by all matrices of the step.
void tmac_step_multiply(tmac_model *model, const tmac_step *step, uint32_t tokens,
                        const tmac_outputs *outputs);

// Worker `worker`'s part of turning the float vector of token `token`, one of `tokens`, into what the step's kernels
// read.
void tmac_step_prepare(tmac_model *model, const tmac_step *step, uint32_t tokens, uint32_t token,
                       const float *values, uint32_t worker, uint32_t part, uint32_t parts);

// The kernel a set uses for this many tokens.
const tmac_kernel *tmac_set_kernel(const tmac_linear_set *set, uint32_t tokens);

// pack.c -----------------------------------------------------------------------------------------------------------

// Packs every matrix of the model into model->weights, in the order a token reads them, on all workers.
tmac_status tmac_model_pack(tmac_model *model, tmac_residency residency);

tmac_residency tmac_source_residency(const tmac_source *source);

#endif

// The inside of a model: packed matrices, workspace, KV cache. Shared by model.c, session.c, linear.c and decode.c.
#ifndef TMAC_RUNTIME_MODEL_PRIVATE_H
#define TMAC_RUNTIME_MODEL_PRIVATE_H

#include <stdatomic.h>

#include "base/memory.h"
#include "runtime/floats.h"
#include "runtime/head.h"
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
} tmac_linear_set;

// All matrices that read one vector of the transformer. Nearly always one set; a file that mixes number formats among
// q, k and v gets a set for each.
typedef struct tmac_step {
    uint32_t sets;
    tmac_linear_set set[TMAC_SET_MATRICES];
    bool wants_floats, wants_ternary; // of its input; the latter: integers for integer weights
    // Of (gate, up), in one set: a worker multiplies the same rows of both, and the output is act(gate) * up.
    bool gated;
} tmac_step;

typedef struct tmac_layer {
    const float *attention_norm, *attention_sub_norm, *ffn_norm, *ffn_sub_norm;
    tmac_step attention_in, attention_out, ffn_in, ffn_out; // (q,k,v), (o), (gate,up), (down)
} tmac_layer;

enum {
    TMAC_ATTENTION_ROWS = 16, // query rows that share a load of keys, where a token has fewer heads
    TMAC_FLOAT_ROWS = 64,     // rows of a float matrix that are multiplied together
};

enum {
    TMAC_SCREEN_TOKENS = 8, // vectors screened together
    TMAC_SCREEN_TOP = 256,  // candidates asked for; who needs more gets the whole head
};

// The last step: vocab logits from a vector.
typedef struct tmac_head {
    tmac_head_kind kind;
    tmac_isa_set isa;   // that may be used
    tmac_linear stored; // of kinds stored and screened
    // Integer kinds and screened:
    tmac_head_shape shape;
    const tmac_head_kernels *kernels;
    uint8_t *tiles;
    // The vectors being multiplied, batch_capacity of them, or two for each screened one:
    int8_t *codes;        // [vectors][padded columns]
    int32_t *corrections; // [vectors][groups]
    float *scales;        // [vectors]
    // Screened:
    float largest_norm;       // of all rows
    uint32_t *survivors;      // [rows]
    uint32_t *survivor_count; // [workers]
    double *best;             // [workers][TMAC_SCREEN_TOKENS][TMAC_SCREEN_TOP]
    float *rows;              // [workers][2 * TMAC_SCREEN_TOKENS][TMAC_FLOAT_ROWS]
    tmac_arena memory;
    tmac_arena copy; // the tiles, where tmac_model_screen_with made them
} tmac_head;

// What one worker needs for itself; sized for the largest input set.
typedef struct tmac_scratch {
    float *values; // [widest vector]
    int8_t *codes; // [widest vector]
    int32_t *sums; // [sums_room]
    float *rows;   // [sums_room]
    // Of a run of tokens and one KV head (attention.c), at most tmac_attention_rows:
    float *query, *attended; // [rows][head_dim]
    float *scores;           // [rows][context, rounded up to 16]
    float *inverse;          // [rows]
    uint8_t *prepared;       // a single token's, one area per set of a step
    float activation_scale;  // of it
} tmac_scratch;

struct tmac_model {
    const tmac_source *source;
    tmac_pool *pool;
    const tmac_floats *floats;
    tmac_plan plan;
    tmac_resolved resolved[TMAC_PLAN_ENTRIES];
    uint32_t resolved_count;
    tmac_layer *layers;
    tmac_head head;
    tmac_arena weights, workspace;
    float *turns; // [context][rope_dims / 2] pairs of cosine, sine, made up to turns_made positions
    uint32_t turns_made;
    struct tmac_cache *cache; // runtime/cache.h; NULL: none

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
    atomic_uint next_unit; // of attention, when workers take units as they come
    // A token's attention, cut by blocks of positions: see attention.c.
    float *split_scores;   // [heads][positions, rounded up to 16]
    float *split_partials; // [kv_heads][blocks][heads of one][head_dim]
    float *split_maxima;   // [workers][heads]
    float *low_rank;       // [batch_capacity][widest rank]: runtime/extras.c; NULL: no corrections

    tmac_profile profile;
};

struct tmac_session {
    tmac_model *model;
    tmac_kv kv;
    uint32_t capacity, length, pending; // pending: items of the batch being checked
    tmac_pages cache;
    size_t head_bytes;      // of the keys, or the values, of one KV head of one layer
    uint8_t *keys, *values; // [layer][kv_head]
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

// The input of a step in the forms in which its matrices read it.
typedef struct tmac_step_input {
    uint32_t tokens;
    const float *values; // [tokens]
    size_t stride;
    uint8_t *prepared;             // [sets][tokens]
    size_t set_stride;             // of prepared; a token's is prepared_room
    const float *activation_scale; // [tokens]
} tmac_step_input;

// Worker `worker`'s share of multiplying the input by all matrices of the step. Called inside a phase.
void tmac_step_multiply(const tmac_model *model, const tmac_step *step,
                        const tmac_step_input *input, const tmac_outputs *outputs, uint32_t worker);

// Part `part` of `parts` of turning the float vector of token `token` into what the step's kernels read: writes to
// input->prepared. codes: scratch for the integers. Returns the activations' scale.
float tmac_step_prepare(const tmac_model *model, const tmac_step *step,
                        const tmac_step_input *input, uint32_t token, const float *values,
                        int8_t *codes, uint32_t part, uint32_t parts);

// The kernel a set uses for this many tokens.
const tmac_kernel *tmac_set_kernel(const tmac_linear_set *set, uint32_t tokens);

// attention.c ------------------------------------------------------------------------------------------------------

// Called inside a phase by all workers: model->query, key and value of the batch to model->attended. Ends with a barrier.
void tmac_attend(tmac_model *model, uint32_t layer, const tmac_batch_item *items, uint32_t tokens,
                 uint32_t worker, uint32_t workers);

// Tokens of one session that are attended to together, at most.
uint32_t tmac_attention_run_tokens(const tmac_source *source);

// Bytes of the keys, or of the values, of one KV head of one layer; positions a multiple of 16.
size_t tmac_kv_head_bytes(tmac_kv kv, size_t positions, size_t head_dim);

// model.c ----------------------------------------------------------------------------------------------------------

// Fills the table of rotations up to `positions` at least.
void tmac_model_make_turns(tmac_model *model, uint32_t positions);
// head.c, head_screen.c --------------------------------------------------------------------------------------------

// Whether this kind reads the head as it is stored.
static inline bool tmac_head_keeps_stored(tmac_head_kind kind)
{
    return kind == TMAC_HEAD_STORED || kind == TMAC_HEAD_SCREENED;
}

// For the integer head that model->head.kind asks for; all three do nothing for the stored one. Before packing: its
// shape. While packing: one tile from the rows of the stored head; rows: room for 16; false when a weight is not finite.
// After packing: what multiplying with it needs.
tmac_status tmac_head_plan(tmac_model *model, tmac_isa_set isa, uint32_t screen_bits);
bool tmac_head_pack(const tmac_head *head, const tmac_matrix *matrix, uint32_t tile, float *rows,
                    uint8_t *to);
tmac_status tmac_head_make_workspace(tmac_model *model);
void tmac_head_free(tmac_head *head);

// What rounding did to a row of a screened head.
static inline const tmac_head_loss *tmac_head_loss_of(const tmac_head *head, uint32_t row)
{
    uint8_t *tile = head->tiles + row / TMAC_HEAD_ROWS * head->shape.tile_bytes;
    return &tmac_head_losses(&head->shape, tile)[row % TMAC_HEAD_ROWS];
}

// Logits of the vectors [0, tokens) of model->normed; `top` as in tmac_decode_top.
void tmac_head_run(tmac_model *model, uint32_t tokens, uint32_t top);

// Parts of it: the stored head for vectors [first, first + tokens), all rows on the pool or some rows on the caller; the
// int8 codes of one vector; the screened head.
void tmac_head_stored(const tmac_model *model, uint32_t first, uint32_t tokens);
void tmac_head_stored_rows(const tmac_model *model, uint32_t row_begin, uint32_t row_end,
                           uint32_t first, uint32_t tokens);
void tmac_head_prepare(const tmac_model *model, const float *values, uint32_t vector);
void tmac_head_screen(tmac_model *model, uint32_t tokens, uint32_t top);
// The width of the copy that screens a head of so many columns, where nobody has measured.
uint32_t tmac_screen_rule(uint32_t columns);

// pack.c -----------------------------------------------------------------------------------------------------------

// Packs every matrix of the model into model->weights, in the order a token reads them, on all workers.
// With a cache folder: takes from it what it has, and adds what it has not.
tmac_status tmac_model_pack(tmac_model *model, tmac_residency residency,
                            const tmac_model_options *options);

tmac_residency tmac_source_residency(const tmac_source *source);

#endif

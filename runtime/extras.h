// What only some architectures compute: biases of the query, key and value projections (qwen2), norms of every query and
// key head (qwen3), corrections of low rank beside a projection (LRC), scaled RoPE frequencies.
//
// decode.c calls one function after each step of a layer. Where a model has none of it they return at once. All of it
// is float arithmetic of runtime/floats.h, row by row, so that the bits do not depend on how the work is dealt out.
#ifndef TMAC_RUNTIME_EXTRAS_H
#define TMAC_RUNTIME_EXTRAS_H

#include "runtime/model_private.h"

// After tmac_source_check's own tests: ranks bounded, numbers finite, layers alike in what they have.
tmac_status tmac_source_check_extras(const tmac_source *source);

// Whether a model has any of this (beyond plain llama and bitnet).
bool tmac_source_has_extras(const tmac_source *source);

// Scales *frequency, that of pair `pair`, and returns what its cosine and sine are multiplied by.
double tmac_rope_scaling(const tmac_source *source, uint32_t pair, double *frequency);

// Whether something is added to a layer's gate or up projection before the activation.
bool tmac_extras_correct_ffn_in(const tmac_source_layer *layer);

// The workspace of the corrections. model->batch_capacity and model->source are set.
tmac_status tmac_extras_make(tmac_model *model);

// After the projections of layer `layer`, called inside a phase by all workers. input: what the projections read. Where
// there was something to do they end with a barrier.
void tmac_extras_attention_in(const tmac_model *model, uint32_t layer, const tmac_step_input *input,
                              uint32_t worker);
void tmac_extras_attention_out(const tmac_model *model, uint32_t layer,
                               const tmac_step_input *input, uint32_t worker);
void tmac_extras_ffn_in(const tmac_model *model, uint32_t layer, const tmac_step_input *input,
                        uint32_t worker);
void tmac_extras_ffn_out(const tmac_model *model, uint32_t layer, const tmac_step_input *input,
                         uint32_t worker);

#endif

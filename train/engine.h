// One step of training, and one pass of validation, on a pool of threads.
//
// The rows of a batch are dealt to shards, row i to shard i mod shards; a shard works through its rows in chunks on one
// thread and gathers its own gradient; gradients are added in the order of the shards. Which thread runs a shard does not
// matter, so that the number of threads does not. Everything random follows from the seed and the number of the step.
#ifndef TMAC_TRAIN_ENGINE_H
#define TMAC_TRAIN_ENGINE_H

#include "base/pool.h"
#include "train/corpus.h"
#include "train/state.h"

typedef struct tmac_engine tmac_engine;

// recipe, pool and state outlive the engine. teacher: NULL, or a network whose weights are set, which outlives it too.
tmac_status tmac_engine_new(const tmac_recipe *recipe, tmac_isa_set isa, tmac_pool *pool,
                            tmac_train_state *state, const tmac_network *teacher,
                            tmac_engine **engine);
void tmac_engine_free(tmac_engine *engine); // NULL is harmless

// The network whose parameters are being trained; its weights are those of state->weights after tmac_engine_settle.
tmac_network *tmac_engine_network(tmac_engine *engine);
void tmac_engine_settle(tmac_engine *engine);

// Runs step state->step and counts it. *loss: nats a token, before the update. Fails, with nothing updated, where the loss
// or its gradient is not finite.
tmac_status tmac_engine_step(tmac_engine *engine, const tmac_corpus *corpus, double *loss);

// The learning rate of a step (its factor of weight decay in *decay_factor).
double tmac_engine_rate(const tmac_recipe *recipe, uint64_t step, double *decay_factor);

// The sum of the negative log-likelihoods of all rows of a corpus, in nats; their tokens in *tokens.
tmac_status tmac_engine_validate(tmac_engine *engine, const tmac_corpus *corpus, double *nats,
                                 uint64_t *tokens);

#endif

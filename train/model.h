// Between training and model files: parameters to start with, and the model that they are.
#ifndef TMAC_TRAIN_MODEL_H
#define TMAC_TRAIN_MODEL_H

#include "convert/convert.h"
#include "train/network.h"

// The shape of a model file, its weights as the file has them: ternary only if all matrices of its layers are.
tmac_train_shape tmac_train_shape_of(const tmac_source *source);

// Random parameters, the same from a seed on every machine.
void tmac_parameters_random(const tmac_network *network, uint64_t seed, float *parameters);

// Parameters of a model file whose dimensions are those of the network. A ternary matrix that stays ternary comes back as
// it was (one scale a tensor; the latent weights are its codes, scaled so that their mean magnitude is that scale);
// anything else is taken by value.
tmac_status tmac_parameters_read(const tmac_network *network, const tmac_source *source,
                                 float *parameters);

// Writes the weights that the network's forward pass reads: the model, as TM2. Atomic.
tmac_status tmac_network_write(const tmac_network *network, const tmac_vocabulary *vocabulary,
                               const char *path);

#endif

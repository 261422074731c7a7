// The gradient of a small network, computed in double: what the float build is compared with.
#ifndef TMAC_TESTS_UNIT_TRAIN_GRADIENT_H
#define TMAC_TESTS_UNIT_TRAIN_GRADIENT_H

#include <stdint.h>

// Dimensions as in tmac_train_shape, which has the same layout in both builds.
struct tmac_train_shape;

typedef struct gradient_text {
    const uint32_t *inputs, *targets, *starts;
    uint32_t tokens, documents;
} gradient_text;

// parameters, gradient: as many as the network has. Returns the loss.
double gradient_in_double(const struct tmac_train_shape *shape, const gradient_text *text,
                          const double *parameters, double *gradient);

#endif

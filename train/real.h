// The number that training computes in: float, and double where a test compares gradients with central differences. The
// files that are written in `real` are compiled for the library once, in float; the test includes them again in double,
// under names of their own.
#ifndef TMAC_TRAIN_REAL_H
#define TMAC_TRAIN_REAL_H

#include <math.h>

#ifdef TMAC_TRAIN_DOUBLE
typedef double real;
#define tmac_multiply tmac_multiply_double

#define tmac_network_plan       tmac_network_plan_double
#define tmac_network_new        tmac_network_new_double
#define tmac_network_free       tmac_network_free_double
#define tmac_network_set        tmac_network_set_double
#define tmac_network_forward    tmac_network_forward_double
#define tmac_network_loss       tmac_network_loss_double
#define tmac_network_backward   tmac_network_backward_double
#define tmac_workspace_new      tmac_workspace_new_double
#define tmac_workspace_free     tmac_workspace_free_double
#define tmac_attention_forward  tmac_attention_forward_double
#define tmac_attention_backward tmac_attention_backward_double
#else
typedef float real;
#endif

static inline real tmac_square_root(real x)
{
#ifdef TMAC_TRAIN_DOUBLE
    return sqrt(x);
#else
    return sqrtf(x);
#endif
}

#endif

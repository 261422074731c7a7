// What a model made of a text before its head turned it into logits (runtime/tmac.h).
#include "runtime/model_private.h"

const float *tmac_model_hidden(const tmac_model *model, uint32_t row, uint32_t *dim)
{
    *dim = model->source->dim;
    return model->normed + (size_t)row * model->widest;
}

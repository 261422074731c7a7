// The part of a synthetic model that only some architectures have. Private to convert/.
#ifndef TMAC_CONVERT_SYNTH_EXTRAS_H
#define TMAC_CONVERT_SYNTH_EXTRAS_H

#include "convert/convert.h"

// Biases, norms of heads and corrections of a layer whose matrices have their shapes, from a generator of its own.
tmac_status tmac_synth_extras_make(tmac_source *source, uint32_t layer,
                                   const tmac_synth_extras *extras, uint64_t seed);

// RoPE as if the model had been trained on a quarter of its context.
tmac_status tmac_synth_rope(tmac_source *source, const tmac_synth_extras *extras);

#endif

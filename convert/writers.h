// One writer per format, called with a source that has been checked. Private to convert/.
#ifndef TMAC_CONVERT_WRITERS_H
#define TMAC_CONVERT_WRITERS_H

#include "convert/convert.h"

// A folder with config.json, generation_config.json and model.safetensors: ternary projections packed four rows to a byte
// with one weight_scale each, everything else in bf16 where that is exact, else f32. The folder is made; what is in the
// way of its files is replaced when they are complete.
tmac_status tmac_huggingface_write(const tmac_source *source, const char *folder);

#endif

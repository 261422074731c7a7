// What a TM2 body without extension can say. Private to convert/.
#ifndef TMAC_CONVERT_TM2_WRITE_H
#define TMAC_CONVERT_TM2_WRITE_H

#include "runtime/source.h"

// TMAC_UNSUPPORTED with the reason where a strict file would not be read back as the same model, up to the rounding of
// its scales to f16 (and, of bitllama2.c models from GGUF, the epsilon of the last norm: 1e-12 becomes 1e-5, which
// matters only to a vector whose mean square is not far above it).
tmac_status tmac_tm2_check_strict(const tmac_source *source);

#endif

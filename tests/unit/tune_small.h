// A model that is tuned in seconds.
#ifndef TMAC_TESTS_UNIT_TUNE_SMALL_H
#define TMAC_TESTS_UNIT_TUNE_SMALL_H

#include "tune/tune.h"

// The gate cuts sets to 66 rows: what happens at 192 rows happens while measuring.
static const tmac_work small = {.model = "small",
                                .count = 2,
                                .sets = {{'t', 192, 192, 3, {192, 64, 64}, TMAC_RESIDENT},
                                         {'t', 320, 320, 1, {192}, TMAC_STREAMED}},
                                .calls = {3, 3}};

#endif

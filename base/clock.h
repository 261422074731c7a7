// Monotonic time in integer nanoseconds.
#ifndef TMAC_BASE_CLOCK_H
#define TMAC_BASE_CLOCK_H

#include <stdint.h>

uint64_t tmac_now_ns(void);

#endif

// Private to tune/: how busy the host is.
#ifndef TMAC_TUNE_CONTEXT_H
#define TMAC_TUNE_CONTEXT_H

#include <stdint.h>

// Processor time since boot, in the kernel's ticks.
typedef struct tmac_ticks {
    uint64_t total, stolen;
} tmac_ticks;

// Zero where /proc does not say.
uint32_t tmac_load_hundredths(void); // load average over the last minute, times 100
tmac_ticks tmac_read_ticks(void);
uint64_t tmac_unix_ns(void);

#endif

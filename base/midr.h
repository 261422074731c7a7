// Arm's main identification register: who made a processor and which design it is. Private to base/.
#ifndef TMAC_BASE_MIDR_H
#define TMAC_BASE_MIDR_H

#include <stddef.h>
#include <stdint.h>

typedef struct tmac_midr {
    const char *implementer; // "Arm", "Apple", ...; "" where unknown
    const char *design;      // "Cortex-A76"; "" where unknown
    uint32_t part, variant, revision;
} tmac_midr;

// Takes a register value apart. The strings are constants.
tmac_midr tmac_midr_decode(uint64_t midr);

// This processor's; 0 on other architectures and where the kernel does not show it. (Processors of one machine may
// differ: it is that of the processor which happens to run this.)
uint64_t tmac_midr_read(void);

#endif

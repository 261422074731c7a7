// Instruction sets, as the project counts them: a name, the features it needs, and the sets it contains.
//
// A kernel is compiled for exactly one instruction set. A host executes a set of them: tmac_host_probe() finds it by
// CPUID and XCR0 (on Arm: by the auxiliary vector) and then proves each by running it in a child process, because
// hypervisors advertise what they trap.
#ifndef TMAC_BASE_ISA_H
#define TMAC_BASE_ISA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef enum tmac_isa {
    TMAC_ISA_SCALAR,     // plain C, compiled for the baseline of the architecture
    TMAC_ISA_SSSE3,      // SSE3 SSSE3
    TMAC_ISA_SSE41,      // all of SSSE3's, and SSE4.1
    TMAC_ISA_AVX2,       // AVX2 FMA F16C BMI2 SSE4.2 POPCNT, and all of SSE41's
    TMAC_ISA_AVXVNNI,    // all of AVX2's, and AVX-VNNI: not contained in any AVX-512 set
    TMAC_ISA_AVX512BW,   // all of AVX2's, and AVX512 F BW DQ VL
    TMAC_ISA_AVX512VNNI, // all of AVX512BW's, and AVX512_VNNI
    TMAC_ISA_AVX512VBMI, // all of AVX512VNNI's, and AVX512_VBMI
    TMAC_ISA_AVX512GFNI, // all of AVX512VBMI's, and GFNI
    TMAC_ISA_AMX,        // all of AVX512GFNI's, and AMX-TILE AMX-INT8
    TMAC_ISA_NEON,       // Arm: Advanced SIMD, the baseline of Armv8.0
    TMAC_ISA_DOTPROD,    // NEON, and the dot products of Armv8.2
    TMAC_ISA_I8MM,       // all of DOTPROD's, and the 8-bit matrix products of Armv8.6
    TMAC_ISA_COUNT
} tmac_isa;

typedef uint32_t tmac_isa_set; // bit (1u << isa)

// "scalar", "ssse3", ...: the names above in lower case.
const char *tmac_isa_name(tmac_isa isa);

// Finds an instruction set by name. TMAC_USAGE with the list of names when there is none such.
tmac_status tmac_isa_parse(const char *name, tmac_isa *isa);

// Every set whose features are contained in those of `isa`, itself included: what `--isa` leaves usable.
tmac_isa_set tmac_isa_contained(tmac_isa isa);

// What this host executes, verified: each set is named by CPUID, its registers are enabled in XCR0 (on Arm the kernel
// names it in the auxiliary vector, which says both), and a child process has executed its instructions and got the
// right answers. The first call probes (a few milliseconds, forks); later ones return the cached result. Where AMX is
// usable, this process then has the permission for its tile registers, which threads started later inherit.
// Thread-safe. Call it before threads start. SCALAR is always in the set.
tmac_isa_set tmac_isa_verified(void);

// The widest member of a set, in the order of the enumeration.
tmac_isa tmac_isa_best(tmac_isa_set set);

static inline bool tmac_isa_has(tmac_isa_set set, tmac_isa isa)
{
    return (set >> isa) & 1u;
}

#endif

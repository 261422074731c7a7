// CPUID leaves, through libcpuid. Private to base/.
//
// libcpuid executes the instruction; the bits are decoded by hand, because its feature constants lag behind (no GFNI,
// AVX-VNNI or AMX in Debian 12's). On other architectures every leaf is zero.
#ifndef TMAC_BASE_CPUID_H
#define TMAC_BASE_CPUID_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(__i386__)
#include <libcpuid/libcpuid.h>
#endif

#include "base/isa.h"

typedef struct tmac_cpuid_leaf {
    uint32_t eax, ebx, ecx, edx;
} tmac_cpuid_leaf;

// A leaf without asking whether it exists: for leaf 0, 0x80000000 and 0x40000000, which say what does.
static inline tmac_cpuid_leaf tmac_cpuid_raw(uint32_t leaf, uint32_t subleaf)
{
    tmac_cpuid_leaf result = {0, 0, 0, 0};
#if defined(__x86_64__) || defined(__i386__)
    uint32_t registers[4] = {leaf, 0, subleaf, 0};
    cpu_exec_cpuid_ext(registers);
    result = (tmac_cpuid_leaf){registers[0], registers[1], registers[2], registers[3]};
#else
    (void)leaf, (void)subleaf;
#endif
    return result;
}

// Where leaves come from: tmac_cpuid_raw, or a table in a test.
typedef tmac_cpuid_leaf (*tmac_cpuid_reader)(uint32_t leaf, uint32_t subleaf);

// A basic (0..) or extended (0x80000000..) leaf; zeros when the processor does not have it. (Intel answers an unknown
// basic leaf with the contents of the last one, which must not be taken for features.)
static inline tmac_cpuid_leaf tmac_cpuid_from(tmac_cpuid_reader read, uint32_t leaf,
                                              uint32_t subleaf)
{
    uint32_t last = read(leaf & 0x80000000u, 0).eax;
    if ((leaf & 0x80000000u) != (last & 0x80000000u) || leaf > last)
        return (tmac_cpuid_leaf){0, 0, 0, 0};
    return read(leaf, subleaf);
}

static inline tmac_cpuid_leaf tmac_cpuid(uint32_t leaf, uint32_t subleaf)
{
    return tmac_cpuid_from(tmac_cpuid_raw, leaf, subleaf);
}

// The x86 instruction sets that these leaves name and for which XCR0 has the registers, SCALAR among them. XCR0 is read
// only where the system has enabled that (elsewhere the instruction faults).
tmac_isa_set tmac_isa_advertised(tmac_cpuid_reader read, uint32_t (*read_xcr0)(void));

#endif

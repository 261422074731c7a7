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

// A basic (0..) or extended (0x80000000..) leaf; zeros when the processor does not have it. (Intel answers an unknown
// basic leaf with the contents of the last one, which must not be taken for features.)
static inline tmac_cpuid_leaf tmac_cpuid(uint32_t leaf, uint32_t subleaf)
{
    uint32_t last = tmac_cpuid_raw(leaf & 0x80000000u, 0).eax;
    if ((leaf & 0x80000000u) != (last & 0x80000000u) || leaf > last)
        return (tmac_cpuid_leaf){0, 0, 0, 0};
    return tmac_cpuid_raw(leaf, subleaf);
}

#endif

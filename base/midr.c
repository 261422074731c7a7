// MIDR_EL1, from the Arm architecture reference manual: revision in bits 0-3, part in 4-15, variant in 20-23,
// implementer in 24-31. Linux emulates its reading for programs where it sets HWCAP_CPUID. Names are for people and
// decide nothing; the table holds the common ones.
#include "base/midr.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

static const struct {
    uint8_t code;
    const char *name;
} implementers[] = {
    {0x41, "Arm"},       {0x42, "Broadcom"}, {0x43, "Cavium"},    {0x46, "Fujitsu"},
    {0x48, "HiSilicon"}, {0x4e, "NVIDIA"},   {0x50, "APM"},       {0x51, "Qualcomm"},
    {0x53, "Samsung"},   {0x61, "Apple"},    {0x6d, "Microsoft"}, {0xc0, "Ampere"},
};

// Designs of Arm itself, implementer 0x41.
static const struct {
    uint16_t part;
    const char *name;
} designs[] = {
    {0xd03, "Cortex-A53"},  {0xd04, "Cortex-A35"},  {0xd05, "Cortex-A55"},  {0xd07, "Cortex-A57"},
    {0xd08, "Cortex-A72"},  {0xd09, "Cortex-A73"},  {0xd0a, "Cortex-A75"},  {0xd0b, "Cortex-A76"},
    {0xd0c, "Neoverse-N1"}, {0xd0d, "Cortex-A77"},  {0xd40, "Neoverse-V1"}, {0xd41, "Cortex-A78"},
    {0xd44, "Cortex-X1"},   {0xd46, "Cortex-A510"}, {0xd47, "Cortex-A710"}, {0xd48, "Cortex-X2"},
    {0xd49, "Neoverse-N2"}, {0xd4d, "Cortex-A715"}, {0xd4e, "Cortex-X3"},   {0xd4f, "Neoverse-V2"},
    {0xd80, "Cortex-A520"}, {0xd81, "Cortex-A720"}, {0xd82, "Cortex-X4"},
};

tmac_midr tmac_midr_decode(uint64_t midr)
{
    tmac_midr result = {.implementer = "", .design = ""};
    result.revision = (uint32_t)(midr & 15);
    result.part = (uint32_t)(midr >> 4 & 0xfff);
    result.variant = (uint32_t)(midr >> 20 & 15);
    const uint32_t implementer = (uint32_t)(midr >> 24 & 255);
    for (size_t i = 0; i < sizeof implementers / sizeof *implementers; i++)
        if (implementers[i].code == implementer) result.implementer = implementers[i].name;
    for (size_t i = 0; implementer == 0x41 && i < sizeof designs / sizeof *designs; i++)
        if (designs[i].part == result.part) result.design = designs[i].name;
    return result;
}

uint64_t tmac_midr_read(void)
{
    uint64_t midr = 0;
#if defined(__aarch64__)
    enum { HWCAP_REGISTERS = 1 << 11 };
    if (getauxval(AT_HWCAP) & HWCAP_REGISTERS) __asm__("mrs %0, MIDR_EL1" : "=r"(midr));
#endif
    return midr;
}

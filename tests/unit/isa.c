#include "base/isa.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/cpuid.h"
#include "base/host.h"
#include "base/midr.h"

Test(isa, names_and_containment)
{
    for (int i = 0; i < TMAC_ISA_COUNT; i++) {
        tmac_isa parsed;
        cr_assert_eq(tmac_isa_parse(tmac_isa_name((tmac_isa)i), &parsed).code, TMAC_OK);
        cr_expect_eq((int)parsed, i);
        const tmac_isa_set contained = tmac_isa_contained(parsed);
        cr_expect(tmac_isa_has(contained, parsed) && tmac_isa_has(contained, TMAC_ISA_SCALAR));
        for (int j = 0; j < TMAC_ISA_COUNT; j++)
            if (tmac_isa_has(contained, (tmac_isa)j))
                cr_expect_eq(tmac_isa_contained((tmac_isa)j) & ~contained, 0u);
    }
    // A partial order: AVX-VNNI's 256-bit instructions are no part of AVX-512, nor the other way round.
    const tmac_isa_set wide = tmac_isa_contained(TMAC_ISA_AMX);
    cr_expect(tmac_isa_has(wide, TMAC_ISA_AVX512VNNI) && !tmac_isa_has(wide, TMAC_ISA_AVXVNNI));
    cr_expect(!tmac_isa_has(tmac_isa_contained(TMAC_ISA_AVXVNNI), TMAC_ISA_AVX512BW));
    tmac_isa isa;
    tmac_status status = tmac_isa_parse("avx9", &isa);
    cr_expect_eq(status.code, TMAC_USAGE);
    cr_expect_not_null(strstr(status.message, "avx512vbmi"));
    cr_expect_eq(tmac_isa_best(1), TMAC_ISA_SCALAR);
    cr_expect_eq(tmac_isa_best(tmac_isa_contained(TMAC_ISA_AVX512VNNI)), TMAC_ISA_AVX512VNNI);
}

#if defined(__x86_64__)
// The verified sets against the compiler's own reading of CPUID: a set may be missing where it does not work, but none
// may be there without its features, and whatever is there contains all it must.
Test(isa, verified_is_advertised)
{
    const tmac_isa_set set = tmac_isa_verified();
    cr_expect(tmac_isa_has(set, TMAC_ISA_SCALAR));
    cr_expect_eq(set, tmac_isa_verified());
    for (int i = 0; i < TMAC_ISA_COUNT; i++)
        if (tmac_isa_has(set, (tmac_isa)i))
            cr_expect_eq(tmac_isa_contained((tmac_isa)i) & ~set, 0u);
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2");
    const bool vnni = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    const bool vbmi = vnni && __builtin_cpu_supports("avx512vbmi");
    const bool gfni = vbmi && __builtin_cpu_supports("gfni");
    cr_expect(__builtin_cpu_supports("ssse3") || !tmac_isa_has(set, TMAC_ISA_SSSE3));
    cr_expect(__builtin_cpu_supports("sse4.1") || !tmac_isa_has(set, TMAC_ISA_SSE41));
    cr_expect(gfni || !tmac_isa_has(set, TMAC_ISA_AVX512GFNI));
    cr_expect(avx2 || !tmac_isa_has(set, TMAC_ISA_AVX2));
    cr_expect(vnni || !tmac_isa_has(set, TMAC_ISA_AVX512VNNI));
    cr_expect(vbmi || !tmac_isa_has(set, TMAC_ISA_AVX512VBMI));
}
#endif

// A processor that is not here: its leaves, and what its system saves.
static struct planted {
    const char *what;
    uint32_t last;          // leaf
    uint32_t one_ecx;       // leaf 1
    uint32_t seven_last;    // subleaf
    uint32_t ebx, ecx, edx; // leaf 7
    uint32_t seven_one_eax; // leaf 7.1
    uint32_t xcr0;
    bool xcr0_asked;
    const char *sets;
} planted;
static bool asked;

static tmac_cpuid_leaf planted_leaf(uint32_t leaf, uint32_t subleaf)
{
    const tmac_cpuid_leaf seven = {planted.seven_last, planted.ebx, planted.ecx, planted.edx};
    if (leaf == 0) return (tmac_cpuid_leaf){planted.last, 0, 0, 0};
    if (leaf == 1) return (tmac_cpuid_leaf){0, 0, planted.one_ecx, 0};
    // Intel answers with the last leaf where there is none such: full of ones here.
    if (leaf == 7 && planted.last >= 7 && subleaf == 0) return seven;
    if (leaf == 7 && planted.last >= 7 && subleaf == 1 && planted.seven_last >= 1)
        return (tmac_cpuid_leaf){planted.seven_one_eax, 0, 0, 0};
    return (tmac_cpuid_leaf){~0u, ~0u, ~0u, ~0u};
}

static uint32_t planted_xcr0(void)
{
    asked = true;
    return planted.xcr0;
}

// The bits as Intel's manual numbers them, written out a second time: the table in isa.c has its own.
#define SSE_BITS      (1u << 0 | 1u << 9 | 1u << 19)
#define SSE42_BIT     (1u << 20)
#define POPCNT_BIT    (1u << 23)
#define AVX_BITS      (SSE_BITS | SSE42_BIT | POPCNT_BIT | 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29)
#define AVX2_BITS     (1u << 5 | 1u << 8)
#define AVX512_BITS   (AVX2_BITS | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)
#define ICE_LAKE_BITS (1u << 1 | 1u << 8 | 1u << 11)
#define TILE_BITS     (1u << 24 | 1u << 25)
enum { YMM = 0x7, ZMM = 0xe7, TILES = 0x600e7 };

Test(isa, planted_processors)
{
    // clang-format off
    static const struct planted processors[] = {
        {"no SSSE3", 2, 1, 0, 0, 0, 0, 0, 0, false, "scalar"},
        {"Core 2", 10, 1 | 1 << 9, 0, 0, 0, 0, 0, 0, false, "scalar ssse3"},
        {"Haswell", 13, AVX_BITS, 0, AVX2_BITS, 0, 0, 0, YMM, true, "scalar ssse3 sse41 avx2"},
        {"AVX2 without FMA", 13, AVX_BITS & ~(1u << 12), 0, AVX2_BITS, 0, 0, 0, YMM, true, "scalar ssse3 sse41"},
        {"AVX2 and neither SSSE3 nor SSE4.1", 13, AVX_BITS & ~(SSE_BITS & ~1u), 0, AVX2_BITS, 0, 0, 0, YMM, true, "scalar"},
        {"AVX2 without SSSE3", 13, AVX_BITS & ~(1u << 9), 0, AVX2_BITS, 0, 0, 0, YMM, true, "scalar"},
        {"AVX2 without SSE4.1", 13, AVX_BITS & ~(1u << 19), 0, AVX2_BITS, 0, 0, 0, YMM, true, "scalar ssse3"},
        {"AVX2 without SSE4.2", 13, AVX_BITS & ~SSE42_BIT, 0, AVX2_BITS, 0, 0, 0, YMM, true, "scalar ssse3 sse41"},
        {"AVX-512 without POPCNT", 22, AVX_BITS & ~POPCNT_BIT, 0, AVX512_BITS, 0, 0, 0, ZMM, true, "scalar ssse3 sse41"},
        {"a system that saves no AVX registers", 13, AVX_BITS, 0, AVX2_BITS, 0, 0, 0, 3, true, "scalar ssse3 sse41"},
        {"a system without XSAVE", 13, AVX_BITS & ~(1u << 27), 0, AVX512_BITS, ICE_LAKE_BITS, TILE_BITS, 0, TILES, false,
            "scalar ssse3 sse41"},
        {"leaves above 6 hidden", 6, AVX_BITS, 0, 0, 0, 0, 0, TILES, true, "scalar ssse3 sse41"},
        {"subleaves of 7 hidden", 13, AVX_BITS, 0, AVX2_BITS, 0, 0, 1 << 4, YMM, true, "scalar ssse3 sse41 avx2"},
        {"Alder Lake", 32, AVX_BITS, 1, AVX2_BITS, 1 << 8, 0, 1 << 4, YMM, true, "scalar ssse3 sse41 avx2 avxvnni"},
        {"Skylake-SP", 22, AVX_BITS, 0, AVX512_BITS, 0, 0, 0, ZMM, true, "scalar ssse3 sse41 avx2 avx512bw"},
        {"Xeon Phi: AVX-512 without BW", 13, AVX_BITS, 0, AVX2_BITS | 1 << 16, 0, 0, 0, ZMM, true, "scalar ssse3 sse41 avx2"},
        {"a system that saves no AVX-512 registers", 27, AVX_BITS, 1, AVX512_BITS, ICE_LAKE_BITS, TILE_BITS, 1 << 4, YMM, true,
            "scalar ssse3 sse41 avx2 avxvnni"},
        {"a system that saves no upper half of them", 27, AVX_BITS, 1, AVX512_BITS, ICE_LAKE_BITS, 0, 0, 0x67, true,
            "scalar ssse3 sse41 avx2"},
        {"Ice Lake", 27, AVX_BITS, 0, AVX512_BITS, ICE_LAKE_BITS, 0, 0, ZMM, true,
            "scalar ssse3 sse41 avx2 avx512bw avx512vnni avx512vbmi avx512gfni"},
        {"Ice Lake, GFNI and VBMI hidden", 27, AVX_BITS, 0, AVX512_BITS, 1 << 11, 0, 0, ZMM, true,
            "scalar ssse3 sse41 avx2 avx512bw avx512vnni"},
        {"VBMI without VNNI", 27, AVX_BITS, 0, AVX512_BITS, 1 << 1 | 1 << 8, 0, 0, ZMM, true,
            "scalar ssse3 sse41 avx2 avx512bw"},
        {"Sapphire Rapids", 32, AVX_BITS, 1, AVX512_BITS, ICE_LAKE_BITS, TILE_BITS, 1 << 4, TILES, true,
            "scalar ssse3 sse41 avx2 avxvnni avx512bw avx512vnni avx512vbmi avx512gfni amx"},
        {"a system that saves no tiles", 32, AVX_BITS, 1, AVX512_BITS, ICE_LAKE_BITS, TILE_BITS, 1 << 4, ZMM, true,
            "scalar ssse3 sse41 avx2 avxvnni avx512bw avx512vnni avx512vbmi avx512gfni"},
        {"tiles: configuration saved, data not", 32, AVX_BITS, 0, AVX512_BITS, ICE_LAKE_BITS, TILE_BITS, 0, 0x200e7, true,
            "scalar ssse3 sse41 avx2 avx512bw avx512vnni avx512vbmi avx512gfni"},
        {"tiles without bytes", 32, AVX_BITS, 0, AVX512_BITS, ICE_LAKE_BITS, 1 << 24, 0, TILES, true,
            "scalar ssse3 sse41 avx2 avx512bw avx512vnni avx512vbmi avx512gfni"},
    };
    // clang-format on
    for (size_t i = 0; i < sizeof processors / sizeof *processors; i++) {
        planted = processors[i];
        asked = false;
        const tmac_isa_set found = tmac_isa_advertised(planted_leaf, planted_xcr0);
        char names[256] = "";
        for (int isa = 0; isa < TMAC_ISA_COUNT; isa++)
            if (tmac_isa_has(found, (tmac_isa)isa)) {
                if (names[0]) strcat(names, " ");
                strcat(names, tmac_isa_name((tmac_isa)isa));
            }
        cr_expect_str_eq(names, planted.sets, "%s: %s", planted.what, names);
        cr_expect_eq(asked, planted.xcr0_asked, "%s: XCR0", planted.what);
    }
}

#if defined(__linux__) && defined(SYS_seccomp) && defined(__x86_64__)
// A kernel that refuses the tile registers: AMX is left out and nothing else. In a child of Criterion's, whose filter
// ends with it; without AMX there is nothing to be refused.
Test(isa, tiles_refused)
{
    enum {
        NUMBER = offsetof(struct seccomp_data, nr),
        FIRST = offsetof(struct seccomp_data, args)
    };
    enum { REQUEST_PERMISSION = 0x1023 }; // ARCH_REQ_XCOMP_PERM
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NUMBER),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIRST),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, REQUEST_PERMISSION, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        cr_skip_test("this system has no filters of system calls");
    const tmac_isa_set set = tmac_isa_verified();
    cr_expect(!tmac_isa_has(set, TMAC_ISA_AMX));
    cr_expect(!__builtin_cpu_supports("avx2") || tmac_isa_has(set, TMAC_ISA_AVX2));
}
#endif

// A program that lets the kernel reap its children is served too.
Test(isa, sigchld_ignored)
{
    signal(SIGCHLD, SIG_IGN);
    const tmac_isa_set ignoring = tmac_isa_verified();
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) cr_expect(tmac_isa_has(ignoring, TMAC_ISA_AVX2));
#endif
    cr_expect(tmac_isa_has(ignoring, TMAC_ISA_SCALAR));
}

Test(host, facts)
{
    tmac_host host;
    tmac_host_probe(&host);
    cr_expect_geq(host.logical_cpus, 1);
    cr_expect_gt(host.memory_bytes, 1u << 20);
    cr_expect_neq(host.kernel[0], '\0');
    cr_expect_eq(host.isa, tmac_isa_verified());
}

// A set of another architecture is never verified.
Test(isa, other_architectures)
{
    const tmac_isa_set set = tmac_isa_verified();
    const tmac_isa_set arm = tmac_isa_contained(TMAC_ISA_I8MM) & ~(1u << TMAC_ISA_SCALAR);
#if defined(__aarch64__)
    cr_expect(tmac_isa_has(set, TMAC_ISA_NEON)); // the architecture's baseline
    cr_expect_eq(set & ~arm, 1u << TMAC_ISA_SCALAR);
#else
    cr_expect_eq(set & arm, 0u);
#endif
}

// Values of MIDR_EL1 as their manuals give them: Cortex-A76 r4p1, Apple's M1 (Firestorm) r1p1, one nobody made.
Test(host, arm_identification)
{
    const tmac_midr a76 = tmac_midr_decode(0x414fd0b1);
    cr_expect_str_eq(a76.implementer, "Arm");
    cr_expect_str_eq(a76.design, "Cortex-A76");
    cr_expect_eq(a76.part, 0xd0bu);
    cr_expect_eq(a76.variant, 4u);
    cr_expect_eq(a76.revision, 1u);
    const tmac_midr m1 = tmac_midr_decode(0x611f0231);
    cr_expect_str_eq(m1.implementer, "Apple");
    cr_expect_str_eq(m1.design, "");
    const tmac_midr unknown = tmac_midr_decode(0);
    cr_expect_str_eq(unknown.implementer, "");
    cr_expect_str_eq(unknown.design, "");
}

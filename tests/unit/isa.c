#include "base/isa.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>

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

// The built-in rule: families by residency and instruction set, kernels for many tokens only where many come.
#include <criterion/criterion.h>
#include <string.h>

#include "runtime/kernel.h"
#include "runtime/plan.h"

#if defined(__x86_64__)
static tmac_plan_entry rule(tmac_residency residency, tmac_isa isa)
{
    const tmac_input_set set = {.format = 't',
                                .group = 2560,
                                .columns = 2560,
                                .matrices = 1,
                                .rows = {2560},
                                .residency = residency};
    return tmac_plan_rule(&set, 1, tmac_isa_contained(isa));
}

Test(plan_rule, fewer_bits_where_weights_stream)
{
    cr_expect_str_eq(rule(TMAC_STREAMED, TMAC_ISA_AVX512GFNI).layout, "lut5_r512");
    cr_expect_str_eq(rule(TMAC_STREAMED, TMAC_ISA_AVX512VBMI).layout, "lut5_r512");
    cr_expect_str_eq(rule(TMAC_RESIDENT, TMAC_ISA_AVX512GFNI).layout, "mad2_r64");
    cr_expect_str_eq(rule(TMAC_STREAMED, TMAC_ISA_AVX512VNNI).layout, "mad2_r64");
    cr_expect_str_eq(rule(TMAC_STREAMED, TMAC_ISA_AVX2).layout, "lut3_r32");
    cr_expect_str_eq(rule(TMAC_RESIDENT, TMAC_ISA_AVX2).layout, "mad2_r32");
    cr_expect_str_eq(rule(TMAC_STREAMED, TMAC_ISA_SSSE3).layout, "lut2_r64");
}

// Every set has kernels in every bucket, none beyond the set, and none whose block of tokens the bucket may not fill.
Test(plan_rule, kernels_fit_set_and_bucket)
{
    for (int isa = TMAC_ISA_SCALAR; isa <= TMAC_ISA_AMX; isa++) {
        const tmac_plan_entry entry = rule(TMAC_STREAMED, (tmac_isa)isa);
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            const tmac_kernel *kernel = tmac_kernel_find(entry.kernel[bucket]);
            cr_assert_not_null(kernel, "%s", tmac_isa_name((tmac_isa)isa));
            cr_expect(tmac_isa_has(tmac_isa_contained((tmac_isa)isa), kernel->isa));
            cr_expect_leq(kernel->tokens_min, tmac_bucket_typical(bucket));
            cr_expect_str_eq(kernel->layout->name, entry.layout);
        }
    }
}

Test(plan_rule, panels_for_many_tokens)
{
    const tmac_plan_entry gfni = rule(TMAC_STREAMED, TMAC_ISA_AVX512GFNI);
    cr_expect_eq(tmac_kernel_find(gfni.kernel[0])->isa, TMAC_ISA_AVX512GFNI);
    cr_expect_not_null(strstr(gfni.kernel[TMAC_BUCKETS - 1], "_panel_"));
    const tmac_plan_entry amx = rule(TMAC_STREAMED, TMAC_ISA_AMX);
    cr_expect_neq(tmac_kernel_find(amx.kernel[0])->isa, TMAC_ISA_AMX);
    for (uint32_t bucket = tmac_bucket_of(4); bucket < TMAC_BUCKETS; bucket++)
        cr_expect_eq(tmac_kernel_find(amx.kernel[bucket])->isa, TMAC_ISA_AMX);
}

// A panel of lut5 pays from a block of tokens on, of mad2 from two on, whose other kernels share their decoding too.
Test(plan_rule, panels_for_small_batches)
{
    const tmac_plan_entry lut5 = rule(TMAC_STREAMED, TMAC_ISA_AVX512GFNI);
    const tmac_plan_entry mad2 = rule(TMAC_RESIDENT, TMAC_ISA_AVX512GFNI);
    cr_expect_not_null(strstr(lut5.kernel[tmac_bucket_of(4)], "_panel_"));
    cr_expect_not_null(strstr(lut5.kernel[tmac_bucket_of(8)], "_panel_"));
    cr_expect_null(strstr(mad2.kernel[tmac_bucket_of(4)], "_panel_"));
    cr_expect_not_null(strstr(mad2.kernel[tmac_bucket_of(8)], "_panel_"));
}
#endif

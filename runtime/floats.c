#include "runtime/floats.h"

const tmac_floats *tmac_floats_for(tmac_isa_set isa)
{
#if defined __x86_64__
    if (tmac_isa_has(isa, TMAC_ISA_AVX512BW)) return &tmac_floats_avx512bw;
    if (tmac_isa_has(isa, TMAC_ISA_AVX2)) return &tmac_floats_avx2;
#elif defined __aarch64__
    if (tmac_isa_has(isa, TMAC_ISA_NEON)) return &tmac_floats_neon;
#endif
    (void)isa;
    return &tmac_floats_scalar;
}

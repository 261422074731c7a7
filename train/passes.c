#include "train/passes.h"

const tmac_passes *tmac_passes_for(tmac_isa_set isa)
{
#if defined __x86_64__
    if (tmac_isa_has(isa, TMAC_ISA_AVX512BW)) return &tmac_passes_avx512bw;
    if (tmac_isa_has(isa, TMAC_ISA_AVX2)) return &tmac_passes_avx2;
#else
    (void)isa;
#endif
    return &tmac_passes_baseline;
}

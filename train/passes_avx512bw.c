// The passes compiled for avx512bw (Makefile, FLAGS_train/passes_avx512bw).
#if defined __x86_64__
#define TMAC_PASSES tmac_passes_avx512bw
#include "train/passes.inc"
#else
typedef int nothing; // an empty file is no C
#endif

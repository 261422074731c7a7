// The passes compiled for avx2 (Makefile, FLAGS_train/passes_avx2).
#if defined __x86_64__
#define TMAC_PASSES tmac_passes_avx2
#include "train/passes.inc"
#else
typedef int nothing; // an empty file is no C
#endif

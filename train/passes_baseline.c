// The passes compiled for baseline (Makefile, FLAGS_train/passes_baseline).
#define TMAC_PASSES tmac_passes_baseline
#include "train/passes.inc"

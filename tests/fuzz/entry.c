// What libFuzzer calls: the target that the Makefile names.
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    fuzz_begin();
    FUZZ_TARGET(data, bytes);
    fuzz_end();
    return 0;
}

// The registry: names over the tables that tmac-gen wrote into libkernels.
#include <string.h>

#include "base/hash.h"
#include "runtime/kernel.h"

extern const tmac_kernel *const tmac_generated_kernels[];
extern const size_t tmac_generated_kernel_count;
extern const tmac_layout *const tmac_generated_layouts[];
extern const size_t tmac_generated_layout_count;

const tmac_kernel *const *tmac_kernels(size_t *count)
{
    *count = tmac_generated_kernel_count;
    return tmac_generated_kernels;
}

const tmac_layout *const *tmac_layouts(size_t *count)
{
    *count = tmac_generated_layout_count;
    return tmac_generated_layouts;
}

const tmac_kernel *tmac_kernel_find(const char *name)
{
    for (size_t i = 0; i < tmac_generated_kernel_count; i++) {
        if (strcmp(tmac_generated_kernels[i]->name, name) == 0) return tmac_generated_kernels[i];
    }
    return NULL;
}

const tmac_layout *tmac_layout_find(const char *name)
{
    for (size_t i = 0; i < tmac_generated_layout_count; i++) {
        if (strcmp(tmac_generated_layouts[i]->name, name) == 0) return tmac_generated_layouts[i];
    }
    return NULL;
}

void tmac_kernel_binary_id(const tmac_kernel *kernel, char hex[65])
{
    // The NULs are hashed too: they keep the two texts apart.
    const uint8_t abi[4] = {TMAC_KERNEL_ABI & 255, TMAC_KERNEL_ABI >> 8 & 255,
                            TMAC_KERNEL_ABI >> 16 & 255, TMAC_KERNEL_ABI >> 24 & 255};
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash_state state;
    tmac_hash_begin(&state);
    tmac_hash_add(&state, kernel->source_id, strlen(kernel->source_id) + 1);
    tmac_hash_add(&state, kernel->compiler, strlen(kernel->compiler) + 1);
    tmac_hash_add(&state, abi, sizeof abi);
    tmac_hash_end(&state, digest);
    tmac_hash_hex(digest, hex);
}

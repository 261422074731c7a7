// The registry: names over the tables that tmac-gen wrote into libkernels.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "runtime/kernel.h"

extern const tmac_kernel *const tmac_generated_kernels[];
extern const size_t tmac_generated_kernel_count;
extern const tmac_layout *const tmac_generated_layouts[];
extern const size_t tmac_generated_layout_count;

// The kernels of this program and those added, once there are any.
static const tmac_kernel **all;
static size_t all_count;

const tmac_kernel *const *tmac_kernels_built_in(size_t *count)
{
    *count = tmac_generated_kernel_count;
    return tmac_generated_kernels;
}

const tmac_kernel *const *tmac_kernels(size_t *count)
{
    if (!all) return tmac_kernels_built_in(count);
    *count = all_count;
    return all;
}

const tmac_layout *const *tmac_layouts(size_t *count)
{
    *count = tmac_generated_layout_count;
    return tmac_generated_layouts;
}

const tmac_kernel *tmac_kernel_find(const char *name)
{
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(kernels[i]->name, name) == 0) return kernels[i];
    }
    return NULL;
}

tmac_status tmac_kernels_add(const tmac_kernel *const *kernels, size_t count)
{
    size_t before;
    const tmac_kernel *const *known = tmac_kernels(&before);
    const tmac_kernel **grown = malloc((before + count) * sizeof *grown);
    if (!grown) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu kernels", before + count);
    memcpy(grown, known, before * sizeof *grown);
    memcpy(grown + before, kernels, count * sizeof *grown);
    free(all);
    all = grown;
    all_count = before + count;
    return tmac_ok();
}

bool tmac_kernel_is_added(const tmac_kernel *kernel)
{
    for (size_t i = tmac_generated_kernel_count; i < all_count; i++)
        if (all[i] == kernel) return true;
    return false;
}

bool tmac_kernel_shape(const tmac_kernel *kernel, uint32_t *columns, uint32_t *group)
{
    const char *at = strstr(kernel->parameters, " columns=");
    return at && sscanf(at, " columns=%u group=%u", columns, group) == 2; // NOLINT(cert-err34-c)
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

// What a shared object of kernels exports: one table, `tmac_kernel_set_exported`. Such objects are compiled by tmac-tune
// on a host, for the shapes of one model, and opened by db/kernels.h once their signature has been checked.
//
// Their kernels name their layouts: layout is a null pointer in the object, and is filled in, in a copy, by who opens
// it.
#ifndef TMAC_RUNTIME_KERNEL_SET_H
#define TMAC_RUNTIME_KERNEL_SET_H

#include "runtime/kernel.h"

#define TMAC_KERNEL_SET_SYMBOL "tmac_kernel_set_exported"

enum { TMAC_KERNEL_SET_MAGIC = 0x746d6b31, TMAC_KERNEL_SET_MAX = 64 }; // "tmk1"

typedef struct tmac_kernel_set {
    uint32_t magic, abi;               // TMAC_KERNEL_ABI of the program that made it
    uint64_t kernel_bytes;             // sizeof(tmac_kernel), for the same reason
    uint64_t count;                    // at most TMAC_KERNEL_SET_MAX
    const tmac_kernel *const *kernels; //
    const char *const *layouts;        // their names
    const char *const *binary_ids;     // of tmac_kernel_binary_id
} tmac_kernel_set;

extern const tmac_kernel_set tmac_kernel_set_exported;

#endif

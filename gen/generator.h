// The kernel generator: templates and the table of variants (gen/variants.lua) in, C files out.
//
// Templates run in a Lua interpreter that has strings, tables, numbers and nothing else: no files, no processes, no
// network. Everything is rendered when the generator is made, so an error in a template is found at once; its message
// names the template and the line.
#ifndef TMAC_GEN_GENERATOR_H
#define TMAC_GEN_GENERATOR_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

typedef struct tmac_generator tmac_generator;

// The architecture this program was compiled for: "x86_64", "aarch64", or "any" (only plain C kernels).
const char *tmac_generator_host_arch(void);

// Renders everything for an architecture. The caller frees it.
tmac_status tmac_generator_new(const char *arch, tmac_generator **generator);
void tmac_generator_free(tmac_generator *generator); // NULL is harmless

// Writes one C file per unit and kernels.mk into a folder, which is made when it does not exist. Files whose content
// would not change are left alone.
tmac_status tmac_generator_write(tmac_generator *generator, const char *folder);

// A table of all variants, one a line, for people.
tmac_status tmac_generator_list(tmac_generator *generator, FILE *stream);

// The same for programs: JSON.
tmac_status tmac_generator_manifest(tmac_generator *generator, FILE *stream);

// One kernel as it will be compiled. TMAC_NOT_FOUND when no variant has that name.
tmac_status tmac_generator_render(tmac_generator *generator, const char *variant, FILE *stream);

// Renders a template's text that is not part of the program, under the same restrictions: for trying templates out.
// name: what messages call it. *rendered is malloc'ed, the caller frees it.
tmac_status tmac_generator_render_text(tmac_generator *generator, const char *name,
                                       const char *text, char **rendered);

// A kernel of the table for one shape: columns and scale group become constants.
enum { TMAC_PREFETCH_OWN = UINT32_MAX >> 1, TMAC_UNITS_MAX = 16 };
typedef struct tmac_specialisation {
    char kernel[64]; // its name in the table
    uint32_t columns, group;
    uint32_t prefetch; // bytes ahead; TMAC_PREFETCH_OWN: the kernel's
} tmac_specialisation;

typedef struct tmac_unit {
    char name[64]; // NAME.c
    char flags[256];
} tmac_unit;

// Writes into `folder` what makes a shared object of these kernels (runtime/kernel_set.h): a C file for each unit, and
// the headers that they include. compiler: what will compile them and its flags, those of units excepted: together
// with these it becomes part of the kernels' binary ids. abi: TMAC_KERNEL_ABI. units has room for TMAC_UNITS_MAX.
tmac_status tmac_generator_specialise(tmac_generator *generator, const char *compiler, uint32_t abi,
                                      const tmac_specialisation *wanted, size_t count,
                                      const char *folder, tmac_unit *units, uint32_t *unit_count);

#endif

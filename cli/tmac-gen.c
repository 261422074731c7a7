// tmac-gen: renders the kernel templates.
#include <stdbool.h>
#include <stdio.h>

#include "base/options.h"
#include "gen/generator.h"

static tmac_status act(tmac_generator *generator, const char *output, bool list, bool manifest,
                       const char *variant)
{
    if (output != NULL) TMAC_TRY(tmac_generator_write(generator, output));
    if (list) TMAC_TRY(tmac_generator_list(generator, stdout));
    if (manifest) TMAC_TRY(tmac_generator_manifest(generator, stdout));
    if (variant != NULL) TMAC_TRY(tmac_generator_render(generator, variant, stdout));
    return tmac_ok();
}

int main(int argc, char **argv)
{
    const char *output = NULL, *variant = NULL, *arch = tmac_generator_host_arch();
    bool list = false, manifest = false;
    const tmac_option options[] = {
        {'o', "output", TMAC_OPTION_STRING, &output, "DIR", "write all C files and kernels.mk"},
        {'l', "list", TMAC_OPTION_FLAG, &list, NULL, "print a table of all variants"},
        {'r', "render", TMAC_OPTION_STRING, &variant, "VARIANT",
         "print one kernel as it will be compiled"},
        {'m', "manifest", TMAC_OPTION_FLAG, &manifest, NULL, "print all variants as JSON"},
        {'a', "arch", TMAC_OPTION_STRING, &arch, "NAME",
         "the architecture to generate for: x86_64, aarch64 or any"},
        {0, NULL, TMAC_OPTION_FLAG, NULL, NULL, NULL},
    };
    const tmac_program program = {
        .name = "tmac-gen",
        .purpose = "Render the kernel templates",
        .operands = "",
        .details = "The table of variants and the templates are part of the program; nothing else "
                   "is read.",
        .options = options,
    };
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    if (output == NULL && variant == NULL && !list && !manifest) {
        return tmac_report(&program, tmac_fail(TMAC_USAGE, "nothing to do: give --output, --list, "
                                                           "--render or --manifest"));
    }
    tmac_generator *generator;
    tmac_status status = tmac_generator_new(arch, &generator);
    if (status.code == TMAC_OK) status = act(generator, output, list, manifest, variant);
    tmac_generator_free(generator);
    return tmac_report(&program, status);
}

// Emits a plan as C.
//
// The registry of all kernels is one generated file; an emitted one that lists only the plan's kernels takes its place,
// and the linker drops the functions nobody names. Beside the winners it lists the plain C kernel of each layout, so
// that the program answers on a device without the instruction sets it was tuned for. The functions of db/ that tmac-run
// calls come with the plan inside: neither SQLite nor Lua is linked.
#include "cli/emit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/kernel.h"

enum { KERNELS_MAX = TMAC_PLAN_ENTRIES * (TMAC_BUCKETS + 1), PATH_BYTES = 1024 };

typedef struct chosen {
    const tmac_kernel *kernels[KERNELS_MAX];
    const tmac_layout *layouts[TMAC_PLAN_ENTRIES];
    char units[KERNELS_MAX + TMAC_PLAN_ENTRIES][TMAC_NAME_BYTES];
    uint32_t kernel_count, layout_count, unit_count;
} chosen;

static void add_unit(chosen *c, const char *unit)
{
    for (uint32_t i = 0; i < c->unit_count; i++)
        if (strcmp(c->units[i], unit) == 0) return;
    snprintf(c->units[c->unit_count++], TMAC_NAME_BYTES, "%s", unit);
}

// The generated file of a kernel: its name up to the rows, "mad2_avx512vnni_panel" of "..._panel_r64_n6_p0".
static void unit_of(const char *kernel, char unit[TMAC_NAME_BYTES])
{
    snprintf(unit, TMAC_NAME_BYTES, "%.63s", kernel);
    for (char *at = unit; (at = strstr(at, "_r")) != NULL; at++)
        if (at[2] >= '0' && at[2] <= '9') {
            *at = '\0';
            return;
        }
}

static void add_kernel(chosen *c, const tmac_kernel *kernel)
{
    char unit[TMAC_NAME_BYTES];
    for (uint32_t i = 0; i < c->kernel_count; i++)
        if (c->kernels[i] == kernel) return;
    c->kernels[c->kernel_count++] = kernel;
    unit_of(kernel->name, unit);
    add_unit(c, unit);
}

static tmac_status choose(const tmac_plan *plan, chosen *c)
{
    size_t count;
    const tmac_kernel *const *all = tmac_kernels(&count);
    memset(c, 0, sizeof *c);
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const tmac_plan_entry *entry = &plan->entries[i];
        const tmac_layout *layout = tmac_layout_find(entry->layout);
        if (!layout)
            return tmac_fail(TMAC_NOT_FOUND, "the plan's layout %s is not in this program",
                             entry->layout);
        bool known = false;
        for (uint32_t l = 0; l < c->layout_count; l++)
            known = known || c->layouts[l] == layout;
        if (known) layout = NULL;
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            const tmac_kernel *kernel = tmac_kernel_find(entry->kernel[bucket]);
            if (!kernel)
                return tmac_fail(TMAC_NOT_FOUND, "the plan's kernel %s is not in this program",
                                 entry->kernel[bucket]);
            add_kernel(c, kernel);
        }
        if (!layout) continue;
        char name[TMAC_NAME_BYTES], unit[TMAC_NAME_BYTES];
        snprintf(name, sizeof name, "layout_%.50s", layout->name);
        unit_of(name, unit);
        add_unit(c, unit);
        c->layouts[c->layout_count++] = layout;
        for (size_t k = 0; k < count; k++)
            if (all[k]->layout == layout && all[k]->isa == TMAC_ISA_SCALAR) add_kernel(c, all[k]);
    }
    if (c->kernel_count == 0)
        return tmac_fail(TMAC_UNSUPPORTED, "the plan has no kernels: a float model needs none");
    return tmac_ok();
}

// ---------------------------------------------------------------------------------------------------------- writing

static void write_registry(FILE *file, const chosen *c)
{
    for (uint32_t i = 0; i < c->kernel_count; i++)
        fprintf(file, "extern const tmac_kernel tmac_kernel_%s;\n", c->kernels[i]->name);
    for (uint32_t i = 0; i < c->layout_count; i++)
        fprintf(file, "extern const tmac_layout tmac_layout_%s;\n", c->layouts[i]->name);
    fprintf(file, "\nextern const tmac_kernel *const tmac_generated_kernels[];\n"
                  "extern const size_t tmac_generated_kernel_count;\n"
                  "extern const tmac_layout *const tmac_generated_layouts[];\n"
                  "extern const size_t tmac_generated_layout_count;\n\n"
                  "const tmac_kernel *const tmac_generated_kernels[] = {\n");
    for (uint32_t i = 0; i < c->kernel_count; i++)
        fprintf(file, "    &tmac_kernel_%s,\n", c->kernels[i]->name);
    fprintf(file, "};\nconst size_t tmac_generated_kernel_count = %u;\n", c->kernel_count);
    fprintf(file, "const tmac_layout *const tmac_generated_layouts[] = {\n");
    for (uint32_t i = 0; i < c->layout_count; i++)
        fprintf(file, "    &tmac_layout_%s,\n", c->layouts[i]->name);
    fprintf(file, "};\nconst size_t tmac_generated_layout_count = %u;\n\n", c->layout_count);
}

static void write_plan(FILE *file, const tmac_plan *plan)
{
    fprintf(file,
            "static const tmac_plan tuned = {\n    .threads = %u,\n    .entry_count = %u,\n"
            "    .entries = {\n",
            plan->threads, plan->entry_count);
    for (uint32_t i = 0; i < plan->entry_count; i++) {
        const tmac_plan_entry *e = &plan->entries[i];
        fprintf(file,
                "        {.set = {.format = '%c', .group = %u, .columns = %u, .matrices = %u,\n"
                "                 .rows = {%u, %u, %u}, .residency = %s},\n"
                "         .layout = \"%s\",\n         .rung = TMAC_RUNG_%s,\n         .kernel = {",
                e->set.format, e->set.group, e->set.columns, e->set.matrices, e->set.rows[0],
                e->set.rows[1], e->set.rows[2],
                e->set.residency == TMAC_STREAMED ? "TMAC_STREAMED" : "TMAC_RESIDENT", e->layout,
                e->rung == TMAC_RUNG_HOST    ? "HOST"
                : e->rung == TMAC_RUNG_CLASS ? "CLASS"
                : e->rung == TMAC_RUNG_ISA   ? "ISA"
                                             : "RULE");
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
            fprintf(file, "%s\"%s\"", bucket ? ",\n                    " : "", e->kernel[bucket]);
        fprintf(file, "}},\n");
    }
    fprintf(file, "    },\n};\n\n");
}

static const char answers[] =
    "// What tmac-run asks of a tuning database: here the answer is one plan, for its own sets; "
    "the rule for others.\n"
    "tmac_status tmac_db_default_path(char path[TMAC_DB_PATH_BYTES])\n"
    "{\n    path[0] = '\\0';\n    return tmac_ok();\n}\n\n"
    "tmac_status tmac_db_open(const char *path, tmac_db_mode mode, tmac_db **db)\n"
    "{\n    (void)mode;\n    *db = NULL;\n"
    "    if (!path) return tmac_ok();\n"
    "    return tmac_fail(TMAC_UNSUPPORTED, \"this program carries its plan and reads no "
    "databases\");\n}\n\n"
    "tmac_status tmac_db_open_layers(const char *path, const char *fleet, tmac_db **db)\n"
    "{\n    (void)fleet;\n    return tmac_db_open(path, TMAC_DB_READ, db);\n}\n\n"
    "tmac_status tmac_db_load_kernels(const tmac_db *db, const tmac_input_set *sets, uint32_t "
    "count,\n"
    "                                 tmac_db_loaded *loaded)\n"
    "{\n    (void)db;\n    (void)sets;\n    (void)count;\n"
    "    *loaded = (tmac_db_loaded){0};\n    return tmac_ok();\n}\n\n"
    "// A conversation needs an interpreter for templates and a line editor.\n"
    "tmac_status tmac_chat(tmac_start *start, tmac_sampler *sampler, const tmac_program *program,\n"
    "                      const tmac_chat_options *options)\n"
    "{\n    (void)start;\n    (void)sampler;\n    (void)program;\n    (void)options;\n"
    "    return tmac_fail(TMAC_UNSUPPORTED, \"this program carries its plan alone, and holds no "
    "conversations\");\n}\n\n"
    "// Screening goes by the rule, or by --head screened:BITS.\n"
    "tmac_status tmac_db_screen_bits(const tmac_db *db, const tmac_host *host, const tmac_matrix "
    "*head,\n"
    "                                uint32_t threads, uint32_t *bits)\n"
    "{\n    (void)db;\n    (void)host;\n    (void)head;\n    (void)threads;\n"
    "    *bits = 0;\n    return tmac_ok();\n}\n\n"
    "void tmac_db_close(tmac_db *db)\n{\n    (void)db;\n}\n\n"
    "tmac_status tmac_db_plan(const tmac_db *db, const tmac_host *host, const tmac_input_set "
    "*sets,\n"
    "                         uint32_t count, uint32_t threads, tmac_isa_set isa, tmac_plan "
    "*plan)\n"
    "{\n    (void)db;\n    (void)host;\n"
    "    *plan = tmac_plan_default(sets, count, threads, isa);\n"
    "    for (uint32_t i = 0; i < plan->entry_count; i++) {\n"
    "        const tmac_plan_entry *found = tmac_plan_find(&tuned, &plan->entries[i].set);\n"
    "        bool usable = found != NULL;\n"
    "        for (uint32_t b = 0; usable && b < TMAC_BUCKETS; b++)\n"
    "            usable = tmac_isa_has(isa, tmac_kernel_find(found->kernel[b])->isa);\n"
    "        if (usable) plan->entries[i] = *found;\n"
    "    }\n    return tmac_ok();\n}\n";

static void write_make(FILE *file, const chosen *c, const char *model)
{
    fprintf(file,
            "# A static tmac-run for %s, without database and generator. In the source folder, "
            "after `make`:\n"
            "#\n#   make -f FOLDER/tmac_plan.mk\n\n"
            "FOLDER := $(dir $(lastword $(MAKEFILE_LIST)))\n"
            "BUILD  ?= build\n"
            "FLAGS  := -std=c17 -D_GNU_SOURCE -I. -O3 -ffp-contract=off -ffunction-sections "
            "-fdata-sections -pthread\n"
            "UNITS  :=",
            model);
    for (uint32_t i = 0; i < c->unit_count; i++)
        fprintf(file, " %s", c->units[i]);
    fprintf(
        file,
        "\n\n$(FOLDER)tmac-run: $(FOLDER)tmac_plan.o $(UNITS:%%=$(FOLDER)%%.o)\n"
        "\t$(CC) -static -pthread -s -Wl,--gc-sections -o $@ $^ $(BUILD)/obj/cli/tmac-run.o \\\n"
        "\t    $(BUILD)/obj/cli/session.o $(BUILD)/obj/cli/converted.o $(BUILD)/obj/cli/stats.o "
        "\\\n"
        "\t    $(BUILD)/obj/cli/sampling.o $(BUILD)/obj/cli/logprobs.o -Wl,--start-group \\\n"
        "\t    $(BUILD)/lib/libruntime.a $(BUILD)/lib/libconvert.a $(BUILD)/lib/libbase.a \\\n"
        "\t    $(BUILD)/lib/libkernels.a -Wl,--end-group -ljansson -lsodium -lpcre2-8 -lutf8proc "
        "$(CPUID) "
        "-lm\n\n"
        "CPUID := $(if $(filter x86_64,$(shell uname -m)),-lcpuid)\n\n"
        "$(FOLDER)tmac_plan.o: $(FOLDER)tmac_plan.c\n\t$(CC) $(FLAGS) -c $< -o $@\n\n"
        "include $(BUILD)/kernels/kernels.mk\n"
        "$(UNITS:%%=$(FOLDER)%%.o): $(FOLDER)%%.o: $(BUILD)/kernels/%%.c\n"
        "\t$(CC) $(FLAGS) $(KERNEL_FLAGS_$*) -DTMAC_KERNEL_COMPILER='\"emitted\"' -c $< -o $@\n");
}

// Written beside its place and renamed.
static tmac_status open_file(const char *folder, const char *name, char path[PATH_BYTES],
                             char temporary[PATH_BYTES], FILE **file)
{
    if (snprintf(path, PATH_BYTES, "%s/%s", folder, name) >= PATH_BYTES - 5)
        return tmac_fail(TMAC_USAGE, "%.80s...: the name is too long", folder);
    snprintf(temporary, PATH_BYTES, "%.1018s.tmp", path);
    *file = fopen(temporary, "we");
    if (!*file) return tmac_fail(TMAC_IO, "%s: cannot write: %s", temporary, strerror(errno));
    return tmac_ok();
}

static tmac_status close_file(FILE *file, const char *path, const char *temporary)
{
    bool good = !ferror(file);
    good = fclose(file) == 0 && good;
    if (good && rename(temporary, path) == 0) return tmac_ok();
    tmac_status status = tmac_fail(TMAC_IO, "%s: cannot write: %s", path, strerror(errno));
    unlink(temporary);
    return status;
}

// A kernel that was compiled on the host is no part of the sources: the one it came from takes its place, or, where that was
// made with another prefetch distance, the rule's for the layout.
static void use_built_in(tmac_plan *plan)
{
    tmac_isa_set isa = tmac_isa_verified();
    for (uint32_t i = 0; i < plan->entry_count; i++)
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++) {
            char *name = plan->entries[i].kernel[bucket];
            const tmac_kernel *kernel = tmac_kernel_find(name);
            uint32_t columns, group;
            if (!kernel || !tmac_kernel_shape(kernel, &columns, &group)) continue;
            char *shape = strstr(name, "_k");
            if (shape) *shape = '\0';
            if (tmac_kernel_find(name)) continue;
            const char *rule = tmac_plan_rule_kernel(plan->entries[i].layout, bucket, isa);
            snprintf(name, TMAC_NAME_BYTES, "%s", rule ? rule : "");
        }
}

tmac_status tmac_emit_plan(const tmac_plan *tuned, const char *model, const char *folder)
{
    chosen c;
    tmac_plan own = *tuned;
    const tmac_plan *plan = &own;
    use_built_in(&own);
    char path[PATH_BYTES], temporary[PATH_BYTES];
    FILE *file;
    TMAC_TRY(choose(plan, &c));
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return tmac_fail(TMAC_IO, "%s: cannot make this folder: %s", folder, strerror(errno));
    TMAC_TRY(open_file(folder, "tmac_plan.c", path, temporary, &file));
    fprintf(file,
            "// The tuned plan for one model at %u threads, and the kernels it needs: written by "
            "tmac, for tmac_plan.mk.\n"
            "#include \"cli/chat.h\"\n#include \"db/kernels.h\"\n#include "
            "\"runtime/kernel.h\"\n#include \"runtime/plan.h\"\n\n",
            plan->threads);
    write_registry(file, &c);
    write_plan(file, plan);
    fputs(answers, file);
    TMAC_TRY(close_file(file, path, temporary));
    TMAC_TRY(open_file(folder, "tmac_plan.mk", path, temporary, &file));
    // The name stands in a comment: nothing in it may end the line.
    char name[64];
    snprintf(name, sizeof name, "%.63s", model);
    for (char *at = name; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == '\\') *at = '?';
    write_make(file, &c, name);
    return close_file(file, path, temporary);
}

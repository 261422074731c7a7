// The generator: the template language, what it writes, and what it refuses.
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gen/embedded.h"
#include "gen/generator.h"
#include "runtime/kernel.h"

static tmac_generator *generator;

static void make_generator(void)
{
    tmac_status status = tmac_generator_new(tmac_generator_host_arch(), &generator);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
}

static void free_generator(void)
{
    tmac_generator_free(generator);
}

TestSuite(gen, .init = make_generator, .fini = free_generator);

static void expect_rendered(const char *text, const char *expected)
{
    char *rendered;
    tmac_status status = tmac_generator_render_text(generator, "t.c", text, &rendered);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_expect_str_eq(rendered, expected);
    free(rendered);
}

static void expect_refused(const char *text, const char *in_message)
{
    char *rendered;
    tmac_status status = tmac_generator_render_text(generator, "templates/t.c", text, &rendered);
    cr_assert_neq(status.code, TMAC_OK, "rendered: %s", text);
    cr_expect_null(rendered);
    cr_expect(strstr(status.message, in_message) != NULL, "%s", status.message);
}

Test(gen, lines_of_lua_and_values)
{
    expect_rendered("int a;\n", "int a;\n");
    expect_rendered("% for i = 1, 2 do\n    a[${i}] = ${i * i};\n% end\n",
                    "    a[1] = 1;\n    a[2] = 4;\n");
    expect_rendered("x = y % 3; // 100%\n", "x = y % 3; // 100%\n");
    expect_rendered("say(\"\\n\\t\", '\\\\');\n", "say(\"\\n\\t\", '\\\\');\n");
    expect_rendered("    % local s = 'a;\\nb;'\n    ${s}\n", "    a;\n    b;\n");
    expect_rendered("a\n\n% local x\n\n\nb\n", "a\n\nb\n");
}

Test(gen, mistakes_name_template_and_line)
{
    expect_refused("a\nb\n${nothing.here}\n", "templates/t.c:3:");
    expect_refused("a\n% for i = 1, 2 do\n", "templates/t.c:2:");
    expect_refused("a\n% error('no')\nb\n", "templates/t.c:2: no");
    expect_refused("a\nb ${1.5}\n", "templates/t.c:2: ${1.5}");
    expect_refused("${missing}\n", "missing");
    expect_refused("% part('part_absent')\n", "part_absent");
}

Test(gen, templates_reach_nothing)
{
    static const char *const closed[] = {"io",       "os",    "require", "package",  "dofile",
                                         "loadfile", "debug", "print",   "coroutine"};
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "%% if %s ~= nil then\nopen\n%% end\n", closed[i]);
        expect_rendered(text, "");
    }
    expect_refused("% load('\\27Lua', 'x', 'b')()\n", "t.c:1:");
}

Test(gen, unknown_names)
{
    tmac_generator *other;
    cr_expect_eq(tmac_generator_new("pdp11", &other).code, TMAC_USAGE);
    cr_expect_null(other);
    FILE *nowhere = fopen("/dev/null", "w");
    cr_assert_not_null(nowhere);
    cr_expect_eq(tmac_generator_render(generator, "mad3", nowhere).code, TMAC_NOT_FOUND);
    fclose(nowhere);
    cr_expect_null(tmac_embedded_find("templates/nothing.c"));
}

// The text that a function of the generator writes to a stream.
static char *capture(tmac_status (*write)(tmac_generator *, FILE *))
{
    char *text;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    tmac_status status = write(generator, stream);
    fclose(stream);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return text;
}

// What was compiled into this program is what the generator makes now.
Test(gen, manifest_agrees_with_the_registry)
{
    char *text = capture(tmac_generator_manifest);
    json_t *root = json_loads(text, 0, NULL);
    free(text);
    cr_assert_not_null(root);
    json_t *kernels = json_object_get(root, "kernels");
    size_t count, i;
    const tmac_kernel *const *registry = tmac_kernels(&count);
    cr_assert_eq(json_array_size(kernels), count);
    json_t *item;
    json_array_foreach(kernels, i, item)
    {
        cr_expect_str_eq(json_string_value(json_object_get(item, "name")), registry[i]->name);
        cr_expect_str_eq(json_string_value(json_object_get(item, "source_id")),
                         registry[i]->source_id);
        cr_expect_str_eq(json_string_value(json_object_get(item, "layout")),
                         registry[i]->layout->name);
        cr_expect_str_eq(json_string_value(json_object_get(item, "isa")),
                         tmac_isa_name(registry[i]->isa));
    }
    cr_expect_eq(json_array_size(json_object_get(root, "layouts")), (tmac_layouts(&count), count));
    json_decref(root);
}

Test(gen, list_has_a_line_per_kernel)
{
    char *text = capture(tmac_generator_list);
    size_t lines = 0, count;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    (void)tmac_kernels(&count);
    cr_expect_eq(lines, count + 1);
    free(text);
}

Test(gen, every_kernel_renders_clean)
{
    size_t count;
    const tmac_kernel *const *registry = tmac_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        char *text;
        size_t bytes;
        FILE *stream = open_memstream(&text, &bytes);
        cr_expect_eq(tmac_generator_render(generator, registry[i]->name, stream).code, TMAC_OK);
        fclose(stream);
        cr_expect_not_null(strstr(text, registry[i]->source_id));
        cr_expect_not_null(strstr(text, registry[i]->parameters));
        cr_expect_null(strstr(text, "${"), "%s", registry[i]->name);
        cr_expect_null(strstr(text, "\n%"), "%s", registry[i]->name);
        cr_expect_null(strstr(text, " \n"), "%s", registry[i]->name);
        free(text);
    }
}

Test(gen, other_architectures_get_plain_c)
{
    tmac_generator *other;
    cr_assert_eq(tmac_generator_new("aarch64", &other).code, TMAC_OK);
    FILE *nowhere = fopen("/dev/null", "w");
    cr_assert_not_null(nowhere);
    cr_expect_eq(tmac_generator_render(other, "mad2_scalar_r64", nowhere).code, TMAC_OK);
    cr_expect_eq(tmac_generator_render(other, "mad2_avx2_r64_n1_p0", nowhere).code, TMAC_NOT_FOUND);
    fclose(nowhere);
    tmac_generator_free(other);
}

// Applies an action to every file of a folder; returns how many there were.
static size_t each_file(const char *folder, void (*action)(const char *path))
{
    DIR *directory = opendir(folder);
    cr_assert_not_null(directory);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        action(path);
        count++;
    }
    closedir(directory);
    return count;
}

static void make_old(const char *path)
{
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    cr_assert_eq(utimensat(AT_FDCWD, path, old, 0), 0);
}

static void expect_old(const char *path)
{
    struct stat about;
    cr_assert_eq(stat(path, &about), 0);
    cr_expect_eq(about.st_mtim.tv_sec, 1000, "%s was written again", path);
}

static void expect_new_and_remove(const char *path)
{
    struct stat about;
    cr_assert_eq(stat(path, &about), 0);
    const char *name = strrchr(path, '/') + 1;
    cr_expect_eq(about.st_mtim.tv_sec != 1000, strcmp(name, "registry.c") == 0, "%s", path);
    unlink(path);
}

Test(gen, files_are_rewritten_only_when_they_change)
{
    char base[] = "/tmp/tmac-gen-XXXXXX", folder[64], path[128];
    cr_assert_not_null(mkdtemp(base));
    snprintf(folder, sizeof folder, "%s/a/b", base);
    cr_assert_eq(tmac_generator_write(generator, folder).code, TMAC_OK);
    const size_t count = each_file(folder, make_old);
    cr_expect_gt(count, 5);
    cr_assert_eq(tmac_generator_write(generator, folder).code, TMAC_OK);
    cr_expect_eq(each_file(folder, expect_old), count);

    snprintf(path, sizeof path, "%s/registry.c", folder);
    FILE *stream = fopen(path, "a");
    cr_assert_not_null(stream);
    fputs("// changed\n", stream);
    fclose(stream);
    cr_assert_eq(tmac_generator_write(generator, folder).code, TMAC_OK);
    cr_expect_eq(each_file(folder, expect_new_and_remove), count);
    rmdir(folder);
    snprintf(path, sizeof path, "%s/a", base);
    rmdir(path);
    rmdir(base);
    cr_expect_neq(tmac_generator_write(generator, "/dev/null/folder").code, TMAC_OK);
}

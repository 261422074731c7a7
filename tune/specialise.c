// Compiling kernels for one model's shapes.
//
// Every unit is compiled by itself, because each has the flags of its instruction set, all at once, and linked into one
// shared object. The compiler works in a folder of its own under $TMPDIR, which is removed. Nothing of the folder's name
// gets into the object: equal sources and compilers give equal objects, and these one name in the database.
#include "tune/specialise.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "db/kernels.h"

extern char **environ;

enum { PATH_BYTES = 1024, ARGUMENTS_MAX = 48, COMPILER_PATIENCE_MS = 60000, OBJECT_MAX = 64 << 20 };

static const char common_flags[] = "-std=c17 -O3 -ffp-contract=off -fPIC -fvisibility=hidden";

// -------------------------------------------------------------------------------------------------------- processes

// Starts a program with its output, and what it says, in a file.
static tmac_status start(char *const arguments[], const char *folder, const char *log, pid_t *child)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory to start %s", arguments[0]);
    int code = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (code == 0)
        code = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log,
                                                O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    if (code == 0 && folder) code = posix_spawn_file_actions_addchdir_np(&actions, folder);
    if (code == 0) code = posix_spawnp(child, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code == 0 ? tmac_ok()
                     : tmac_fail(TMAC_NOT_FOUND, "%s: cannot be started: %s", arguments[0],
                                 strerror(code));
}

// Waits for a child, not for ever.
static bool finish(pid_t child)
{
    const uint64_t deadline = tmac_now_ns() + (uint64_t)COMPILER_PATIENCE_MS * 1000000;
    for (;;) {
        int result;
        pid_t ended = waitpid(child, &result, WNOHANG);
        if (ended == child) return WIFEXITED(result) && WEXITSTATUS(result) == 0;
        if (ended < 0 && errno != EINTR) return false;
        if (tmac_now_ns() > deadline) {
            kill(child, SIGKILL);
            waitpid(child, &result, 0);
            return false;
        }
        const struct timespec pause = {.tv_nsec = 2000000};
        nanosleep(&pause, NULL);
    }
}

// The first line of a file that says something; of a compiler's words the first error.
static void read_line(const char *path, char *line, size_t room)
{
    char text[512];
    FILE *file = fopen(path, "re");
    line[0] = '\0';
    if (!file) return;
    while (fgets(text, sizeof text, file)) {
        text[strcspn(text, "\n")] = '\0';
        bool error = strstr(text, "error") != NULL;
        if (line[0] == '\0' || error) snprintf(line, room, "%.*s", (int)room - 1, text);
        if (error) break;
    }
    fclose(file);
}

// ----------------------------------------------------------------------------------------------------------- folder

static tmac_status make_folder(char folder[PATH_BYTES])
{
    const char *under = getenv("TMPDIR");
    snprintf(folder, PATH_BYTES, "%.900s/tmac-kernels.XXXXXX", under && *under ? under : "/tmp");
    if (!mkdtemp(folder))
        return tmac_fail(TMAC_IO, "%s: cannot make a folder to compile in: %s", folder,
                         strerror(errno));
    return tmac_ok();
}

// Two levels are all there is.
static void remove_folder(const char *folder, int depth)
{
    char path[2 * PATH_BYTES];
    DIR *list = opendir(folder);
    if (!list) return;
    for (struct dirent *each; (each = readdir(list));) {
        if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0) continue;
        snprintf(path, sizeof path, "%.1000s/%.255s", folder, each->d_name);
        if (unlink(path) != 0 && depth > 0) remove_folder(path, depth - 1);
    }
    closedir(list);
    rmdir(folder);
}

// --------------------------------------------------------------------------------------------------------- compiler

static bool answers(const char *name, const char *folder, tmac_compiler *compiler)
{
    char log[2 * PATH_BYTES], *arguments[] = {compiler->path, (char[]){"--version"}, NULL};
    pid_t child;
    snprintf(compiler->path, sizeof compiler->path, "%.255s", name);
    snprintf(log, sizeof log, "%s/version", folder);
    if (start(arguments, NULL, log, &child).code != TMAC_OK || !finish(child)) return false;
    read_line(log, compiler->version, sizeof compiler->version);
    return compiler->version[0] != '\0';
}

tmac_status tmac_compiler_find(tmac_compiler *compiler)
{
    const char *names[] = {getenv("TMAC_CC"), "gcc", "clang", "cc"};
    char folder[PATH_BYTES];
    const bool told = names[0] && *names[0];
    TMAC_TRY(make_folder(folder));
    bool found = false;
    for (size_t i = told ? 0 : 1; i < (told ? 1 : sizeof names / sizeof names[0]) && !found; i++)
        found = answers(names[i], folder, compiler);
    remove_folder(folder, 1);
    if (found) return tmac_ok();
    return tmac_fail(TMAC_NOT_FOUND, "%s: no C compiler that answers", told ? names[0] : "$PATH");
}

// Splits flags at blanks and appends them.
static size_t add_flags(char *arguments[ARGUMENTS_MAX], size_t used, char *flags)
{
    char *rest = flags;
    for (char *each; (each = strsep(&rest, " "));)
        if (*each && used < ARGUMENTS_MAX - 8) arguments[used++] = each;
    return used;
}

static tmac_status start_unit(const tmac_compiler *compiler, const char *folder,
                              const tmac_unit *unit, pid_t *child)
{
    char *arguments[ARGUMENTS_MAX], program[256], common[sizeof common_flags], flags[256];
    char source[80], object[80], log[2 * PATH_BYTES];
    size_t used = 0;
    snprintf(program, sizeof program, "%s", compiler->path);
    memcpy(common, common_flags, sizeof common);
    snprintf(flags, sizeof flags, "%s", unit->flags);
    snprintf(source, sizeof source, "%.63s.c", unit->name);
    snprintf(object, sizeof object, "%.63s.o", unit->name);
    snprintf(log, sizeof log, "%.1000s/%.63s.log", folder, unit->name);
    arguments[used++] = program;
    used = add_flags(arguments, used, common);
    used = add_flags(arguments, used, flags);
    arguments[used++] = (char[]){"-I."};
    arguments[used++] = (char[]){"-c"};
    arguments[used++] = source;
    arguments[used++] = (char[]){"-o"};
    arguments[used++] = object;
    arguments[used] = NULL;
    return start(arguments, folder, log, child);
}

static tmac_status compile_units(const tmac_compiler *compiler, const char *folder,
                                 const tmac_unit *units, uint32_t count)
{
    pid_t children[TMAC_UNITS_MAX];
    char log[2 * PATH_BYTES], line[256];
    uint32_t started = 0;
    tmac_status status = tmac_ok();
    while (started < count && status.code == TMAC_OK) {
        status = start_unit(compiler, folder, &units[started], &children[started]);
        started += status.code == TMAC_OK;
    }
    for (uint32_t i = 0; i < started; i++) {
        bool good = finish(children[i]);
        if (good || status.code != TMAC_OK) continue;
        snprintf(log, sizeof log, "%.1000s/%.63s.log", folder, units[i].name);
        read_line(log, line, sizeof line);
        status = tmac_fail(TMAC_UNSUPPORTED, "%s does not compile %s: %.200s", compiler->path,
                           units[i].name, line[0] ? line : "it said nothing");
    }
    return status;
}

static tmac_status link_units(const tmac_compiler *compiler, const char *folder,
                              const tmac_unit *units, uint32_t count)
{
    char *arguments[ARGUMENTS_MAX], program[256], objects[TMAC_UNITS_MAX][80];
    char log[2 * PATH_BYTES], line[256];
    size_t used = 0;
    pid_t child;
    snprintf(program, sizeof program, "%s", compiler->path);
    snprintf(log, sizeof log, "%.1000s/link.log", folder);
    arguments[used++] = program;
    arguments[used++] = (char[]){"-shared"};
    arguments[used++] = (char[]){"-s"};
    arguments[used++] = (char[]){"-o"};
    arguments[used++] = (char[]){"kernels.so"};
    for (uint32_t i = 0; i < count; i++) {
        snprintf(objects[i], sizeof objects[i], "%.63s.o", units[i].name);
        arguments[used++] = objects[i];
    }
    arguments[used] = NULL;
    TMAC_TRY(start(arguments, folder, log, &child));
    if (finish(child)) return tmac_ok();
    read_line(log, line, sizeof line);
    return tmac_fail(TMAC_UNSUPPORTED, "%s does not link kernels: %.200s", compiler->path, line);
}

static tmac_status read_object(const char *folder, uint8_t **object, size_t *bytes)
{
    char path[2 * PATH_BYTES];
    tmac_map map;
    snprintf(path, sizeof path, "%.1000s/kernels.so", folder);
    TMAC_TRY(tmac_map_open(path, &map));
    *object = map.bytes <= OBJECT_MAX ? malloc(map.bytes + 1) : NULL;
    if (*object) memcpy(*object, map.data, map.bytes);
    *bytes = map.bytes;
    tmac_map_close(&map);
    return *object ? tmac_ok() : tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for compiled kernels");
}

tmac_status tmac_compile_kernels(const tmac_compiler *compiler, const tmac_specialisation *wanted,
                                 size_t count, char built[192], uint8_t **object, size_t *bytes)
{
    tmac_generator *generator;
    tmac_unit units[TMAC_UNITS_MAX];
    uint32_t unit_count;
    char folder[PATH_BYTES];
    *object = NULL;
    *bytes = 0;
    snprintf(built, 192, "%.120s %s", compiler->version, common_flags);
    TMAC_TRY(tmac_generator_new(tmac_generator_host_arch(), &generator));
    tmac_status status = make_folder(folder);
    if (status.code != TMAC_OK) {
        tmac_generator_free(generator);
        return status;
    }
    status = tmac_generator_specialise(generator, built, TMAC_KERNEL_ABI, wanted, count, folder,
                                       units, &unit_count);
    tmac_generator_free(generator);
    if (status.code == TMAC_OK) status = compile_units(compiler, folder, units, unit_count);
    if (status.code == TMAC_OK) status = link_units(compiler, folder, units, unit_count);
    if (status.code == TMAC_OK) status = read_object(folder, object, bytes);
    remove_folder(folder, 2);
    return status;
}

tmac_status tmac_add_specialised(const tmac_compiler *compiler, const char *path,
                                 const tmac_specialisation *wanted, size_t count, uint32_t *added)
{
    char built[192];
    uint8_t *object = NULL;
    size_t bytes;
    tmac_db *db;
    *added = 0;
    tmac_status status = tmac_compile_kernels(compiler, wanted, count, built, &object, &bytes);
    if (status.code == TMAC_OK) status = tmac_kernels_open(object, bytes, added);
    if (status.code == TMAC_OK && *added > 0) {
        status = tmac_db_open(path, TMAC_DB_WRITE, &db);
        if (status.code == TMAC_OK) {
            status = tmac_db_put_kernels(db, object, bytes, built);
            tmac_db_close(db);
        }
    }
    free(object);
    return status;
}

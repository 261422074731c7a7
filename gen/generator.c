// The C side of the generator: a Lua state without doors, the result of gen/generator.lua, and what is done with it.
//
// The state lives as long as the generator and holds the result table in its registry. Every access runs in a protected
// call, so that lack of memory and mistakes in templates come back as a status.
#include "gen/generator.h"

#include <errno.h>
#include <jansson.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "gen/embedded.h"

struct tmac_generator {
    lua_State *lua;
    const char *arch; // a string inside the state's registry
};

const char *tmac_generator_host_arch(void)
{
#if defined __x86_64__
    return "x86_64";
#elif defined __aarch64__
    return "aarch64";
#else
    return "any";
#endif
}

// ------------------------------------------------------------------------------------------- what Lua can call

static int lua_embedded(lua_State *lua)
{
    const char *name = luaL_checkstring(lua, 1);
    const tmac_embedded *file = tmac_embedded_find(name);
    if (file == NULL) return luaL_error(lua, "%s: no such file in the generator", name);
    lua_pushlstring(lua, file->text, file->bytes);
    return 1;
}

static int lua_sha256(lua_State *lua)
{
    size_t bytes;
    const char *text = luaL_checklstring(lua, 1, &bytes);
    uint8_t digest[TMAC_HASH_BYTES];
    char hex[TMAC_HASH_HEX];
    tmac_hash(text, bytes, digest);
    tmac_hash_hex(digest, hex);
    lua_pushstring(lua, hex);
    return 1;
}

// ------------------------------------------------------------------------------------------- set-up

static void open_safe_libraries(lua_State *lua)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},
    };
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    static const char *const closed[] = {"dofile", "loadfile", "print", "collectgarbage"};
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        lua_pushnil(lua);
        lua_setglobal(lua, closed[i]);
    }
    lua_register(lua, "embedded", lua_embedded);
    lua_register(lua, "sha256", lua_sha256);
}

// Protected: argument 1 is the architecture; returns the result of build().
static int build(lua_State *lua)
{
    open_safe_libraries(lua);
    const tmac_embedded *file = tmac_embedded_find("gen/generator.lua");
    if (file == NULL) return luaL_error(lua, "gen/generator.lua is not in this program");
    if (luaL_loadbufferx(lua, file->text, file->bytes, "@gen/generator.lua", "t") != LUA_OK)
        return lua_error(lua);
    lua_call(lua, 0, 1);
    lua_getfield(lua, -1, "build");
    lua_pushvalue(lua, 1);
    lua_call(lua, 1, 1);
    lua_getfield(lua, -2, "render_text");
    lua_setfield(lua, -2, "render_text");
    lua_getfield(lua, -2, "specialise");
    lua_setfield(lua, -2, "specialise");
    return 1;
}

static tmac_status lua_failure(lua_State *lua, int code)
{
    const char *message = lua_tostring(lua, -1);
    tmac_status status = tmac_fail(code == LUA_ERRMEM ? TMAC_OUT_OF_MEMORY : TMAC_INTERNAL, "%s",
                                   message != NULL ? message : "error without a message");
    lua_pop(lua, 1);
    return status;
}

tmac_status tmac_generator_new(const char *arch, tmac_generator **generator)
{
    *generator = NULL;
    static const char *const known[] = {"x86_64", "aarch64", "any"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i], arch) == 0) found = known[i];
    }
    if (found == NULL)
        return tmac_fail(TMAC_USAGE, "unknown architecture %s: x86_64, aarch64 or any", arch);

    tmac_generator *made = calloc(1, sizeof *made);
    lua_State *lua = luaL_newstate();
    if (made == NULL || lua == NULL) {
        free(made);
        if (lua != NULL) lua_close(lua);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the generator");
    }
    made->lua = lua;
    made->arch = found;
    lua_pushcfunction(lua, build);
    lua_pushstring(lua, found);
    int code = lua_pcall(lua, 1, 1, 0);
    if (code != LUA_OK) {
        tmac_status status = lua_failure(lua, code);
        tmac_generator_free(made);
        return status;
    }
    // The result stays at index 1 of the stack for good.
    *generator = made;
    return tmac_ok();
}

void tmac_generator_free(tmac_generator *generator)
{
    if (generator == NULL) return;
    lua_close(generator->lua);
    free(generator);
}

// ------------------------------------------------------------------------------------------- reading the result

// A string field of the table on top of the stack. It stays valid while the result does.
static const char *text_field(lua_State *lua, const char *name)
{
    lua_getfield(lua, -1, name);
    const char *text = lua_tostring(lua, -1);
    lua_pop(lua, 1);
    return text != NULL ? text : "";
}

static lua_Integer number_field(lua_State *lua, const char *name)
{
    lua_getfield(lua, -1, name);
    lua_Integer number = lua_tointeger(lua, -1);
    lua_pop(lua, 1);
    return number;
}

// Pushes result[list]; returns its length.
static lua_Integer push_list(tmac_generator *generator, const char *list)
{
    lua_getfield(generator->lua, 1, list);
    return (lua_Integer)lua_rawlen(generator->lua, -1);
}

// ------------------------------------------------------------------------------------------- files

static tmac_status make_folders(const char *folder)
{
    char path[1024];
    size_t length = strlen(folder);
    if (length == 0 || length >= sizeof path)
        return tmac_fail(TMAC_USAGE, "the output folder's name is empty or too long");
    memcpy(path, folder, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        path[i] = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            return tmac_fail(TMAC_IO, "%s: cannot make the folder: %s", path, strerror(errno));
        if (i < length) path[i] = '/';
    }
    return tmac_ok();
}

static bool has_content(const char *path, const char *text, size_t bytes)
{
    tmac_map map;
    if (tmac_map_open(path, &map).code != TMAC_OK) return false;
    bool same = map.bytes == bytes && (bytes == 0 || memcmp(map.data, text, bytes) == 0);
    tmac_map_close(&map);
    return same;
}

static tmac_status write_if_changed(const char *folder, const char *name, const char *suffix,
                                    const char *text)
{
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    if (length < 0 || (size_t)length >= sizeof path)
        return tmac_fail(TMAC_USAGE, "%s: the path of %s%s is too long", folder, name, suffix);
    if (has_content(path, text, strlen(text))) return tmac_ok();
    tmac_output output;
    TMAC_TRY(tmac_output_open(path, &output));
    tmac_output_write(&output, text, strlen(text));
    return tmac_output_commit(&output);
}

tmac_status tmac_generator_write(tmac_generator *generator, const char *folder)
{
    lua_State *lua = generator->lua;
    TMAC_TRY(make_folders(folder));
    lua_Integer count = push_list(generator, "units");
    tmac_status status = tmac_ok();
    for (lua_Integer i = 1; i <= count && status.code == TMAC_OK; i++) {
        lua_rawgeti(lua, -1, i);
        status = write_if_changed(folder, text_field(lua, "name"), ".c", text_field(lua, "text"));
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    if (status.code != TMAC_OK) return status;

    // Last, because make takes its date for the date of all.
    lua_pushvalue(lua, 1);
    status = write_if_changed(folder, "kernels", ".mk", text_field(lua, "makefile"));
    lua_pop(lua, 1);
    return status;
}

// ------------------------------------------------------------------------------------------- kernels for one shape

typedef struct order {
    const char *arch, *compiler;
    const tmac_specialisation *wanted;
    size_t count;
    uint32_t abi;
} order;

// Protected: arguments are specialise and an order; returns the list of units.
static int specialise(lua_State *lua)
{
    const order *o = lua_touserdata(lua, 2);
    lua_pushvalue(lua, 1);
    lua_pushstring(lua, o->arch);
    lua_createtable(lua, (int)o->count, 0);
    for (size_t i = 0; i < o->count; i++) {
        lua_createtable(lua, 0, 4);
        lua_pushstring(lua, o->wanted[i].kernel);
        lua_setfield(lua, -2, "kernel");
        lua_pushinteger(lua, o->wanted[i].columns);
        lua_setfield(lua, -2, "columns");
        lua_pushinteger(lua, o->wanted[i].group);
        lua_setfield(lua, -2, "group");
        if (o->wanted[i].prefetch != TMAC_PREFETCH_OWN) {
            lua_pushinteger(lua, o->wanted[i].prefetch);
            lua_setfield(lua, -2, "prefetch");
        }
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
    lua_pushstring(lua, o->compiler);
    lua_pushinteger(lua, o->abi);
    lua_call(lua, 4, 1);
    return 1;
}

// What the C files include.
static tmac_status write_headers(const char *folder)
{
    static const char *const headers[] = {"base/isa.h", "base/status.h", "runtime/amx_tiles.h",
                                          "runtime/kernel.h", "runtime/kernel_set.h"};
    char path[1024];
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        const tmac_embedded *file = tmac_embedded_find(headers[i]);
        if (!file) return tmac_fail(TMAC_INTERNAL, "%s is not in this program", headers[i]);
        snprintf(path, sizeof path, "%.900s/%s", folder, headers[i]);
        *strrchr(path, '/') = '\0';
        TMAC_TRY(make_folders(path));
        TMAC_TRY(write_if_changed(folder, headers[i], "", file->text));
    }
    return tmac_ok();
}

tmac_status tmac_generator_specialise(tmac_generator *generator, const char *compiler, uint32_t abi,
                                      const tmac_specialisation *wanted, size_t count,
                                      const char *folder, tmac_unit *units, uint32_t *unit_count)
{
    lua_State *lua = generator->lua;
    order o = {generator->arch, compiler, wanted, count, abi};
    *unit_count = 0;
    lua_pushcfunction(lua, specialise);
    lua_getfield(lua, 1, "specialise");
    lua_pushlightuserdata(lua, &o);
    int code = lua_pcall(lua, 2, 1, 0);
    if (code != LUA_OK) return lua_failure(lua, code);
    tmac_status status = make_folders(folder);
    if (status.code == TMAC_OK) status = write_headers(folder);
    lua_Integer all = (lua_Integer)lua_rawlen(lua, -1);
    if (all > TMAC_UNITS_MAX) status = tmac_fail(TMAC_UNSUPPORTED, "too many kernels for one set");
    for (lua_Integer i = 1; i <= all && status.code == TMAC_OK; i++) {
        lua_rawgeti(lua, -1, i);
        tmac_unit *unit = &units[(*unit_count)++];
        snprintf(unit->name, sizeof unit->name, "%s", text_field(lua, "name"));
        snprintf(unit->flags, sizeof unit->flags, "%s", text_field(lua, "flags"));
        status = write_if_changed(folder, unit->name, ".c", text_field(lua, "text"));
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    return status;
}

// ------------------------------------------------------------------------------------------- for people

static tmac_status check_stream(FILE *stream)
{
    if (fflush(stream) != 0 || ferror(stream))
        return tmac_fail(TMAC_IO, "cannot write the output: %s", strerror(errno));
    return tmac_ok();
}

tmac_status tmac_generator_list(tmac_generator *generator, FILE *stream)
{
    lua_State *lua = generator->lua;
    lua_Integer count = push_list(generator, "kernels");
    fprintf(stream, "%-34s %-12s %-10s %-34s %s\n", "kernel", "layout", "prepared", "parameters",
            "source id");
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(lua, -1, i);
        fprintf(stream, "%-34s %-12s %-10s %-34s %.12s\n", text_field(lua, "name"),
                text_field(lua, "layout"), text_field(lua, "preparation"),
                text_field(lua, "parameters"), text_field(lua, "source_id"));
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    return check_stream(stream);
}

tmac_status tmac_generator_render(tmac_generator *generator, const char *variant, FILE *stream)
{
    lua_State *lua = generator->lua;
    lua_Integer count = push_list(generator, "kernels");
    bool found = false;
    for (lua_Integer i = 1; i <= count && !found; i++) {
        lua_rawgeti(lua, -1, i);
        found = strcmp(text_field(lua, "name"), variant) == 0;
        if (found) fputs(text_field(lua, "text"), stream);
        lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
    if (!found)
        return tmac_fail(TMAC_NOT_FOUND, "no variant is called %s: tmac-gen --list shows them all",
                         variant);
    return check_stream(stream);
}

// Protected: arguments are render_text, name, text; strings are made inside, where lack of memory is caught.
static int render_text(lua_State *lua)
{
    const char *name = lua_touserdata(lua, 2), *text = lua_touserdata(lua, 3);
    lua_pushvalue(lua, 1);
    lua_pushstring(lua, name);
    lua_pushstring(lua, text);
    lua_call(lua, 2, 1);
    return 1;
}

tmac_status tmac_generator_render_text(tmac_generator *generator, const char *name,
                                       const char *text, char **rendered)
{
    lua_State *lua = generator->lua;
    *rendered = NULL;
    lua_pushcfunction(lua, render_text);
    lua_getfield(lua, 1, "render_text");
    lua_pushlightuserdata(lua, (void *)(uintptr_t)name);
    lua_pushlightuserdata(lua, (void *)(uintptr_t)text);
    int code = lua_pcall(lua, 3, 1, 0);
    if (code != LUA_OK) return lua_failure(lua, code);
    *rendered = strdup(lua_tostring(lua, -1));
    lua_pop(lua, 1);
    return *rendered != NULL ? tmac_ok() : tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %s", name);
}

// ------------------------------------------------------------------------------------------- for programs

static json_t *manifest_kernel(lua_State *lua)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I}, s:s, s:s, s:s}",              //
                     "name", text_field(lua, "name"), "family", text_field(lua, "family"),       //
                     "isa", text_field(lua, "isa"), "layout", text_field(lua, "layout"),         //
                     "preparation", text_field(lua, "preparation"),                              //
                     "parameters", "rows", (json_int_t)number_field(lua, "rows"),                //
                     "tokens", (json_int_t)number_field(lua, "tokens"),                          //
                     "prefetch", (json_int_t)number_field(lua, "prefetch"),                      //
                     "flags", text_field(lua, "flags"), "template", text_field(lua, "template"), //
                     "source_id", text_field(lua, "source_id"));
}

static json_t *manifest_layout(lua_State *lua)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}",                                     //
                     "name", text_field(lua, "name"), "family", text_field(lua, "family"), //
                     "row_tile", (json_int_t)number_field(lua, "rows"),                    //
                     "code_length", (json_int_t)number_field(lua, "code_length"),          //
                     "template", text_field(lua, "template"),                              //
                     "source_id", text_field(lua, "source_id"));
}

static json_t *manifest_list(tmac_generator *generator, const char *list,
                             json_t *(*item)(lua_State *))
{
    json_t *array = json_array();
    lua_Integer count = push_list(generator, list);
    for (lua_Integer i = 1; i <= count && array != NULL; i++) {
        lua_rawgeti(generator->lua, -1, i);
        if (json_array_append_new(array, item(generator->lua)) != 0) {
            json_decref(array);
            array = NULL;
        }
        lua_pop(generator->lua, 1);
    }
    lua_pop(generator->lua, 1);
    return array;
}

tmac_status tmac_generator_manifest(tmac_generator *generator, FILE *stream)
{
    json_t *layouts = manifest_list(generator, "layouts", manifest_layout);
    json_t *kernels = manifest_list(generator, "kernels", manifest_kernel);
    json_t *root = json_pack("{s:s, s:o?, s:o?}", "arch", generator->arch, "layouts", layouts,
                             "kernels", kernels);
    bool complete = root != NULL && layouts != NULL && kernels != NULL;
    bool written = complete && json_dumpf(root, stream, JSON_INDENT(2)) == 0;
    json_decref(root);
    if (!complete) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the manifest");
    if (!written) return tmac_fail(TMAC_IO, "cannot write the manifest: %s", strerror(errno));
    fputc('\n', stream);
    return check_stream(stream);
}

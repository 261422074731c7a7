#include "cli/chat_template.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { FILE_MAX = 1 << 20, STEPS_MAX = 10000000 };

// ------------------------------------------------------------------------------------------------------------- Lua

static void stop_running(lua_State *lua, lua_Debug *event)
{
    (void)event;
    luaL_error(lua, "it takes more than %d steps", STEPS_MAX);
}

// Runs under lua_pcall: the only argument is the file's text, the result its function.
static int load_function(lua_State *lua)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},
    };
    static const char *const outside[] = {"dofile", "loadfile", "load", "print", "warn"};
    size_t bytes;
    const char *text = lua_tolstring(lua, 1, &bytes);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        lua_pushnil(lua);
        lua_setglobal(lua, outside[i]);
    }
    lua_sethook(lua, stop_running, LUA_MASKCOUNT, STEPS_MAX);
    if (luaL_loadbufferx(lua, text, bytes, "=template", "t") != LUA_OK) return lua_error(lua);
    lua_call(lua, 0, 1);
    if (!lua_isfunction(lua, -1)) return luaL_error(lua, "it does not return a function");
    return 1;
}

typedef struct conversation {
    const tmac_chat_message *messages;
    size_t count;
    bool open;
} conversation;

// Runs under lua_pcall: the function and a conversation; results: the list, its length, bos.
static int render(lua_State *lua)
{
    const conversation *given = lua_touserdata(lua, 2);
    lua_pushvalue(lua, 1);
    lua_createtable(lua, (int)given->count, 0);
    for (size_t i = 0; i < given->count; i++) {
        lua_createtable(lua, 0, 2);
        lua_pushstring(lua, tmac_chat_role_names[given->messages[i].role]);
        lua_setfield(lua, -2, "role");
        lua_pushlstring(lua, given->messages[i].text, given->messages[i].bytes);
        lua_setfield(lua, -2, "content");
        lua_rawseti(lua, -2, (lua_Integer)i + 1);
    }
    lua_pushboolean(lua, given->open);
    lua_sethook(lua, stop_running, LUA_MASKCOUNT, STEPS_MAX);
    lua_call(lua, 2, 1);
    if (!lua_istable(lua, -1)) return luaL_error(lua, "its function does not return a list");
    const lua_Integer length = (lua_Integer)lua_rawlen(lua, -1);
    for (lua_Integer i = 1; i <= length; i++) {
        int kind = lua_rawgeti(lua, -1, i);
        if (kind == LUA_TTABLE) {
            kind = lua_rawgeti(lua, -1, 1);
            lua_remove(lua, -2);
        }
        if (kind != LUA_TSTRING)
            return luaL_error(lua, "item %d of its list is neither a string nor {string}", (int)i);
        lua_pop(lua, 1);
    }
    lua_pushinteger(lua, length);
    lua_getfield(lua, -2, "bos");
    return 3;
}

static tmac_status lua_failed(lua_State *lua, const char *what)
{
    const char *message = lua_tostring(lua, -1);
    tmac_status status =
        tmac_fail(TMAC_BAD_FILE, "%s: %s", what, message ? message : "it failed without a word");
    lua_settop(lua, 1);
    return status;
}

static tmac_status open_lua(const char *path, tmac_chat_template *template)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return tmac_fail(
            errno == ENOENT ? TMAC_NOT_FOUND : TMAC_IO,
            "--template %s: neither a form we know (%s) nor a file that can be read: %s", path,
            tmac_chat_form_names, strerror(errno));
    char *text;
    size_t bytes;
    tmac_status status = tmac_read_stream(file, FILE_MAX, &text, &bytes);
    fclose(file);
    if (status.code != TMAC_OK) return tmac_prefix(status, "%s", path);
    lua_State *lua = luaL_newstate();
    // Before anything that can fail inside Lua: a copy that lua_pcall protects.
    if (lua) {
        lua_pushcfunction(lua, load_function);
        lua_pushlstring(lua, text, bytes);
    }
    free(text);
    if (!lua) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a template");
    template->lua = lua;
    if (lua_pcall(lua, 1, 1, 0) == LUA_OK) return tmac_ok();
    status = lua_failed(lua, path);
    tmac_chat_template_close(template);
    return status;
}

static tmac_status render_lua(lua_State *lua, const conversation *given, tmac_text_part **parts,
                              size_t *count, bool *bos)
{
    lua_pushcfunction(lua, render);
    lua_pushvalue(lua, 1);
    lua_pushlightuserdata(lua, (void *)given);
    if (lua_pcall(lua, 2, 3, 0) != LUA_OK) return lua_failed(lua, "the template");
    const lua_Integer length = lua_tointeger(lua, -2);
    *bos = lua_toboolean(lua, -1);
    lua_pop(lua, 2); // the list stays on the stack, and with it its strings
    *parts = calloc((size_t)length + 1, sizeof **parts);
    if (!*parts) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a conversation");
    for (lua_Integer i = 1; i <= length; i++) {
        const bool markup = lua_rawgeti(lua, -1, i) == LUA_TSTRING;
        if (!markup) {
            lua_rawgeti(lua, -1, 1);
            lua_remove(lua, -2);
        }
        tmac_text_part *part = &(*parts)[i - 1];
        part->text = lua_tolstring(lua, -1, &part->bytes);
        part->markup = markup;
        lua_pop(lua, 1);
    }
    *count = (size_t)length;
    return tmac_ok();
}

// -------------------------------------------------------------------------------------------------------- either way

tmac_status tmac_chat_template_open(const char *given, const char *recognised,
                                    tmac_chat_template *template)
{
    memset(template, 0, sizeof *template);
    if (!given && !recognised[0])
        return tmac_fail(
            TMAC_USAGE,
            "the model does not say how its conversations are written: give --template "
            "NAME (%s) or a Lua file; is it a chat model at all?",
            tmac_chat_form_names);
    template->form = tmac_chat_form_find(given ? given : recognised);
    if (template->form) return tmac_ok();
    if (!given)
        return tmac_fail(TMAC_UNSUPPORTED, "conversations in the form '%s' are not known here",
                         recognised);
    return open_lua(given, template);
}

void tmac_chat_template_close(tmac_chat_template *template)
{
    if (template->lua) lua_close(template->lua);
    memset(template, 0, sizeof *template);
}

tmac_status tmac_chat_template_encode(const tmac_chat_template *template,
                                      const tmac_tokenizer *tokenizer,
                                      const tmac_chat_message *messages, size_t count, bool open,
                                      uint32_t **tokens, size_t *token_count)
{
    tmac_text_part *parts = NULL;
    size_t part_count = 0;
    bool bos = false;
    const conversation given = {messages, count, open};
    *tokens = NULL;
    tmac_status status;
    if (template->form) {
        bos = tmac_chat_form_bos(template->form);
        status = tmac_chat_render(template->form, messages, count, open, &parts, &part_count);
    } else {
        status = render_lua(template->lua, &given, &parts, &part_count, &bos);
    }
    uint32_t *text = NULL;
    if (status.code == TMAC_OK)
        status = tmac_tokenizer_encode_parts(tokenizer, parts, part_count, &text, token_count);
    free(parts);
    if (template->lua) lua_settop(template->lua, 1);
    if (status.code != TMAC_OK) return status;
    const bool first = bos && tmac_tokenizer_bos(tokenizer) >= 0;
    *tokens = realloc(text, (*token_count + first + 1) * sizeof **tokens);
    if (!*tokens) {
        free(text);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %zu tokens", *token_count);
    }
    if (first) {
        memmove(*tokens + 1, *tokens, *token_count * sizeof **tokens);
        (*tokens)[0] = (uint32_t)tmac_tokenizer_bos(tokenizer);
        ++*token_count;
    }
    return tmac_ok();
}

// Texts from a grammar that is a Lua program, run by the embedded interpreter without doors: no files, no clock.
//
// The program returns a table:
//   tell(random)  one text without line ends, and the negative logarithm of its probability; random(n) is 1 .. n
//   nats(text)    optional: the same number from the text alone, over all ways to derive it
// What it returns depends on random alone, so that the same seed gives the same texts everywhere.
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/random.h"
#include "train/train.h"

enum { CHECK_EVERY = 50 }; // texts whose probability is computed a second time

typedef struct teller {
    tmac_random random;
    const char *script;
    tmac_output *output;
    uint64_t count;
    double nats;
} teller;

static int lua_random(lua_State *lua)
{
    teller *t = lua_touserdata(lua, lua_upvalueindex(1));
    lua_Integer bound = luaL_checkinteger(lua, 1);
    luaL_argcheck(lua, bound >= 1 && bound <= INT32_MAX, 1, "a positive number is needed");
    lua_pushinteger(lua, 1 + (lua_Integer)tmac_random_below(&t->random, (uint32_t)bound));
    return 1;
}

static void open_libraries(lua_State *lua)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math},
    };
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(lua, libraries[i].name, libraries[i].func, 1);
        lua_pop(lua, 1);
    }
    static const char *const closed[] = {"dofile", "loadfile", "print", "collectgarbage"};
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++) {
        lua_pushnil(lua);
        lua_setglobal(lua, closed[i]);
    }
    // Only random() is random.
    lua_getglobal(lua, LUA_MATHLIBNAME);
    lua_pushnil(lua);
    lua_setfield(lua, -2, "random");
    lua_pushnil(lua);
    lua_setfield(lua, -2, "randomseed");
    lua_pop(lua, 1);
}

// At index 1 the table of the program. Compares what it says of a text with what it says while telling it.
static void check_text(lua_State *lua, uint64_t index, double nats)
{
    if (lua_getfield(lua, 1, "nats") != LUA_TFUNCTION) {
        lua_pop(lua, 1);
        return;
    }
    lua_pushvalue(lua, -3);
    lua_call(lua, 1, 1);
    double again = luaL_checknumber(lua, -1);
    if (!(fabs(again - nats) <= 1e-6))
        luaL_error(lua, "text %d has %f nats by its derivation and %f by all derivations",
                   (int)index, nats, again);
    lua_pop(lua, 1);
}

static int tell_all(lua_State *lua)
{
    teller *t = lua_touserdata(lua, 1);
    lua_settop(lua, 0);
    open_libraries(lua);
    if (luaL_loadfilex(lua, t->script, "t") != LUA_OK) return lua_error(lua);
    lua_call(lua, 0, 1);
    luaL_checktype(lua, 1, LUA_TTABLE);
    for (uint64_t i = 0; i < t->count; i++) {
        lua_getfield(lua, 1, "tell");
        lua_pushlightuserdata(lua, t);
        lua_pushcclosure(lua, lua_random, 1);
        lua_call(lua, 1, 2);
        size_t bytes;
        const char *text = luaL_checklstring(lua, -2, &bytes);
        const double nats = luaL_checknumber(lua, -1);
        if (memchr(text, '\n', bytes)) return luaL_error(lua, "a text with a line end");
        tmac_output_write(t->output, text, bytes);
        tmac_output_write(t->output, "\n", 1);
        t->nats += nats;
        if (i % CHECK_EVERY == 0) check_text(lua, i, nats);
        lua_settop(lua, 1);
    }
    return 0;
}

tmac_status tmac_tell(const char *script, uint64_t count, uint64_t seed, const char *path)
{
    if (count == 0) return tmac_fail(TMAC_USAGE, "--count: at least one text");
    tmac_output output;
    TMAC_TRY(tmac_output_open(path, &output));
    teller t = {.random = {seed}, .script = script, .output = &output, .count = count};
    lua_State *lua = luaL_newstate();
    tmac_status status = tmac_ok();
    if (lua) {
        lua_pushcfunction(lua, tell_all);
        lua_pushlightuserdata(lua, &t);
        int code = lua_pcall(lua, 1, 0, 0);
        if (code != LUA_OK) {
            const char *message = lua_tostring(lua, -1);
            status = tmac_fail(code == LUA_ERRMEM ? TMAC_OUT_OF_MEMORY : TMAC_BAD_FILE, "%s",
                               message ? message : "an error without a message");
        }
        lua_close(lua);
    } else {
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    }
    if (status.code != TMAC_OK) {
        tmac_output_abort(&output);
        return status;
    }
    const uint64_t bytes = output.offset - count;
    TMAC_TRY(tmac_output_commit(&output));
    printf("%llu texts, %llu bytes: %.6f nats a text, %.6f a byte\n", (unsigned long long)count,
           (unsigned long long)bytes, t.nats / (double)count, t.nats / (double)bytes);
    return tmac_ok();
}

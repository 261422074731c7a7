#include "train/state.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static const char MAGIC[8] = "TMTRAIN1";

typedef struct header {
    char magic[8];
    tmac_recipe recipe;
    uint8_t texts[TMAC_HASH_BYTES];
    uint64_t step, tokens, point_count, parameters;
    double seconds, cpu_seconds;
} header;

tmac_status tmac_state_new(size_t parameters, tmac_train_state *state)
{
    memset(state, 0, sizeof *state);
    state->parameters = parameters;
    tmac_status status = tmac_pages_map(3 * parameters * sizeof(float), &state->pages);
    if (status.code != TMAC_OK)
        return tmac_prefix(status, "%zu MB for parameters and moments",
                           3 * parameters * sizeof(float) >> 20);
    state->weights = state->pages.data;
    state->first = state->weights + parameters;
    state->second = state->first + parameters;
    return tmac_ok();
}

void tmac_state_free(tmac_train_state *state)
{
    free(state->points);
    tmac_pages_unmap(&state->pages);
    memset(state, 0, sizeof *state);
}

tmac_status tmac_state_add_point(tmac_train_state *state, const tmac_curve_point *point)
{
    if (state->point_count == state->point_room) {
        uint64_t room = 2 * state->point_room + 64;
        tmac_curve_point *moved = realloc(state->points, room * sizeof *moved);
        if (!moved) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
        state->points = moved;
        state->point_room = room;
    }
    state->points[state->point_count++] = *point;
    return tmac_ok();
}

static header make_header(const tmac_train_state *state, const tmac_recipe *recipe,
                          const uint8_t *texts)
{
    header h;
    memset(&h, 0, sizeof h); // padding too: the recipe is compared as bytes
    memcpy(h.magic, MAGIC, sizeof h.magic);
    memcpy(&h.recipe, recipe, sizeof h.recipe);
    memcpy(h.texts, texts, sizeof h.texts);
    h.step = state->step;
    h.tokens = state->tokens;
    h.point_count = state->point_count;
    h.parameters = state->parameters;
    h.seconds = state->seconds;
    h.cpu_seconds = state->cpu_seconds;
    return h;
}

tmac_status tmac_state_write(const tmac_train_state *state, const tmac_recipe *recipe,
                             const uint8_t texts[TMAC_HASH_BYTES], const char *path)
{
    const header h = make_header(state, recipe, texts);
    const struct {
        const void *data;
        size_t bytes;
    } parts[] = {
        {&h, sizeof h},
        {state->points, state->point_count * sizeof *state->points},
        {state->weights, 3 * state->parameters * sizeof(float)},
    };
    tmac_output output;
    TMAC_TRY(tmac_output_open(path, &output));
    tmac_hash_state hash;
    tmac_hash_begin(&hash);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        tmac_hash_add(&hash, parts[i].data, parts[i].bytes);
        tmac_output_write(&output, parts[i].data, parts[i].bytes);
    }
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash_end(&hash, digest);
    tmac_output_write(&output, digest, sizeof digest);
    return tmac_output_commit(&output);
}

static tmac_status take(tmac_train_state *state, const header *wanted, const tmac_map *map)
{
    if (map->bytes < sizeof(header) + TMAC_HASH_BYTES ||
        memcmp(map->data, MAGIC, sizeof MAGIC) != 0)
        return tmac_fail(TMAC_BAD_FILE, "is no checkpoint of tmac-train");
    header h;
    memcpy(&h, map->data, sizeof h);
    if (memcmp(&h.recipe, &wanted->recipe, sizeof h.recipe) != 0 ||
        h.parameters != wanted->parameters)
        return tmac_fail(TMAC_UNSUPPORTED, "was made with other options; give the same ones to "
                                           "resume, or --fresh to start over");
    if (memcmp(h.texts, wanted->texts, sizeof h.texts) != 0)
        return tmac_fail(TMAC_UNSUPPORTED, "was made with another text, vocabulary, initial model "
                                           "or teacher; --fresh starts over");
    const size_t rest = map->bytes - sizeof h - TMAC_HASH_BYTES,
                 numbers = 3 * state->parameters * sizeof(float);
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash(map->data, map->bytes - TMAC_HASH_BYTES, digest);
    if (rest < numbers || (rest - numbers) / sizeof *state->points != h.point_count ||
        (rest - numbers) % sizeof *state->points != 0 ||
        memcmp(digest, map->data + map->bytes - TMAC_HASH_BYTES, sizeof digest) != 0)
        return tmac_fail(TMAC_BAD_FILE, "is damaged; --fresh starts over");
    const uint8_t *from = map->data + sizeof h;
    for (uint64_t i = 0; i < h.point_count; i++, from += sizeof *state->points) {
        tmac_curve_point point;
        memcpy(&point, from, sizeof point);
        TMAC_TRY(tmac_state_add_point(state, &point));
    }
    memcpy(state->weights, from, numbers);
    state->step = h.step;
    state->tokens = h.tokens;
    state->seconds = h.seconds;
    state->cpu_seconds = h.cpu_seconds;
    return tmac_ok();
}

tmac_status tmac_state_read(tmac_train_state *state, const tmac_recipe *recipe,
                            const uint8_t texts[TMAC_HASH_BYTES], const char *path)
{
    if (access(path, F_OK) != 0) return tmac_fail(TMAC_NOT_FOUND, "%s: no such file", path);
    tmac_map map;
    TMAC_TRY(tmac_map_open(path, &map));
    const header wanted = make_header(state, recipe, texts);
    tmac_status status = take(state, &wanted, &map);
    tmac_map_close(&map);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", path);
}

// Hugging Face folders as strangers write them: several files, other names, base-3 digits, floats that are ternary at
// inference. All made from one folder that convert/huggingface_write.c wrote, and compared with it.
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/neutral.h"
#include "tests/unit/tiny.h"

typedef enum change {
    SHARDED,
    ONE_BIT_LLM,
    WRINKLE_FREE,
    BASE3_ROWS,
    BASE3_FLAT,
    ONLINE,
    CHANGES,
    EITHER_WAY // every byte of packed tensors is 16
} change;

static const char *const files[] = {"model-1.safetensors", "model-2.safetensors"};

static void in_folder(char path[160], const char *folder, const char *name)
{
    snprintf(path, 160, "%s/%s", folder, name);
}

// What the tensor is called by 1bitLLM and in older WrinkleFree checkpoints.
static void rename_to(change how, const char *name, char renamed[160])
{
    static const struct {
        change how;
        const char *from, *to;
    } names[] = {{ONE_BIT_LLM, "self_attn.attn_sub_norm", "self_attn.inner_attn_ln"},
                 {ONE_BIT_LLM, "mlp.ffn_sub_norm", "mlp.ffn_layernorm"},
                 {WRINKLE_FREE, "self_attn.attn_sub_norm", "self_attn.o_proj.0"},
                 {WRINKLE_FREE, "mlp.ffn_sub_norm", "mlp.down_proj.0"},
                 {WRINKLE_FREE, "self_attn.o_proj", "self_attn.o_proj.1"},
                 {WRINKLE_FREE, "mlp.down_proj", "mlp.down_proj.1"}};
    snprintf(renamed, 160, "%s", name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *at = strstr(name, names[i].from);
        if (names[i].how != how || !at) continue;
        snprintf(renamed, 160, "%.*s%s%s", (int)(at - name), name, names[i].to,
                 at + strlen(names[i].from));
        return;
    }
}

// The codes of a packed tensor as base-3 digits, in one order or the other.
static void to_base3(change how, const uint8_t *from, size_t rows, size_t columns, uint8_t *to)
{
    static const uint8_t powers[] = {1, 3, 9, 27};
    memset(to, 0, rows * columns);
    for (size_t r = 0; r < 4 * rows; r++)
        for (size_t c = 0; c < columns; c++) {
            uint32_t code = ((uint32_t)from[r % rows * columns + c] >> r / rows * 2) & 3u;
            size_t element = r * columns + c;
            if (how == BASE3_ROWS)
                to[r % rows * columns + c] =
                    (uint8_t)(to[r % rows * columns + c] + code * powers[r / rows]);
            else
                to[element / 4] = (uint8_t)(to[element / 4] + code * powers[element % 4]);
        }
}

// Floats that a mean of magnitudes rounds back to the codes: none of them alike.
static void to_floats(const uint8_t *from, size_t rows, size_t columns, float *to)
{
    for (size_t r = 0; r < 4 * rows; r++)
        for (size_t c = 0; c < columns; c++) {
            int code = (int)(((uint32_t)from[r % rows * columns + c] >> r / rows * 2) & 3u) - 1;
            *to++ = (float)code * 0.05f + 0.001f * (float)((r + c) % 3 + 1);
        }
}

typedef struct output {
    json_t *header;
    tiny_file data;
} output;

static void add(output *to, const char *name, const char *type, size_t rows, size_t columns,
                const void *data, size_t bytes)
{
    json_t *shape = columns ? json_pack("[I,I]", (json_int_t)rows, (json_int_t)columns)
                            : json_pack("[I]", (json_int_t)rows);
    json_object_set_new(to->header, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", type, "shape", shape,
                                  "data_offsets", (json_int_t)to->data.bytes,
                                  (json_int_t)to->data.bytes + (json_int_t)bytes));
    tiny_put(&to->data, data, bytes);
}

static void add_changed(change how, output *to, const char *name, json_t *entry,
                        const uint8_t *data)
{
    const json_t *shape = json_object_get(entry, "shape"),
                 *offsets = json_object_get(entry, "data_offsets");
    const char *type = json_string_value(json_object_get(entry, "dtype"));
    size_t rows = (size_t)json_integer_value(json_array_get(shape, 0));
    size_t columns = (size_t)json_integer_value(json_array_get(shape, 1));
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t bytes = (size_t)json_integer_value(json_array_get(offsets, 1)) - begin;
    char renamed[160];
    rename_to(how, name, renamed);
    bool packed = strcmp(type, "U8") == 0;
    if (how == ONLINE && strstr(name, "weight_scale")) return;
    void *copy = malloc(bytes * 16);
    cr_assert_not_null(copy);
    if (packed && (how == BASE3_ROWS || how == BASE3_FLAT)) {
        to_base3(how, data + begin, rows, columns, copy);
        add(to, renamed, type, rows, columns, copy, bytes);
    } else if (packed && how == EITHER_WAY) {
        memset(copy, 16, bytes);
        add(to, renamed, type, rows, columns, copy, bytes);
    } else if (packed && how == ONLINE) {
        to_floats(data + begin, rows, columns, copy);
        add(to, renamed, "F32", 4 * rows, columns, copy, bytes * 16);
    } else {
        add(to, renamed, type, rows, columns, data + begin, bytes);
    }
    free(copy);
}

// Writes the changed folder's two files and their index over the folder's one.
static void rebuild(const char *folder, change how)
{
    char path[160];
    tmac_map map;
    uint64_t length;
    in_folder(path, folder, "model.safetensors");
    cr_assert_eq(tmac_map_open(path, &map).code, TMAC_OK);
    memcpy(&length, map.data, sizeof length);
    json_t *header = json_loadb((const char *)map.data + 8, length, 0, NULL);
    json_t *index = json_object();
    output to[2] = {{json_object(), {0}}, {json_object(), {0}}};
    const char *name;
    json_t *entry;
    size_t seen = 0;
    json_object_foreach(header, name, entry)
    {
        char renamed[160];
        if (name[0] == '_') continue;
        size_t part = seen++ % 2;
        add_changed(how, &to[part], name, entry, map.data + 8 + length);
        rename_to(how, name, renamed);
        if (json_object_get(to[part].header, renamed))
            json_object_set_new(index, renamed, json_string(files[part]));
    }
    for (int part = 0; part < 2; part++) {
        char *text = json_dumps(to[part].header, JSON_COMPACT);
        tiny_file whole = {0};
        uint64_t bytes = strlen(text);
        tiny_put(&whole, &bytes, sizeof bytes);
        tiny_put(&whole, text, bytes);
        tiny_put(&whole, to[part].data.data, to[part].data.bytes);
        in_folder(path, folder, files[part]);
        tiny_write(&whole, path);
        tiny_free(&whole);
        tiny_free(&to[part].data);
        json_decref(to[part].header);
        free(text);
    }
    in_folder(path, folder, "model.safetensors.index.json");
    json_t *root = json_pack("{s:o}", "weight_map", index);
    cr_assert_eq(json_dump_file(root, path, 0), 0);
    json_decref(root);
    json_decref(header);
    tmac_map_close(&map);
}

static void remove_folder(const char *folder)
{
    static const char *const names[] = {"config.json",         "generation_config.json",
                                        "model.safetensors",   "model.safetensors.index.json",
                                        "model-1.safetensors", "model-2.safetensors"};
    char path[160];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        in_folder(path, folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

static void same_codes(const tmac_source *a, const tmac_source *b, bool scales)
{
    for (uint32_t l = 0; l < a->layer_count; l++)
        for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
            const tmac_matrix *m = tmac_layer_part(a, l, (tmac_part_of_layer)p);
            const tmac_matrix *n = tmac_layer_part(b, l, (tmac_part_of_layer)p);
            int8_t left[256], right[256];
            cr_assert(n->number == TMAC_TERNARY && n->scale_count == 1);
            cr_assert(!scales || m->scales[0] == n->scales[0]);
            for (uint32_t r = 0; r < m->rows; r++) {
                m->read_codes(m, r, 1, left);
                n->read_codes(n, r, 1, right);
                cr_assert_arr_eq(left, right, m->columns, "%s row %u", m->name, r);
            }
        }
}

Test(convert_folders, as_strangers_write_them)
{
    for (int how = SHARDED; how < CHANGES; how++) {
        char folder[64] = "/tmp/tmac-folder-XXXXXX";
        tmac_synth_shape shape;
        tmac_source plain, source;
        tmac_open_options options = {.base3 =
                                         how == BASE3_FLAT ? TMAC_BASE3_FLAT : TMAC_BASE3_ROWS};
        cr_assert_not_null(mkdtemp(folder));
        cr_assert_eq(tmac_synth_parse("dim=96,hidden=172,layers=2,heads=4,kv_heads=2,vocab=300,"
                                      "context=64,bf16=1",
                                      &shape)
                         .code,
                     TMAC_OK);
        cr_assert_eq(tmac_synth_write_huggingface(&shape, 9, folder).code, TMAC_OK);
        cr_assert_eq(tmac_source_open(folder, NULL, &plain).code, TMAC_OK);
        rebuild(folder, (change)how);
        if (how == BASE3_ROWS || how == BASE3_FLAT) {
            tmac_status refusal = tmac_source_open(folder, NULL, &source);
            cr_assert(strstr(refusal.message, "base-3 digits, whose order"), "%s", refusal.message);
        }
        tmac_status status = tmac_source_open(folder, &options, &source);
        cr_assert_eq(status.code, TMAC_OK, "change %d: %s", how, status.message);
        cr_assert_eq(source.shard_count, 2);
        if (how == SHARDED || how == ONE_BIT_LLM || how == WRINKLE_FREE)
            tiny_assert_same(&plain, &source, true);
        else
            same_codes(&plain, &source, how != ONLINE);
        tmac_source_close(&plain);
        tmac_source_close(&source);
        remove_folder(folder);
    }
}

// Bytes that mean something in both alphabets: which they are is for the user to say, and any answer is taken.
Test(convert_folders, bytes_that_can_be_read_either_way)
{
    static const struct {
        tmac_base3 base3;
        int8_t codes
            [4]; // of the rows of the first column, a quarter of all rows apart, or of the first four columns
    } readings[] = {{TMAC_BASE3_NONE, {-1, -1, 0, -1}}, // 16 = 0b00010000
                    {TMAC_BASE3_ROWS, {0, 1, 0, -1}},   // 16 = 1 + 2 * 3 + 1 * 9
                    {TMAC_BASE3_FLAT, {0, 1, 0, -1}}};
    char folder[64] = "/tmp/tmac-folder-XXXXXX";
    tmac_synth_shape shape;
    tmac_source source;
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(
        tmac_synth_parse("dim=96,hidden=172,layers=1,heads=4,vocab=300,context=64,bf16=1", &shape)
            .code,
        TMAC_OK);
    cr_assert_eq(tmac_synth_write_huggingface(&shape, 9, folder).code, TMAC_OK);
    rebuild(folder, EITHER_WAY);
    tmac_status refusal = tmac_source_open(folder, NULL, &source);
    cr_assert(strstr(refusal.message, "can be read as 2-bit fields and as base-3"), "%s",
              refusal.message);
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++) {
        const tmac_open_options options = {.base3 = readings[i].base3};
        tmac_status status = tmac_source_open(folder, &options, &source);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        const tmac_matrix *up = &source.layers[0].up; // in the file's order of rows
        const bool flat = readings[i].base3 == TMAC_BASE3_FLAT;
        for (uint32_t k = 0; k < 4; k++) {
            int8_t row[96];
            up->read_codes(up, flat ? 0 : k * up->rows / 4, 1, row);
            cr_assert_eq(row[flat ? k : 0], readings[i].codes[k], "reading %zu, weight %u", i, k);
        }
        tmac_source_close(&source);
    }
    remove_folder(folder);
}

// Every format against the same model: what a writer wrote, its reader gives back to the last bit; what only strangers
// write is packed here, byte by byte, from the descriptions.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/gguf_blocks.h"
#include "convert/neutral.h"
#include "runtime/half.h"
#include "tests/unit/tiny.h"

static void synth(const char *text, bool huggingface, const char *path)
{
    tmac_synth_shape shape;
    tmac_status status = tmac_synth_parse(text, &shape);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    status = huggingface ? tmac_synth_write_huggingface(&shape, 9, path)
                         : tmac_synth_write(&shape, 9, path);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
}

static tmac_source opened(const char *path)
{
    tmac_source source;
    tmac_status status = tmac_source_open(path, NULL, &source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    return source;
}

// --------------------------------------------------------------------------------------------------- GGUF written here

Test(convert_formats, gguf_of_every_type_is_the_same_model)
{
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "i2_s"};
    char from[64], to[64], note[TMAC_NOTE_BYTES];
    tiny_path(from);
    tiny_path(to);
    synth("dim=256,hidden=512,layers=1,heads=4,kv_heads=2,vocab=300,context=64", false, from);
    tmac_source source = opened(from);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        tmac_status status = tmac_gguf_write(&source, to, types[i], note);
        cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
        cr_assert(strstr(note, "known to bitnet.cpp"), "%s", note);
        tmac_source back = opened(to);
        bool ternary = i >= 4;
        cr_assert_str_eq(back.architecture, "bitnet");
        for (uint32_t r = 0; r < source.vocab && ternary; r++) {
            float a[256], b[256];
            source.embedding.read_float(&source.embedding, r, 1, a);
            back.embedding.read_float(&back.embedding, r, 1, b);
            cr_assert_arr_eq(a, b, sizeof a);
        }
        if (ternary || i == 0) tiny_assert_same(&source, &back, true);
        for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
            const tmac_matrix *a = tmac_layer_part(&source, 0, (tmac_part_of_layer)p);
            const tmac_matrix *b = tmac_layer_part(&back, 0, (tmac_part_of_layer)p);
            int8_t left[512], right[512];
            cr_assert_eq(b->number, TMAC_TERNARY, "%s %s", types[i], b->name);
            cr_assert(b->scale_count == 1 && a->scales[0] == b->scales[0], "%s", types[i]);
            for (uint32_t r = 0; r < a->rows; r++) {
                a->read_codes(a, r, 1, left);
                b->read_codes(b, r, 1, right);
                cr_assert_arr_eq(left, right, a->columns, "%s %s", types[i], a->name);
            }
        }
        tmac_source_close(&back);
    }
    tmac_source_close(&source);
    unlink(from);
    unlink(to);
}

Test(convert_formats, gguf_falls_back_or_refuses)
{
    char from[64], to[64], note[TMAC_NOTE_BYTES];
    tiny_path(from);
    tiny_path(to);
    synth("dim=96,hidden=172,layers=1,heads=4,vocab=300,context=64", false, from);
    tmac_source source = opened(from);
    static const char *const blocks[] = {"tq1_0", "q8_0"};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        cr_assert_eq(tmac_gguf_write(&source, to, blocks[i], note).code, TMAC_OK);
        cr_assert(strstr(note, "falling back to f16"), "%s", note);
        cr_assert(strstr(note, "; the architecture bitnet-b1.58 is known to"), "%s", note);
        tmac_source back = opened(to);
        tiny_assert_same(&source, &back, false);
        tmac_source_close(&back);
    }
    cr_assert_eq(tmac_gguf_write(&source, to, "q2_k", note).code, TMAC_USAGE);
    tmac_source_close(&source);
    tiny_shape small = {16, 24, 1, 4, 2, 10, 4};
    tiny_file floats = tiny_llama2c(&small, false, false);
    cr_assert_eq(tiny_open(&floats, NULL, &source).code, TMAC_OK);
    tmac_status status = tmac_gguf_write(&source, to, "i2_s", note);
    cr_assert(strstr(status.message, "is not ternary") && strstr(status.message, "garbage"), "%s",
              status.message);
    tmac_source_close(&source);
    tiny_free(&floats);
    unlink(from);
    unlink(to);
}

// ------------------------------------------------------------------------------------------------------ GGUF's types

enum { ROWS = 8, COLUMNS = 256 };

static int code_at(uint32_t row, uint32_t column)
{
    uint32_t mixed = (row * 977u + column) * 2654435761u;
    mixed ^= mixed >> 15;
    return (int)(mixed * 2246822519u >> 8) % 3 - 1;
}

static float scale_at(uint32_t row)
{
    return 0.25f + 0.125f * (float)row; // exact in f16
}

static void put_half(uint8_t *to, float value)
{
    uint16_t half = tmac_f32_to_f16(value);
    memcpy(to, &half, 2);
}

static void expect(uint32_t type, const uint8_t *data, bool row_scales)
{
    tmac_source source;
    tmac_map nothing = {0};
    tmac_source_begin(&source, "", "", &nothing);
    tmac_matrix matrix = {.name = "m", .rows = ROWS, .columns = COLUMNS};
    tmac_gguf_tensor tensor = {.name = {"m", 1},
                               .dimensions = 2,
                               .extent = {COLUMNS, ROWS, 1, 1},
                               .type = type,
                               .data = data};
    tmac_status status =
        tmac_gguf_integer_matrix(&source, &matrix, &tensor, 1.0f, TMAC_I2S_CANONICAL, 0);
    cr_assert_eq(status.code, TMAC_OK, "type %u: %s", type, status.message);
    cr_assert_eq(matrix.number, TMAC_TERNARY);
    cr_assert_eq(matrix.scale_count, row_scales ? ROWS : 1);
    for (uint32_t r = 0; r < ROWS; r++) {
        int8_t codes[COLUMNS];
        matrix.read_codes(&matrix, r, 1, codes);
        cr_assert(!row_scales || matrix.scales[r] == scale_at(r), "type %u row %u", type, r);
        for (uint32_t c = 0; c < COLUMNS; c++)
            cr_assert_eq(codes[c], code_at(r, c), "type %u: %u, %u", type, r, c);
    }
    tmac_source_close(&source);
}

Test(convert_formats, iq1_bn)
{
    static uint8_t data[ROWS * (2 + COLUMNS / 64 * 13)];
    uint8_t *to = data;
    for (uint32_t r = 0; r < ROWS; r++) {
        put_half(to, scale_at(r));
        to += 2;
        for (uint32_t c = 0; c < COLUMNS; c += 64, to += 13) {
            static const uint32_t powers[] = {1, 3, 9, 27, 81};
            uint32_t last = 0;
            for (uint32_t part = 0; part < 4; part++) {
                for (uint32_t k = 0; k < 3; k++) {
                    uint32_t index = 0;
                    for (uint32_t j = 0; j < 5; j++)
                        index += powers[j] * (uint32_t)(code_at(r, c + 16 * part + 5 * k + j) + 1);
                    to[3 * part + k] = (uint8_t)((256 * index + 242) / 243);
                }
                last += powers[part] * (uint32_t)(code_at(r, c + 16 * part + 15) + 1);
            }
            to[12] = (uint8_t)((256 * last + 242) / 243);
        }
    }
    expect(TMAC_GGUF_TYPE_IQ1_BN, data, true);
}

Test(convert_formats, iq2_bn_alone_and_four_rows_together)
{
    static uint8_t plain[ROWS * (4 + COLUMNS / 4)], four[ROWS * (4 + COLUMNS / 4)];
    memset(four, 0, sizeof four);
    memset(plain, 0, sizeof plain);
    for (uint32_t r = 0; r < ROWS; r++) {
        uint8_t *row = plain + r * (4 + COLUMNS / 4);
        uint8_t *group = four + r / 4 * (16 + COLUMNS);
        float scale = scale_at(r);
        memcpy(row, &scale, 4);
        memcpy(group + 4 * (r % 4), &scale, 4);
        for (uint32_t c = 0; c < COLUMNS; c++) {
            uint32_t code = (uint32_t)(code_at(r, c) + 1), in = c % 64, l = in / 16;
            row[4 + c / 64 * 16 + in % 16] |= (uint8_t)(code << 2 * l);
            group[16 + c / 64 * 64 + 4 * (r % 4) + in % 4 + 16 * l] |=
                (uint8_t)(code << in % 16 / 4 * 2);
        }
    }
    expect(TMAC_GGUF_TYPE_IQ2_BN, plain, true);
    expect(TMAC_GGUF_TYPE_IQ2_BN_R4, four, true);
}

static void pack_q2(uint8_t *to, uint32_t group)
{
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < COLUMNS; c += group, to += 2 + group / 4) {
            put_half(to, scale_at(r));
            memset(to + 2, 0, group / 4);
            for (uint32_t j = 0; j < group; j++)
                to[2 + j / 4] |= (uint8_t)((code_at(r, c + j) + 1) << 2 * (j % 4));
        }
}

Test(convert_formats, q2_0_in_both_group_sizes_and_with_a_two)
{
    static uint8_t data[ROWS * COLUMNS / 64 * 18];
    pack_q2(data, 128);
    expect(TMAC_GGUF_TYPE_PQ2_0, data, true);
    pack_q2(data, 64);
    expect(TMAC_GGUF_TYPE_Q2_0, data, true);

    data[2] |= 3; // weight 0 is +2: no longer ternary
    tmac_source source;
    tmac_map nothing = {0};
    tmac_source_begin(&source, "", "", &nothing);
    tmac_matrix matrix = {.name = "m", .rows = ROWS, .columns = COLUMNS};
    tmac_gguf_tensor tensor = {
        .extent = {COLUMNS, ROWS, 1, 1}, .type = TMAC_GGUF_TYPE_Q2_0, .data = data};
    int8_t codes[COLUMNS];
    cr_assert_eq(
        tmac_gguf_integer_matrix(&source, &matrix, &tensor, 1.0f, TMAC_I2S_CANONICAL, 0).code,
        TMAC_OK);
    cr_assert_eq(matrix.number, TMAC_Q2);
    matrix.read_codes(&matrix, 0, 1, codes);
    cr_assert_eq((float)codes[0] * matrix.scales[0], 2.0f * scale_at(0));
    for (uint32_t c = 1; c < COLUMNS; c++)
        cr_assert_eq((float)codes[c] * matrix.scales[0], (float)code_at(0, c) * scale_at(0));
    tmac_source_close(&source);
}

Test(convert_formats, i2_s_layouts)
{
    static uint8_t neon[ROWS * COLUMNS / 4 + 32], x86[ROWS * COLUMNS / 4 + 32];
    float scale = 0.75f;
    memset(neon, 0, sizeof neon);
    memset(x86, 0, sizeof x86);
    memcpy(neon + ROWS * COLUMNS / 4, &scale, 4);
    memcpy(x86 + ROWS * COLUMNS / 4, &scale, 4);
    for (uint32_t r = 0; r < ROWS; r++)
        for (uint32_t c = 0; c < COLUMNS; c++) {
            uint32_t e = r * COLUMNS + c, code = (uint32_t)(code_at(r, c) + 1);
            neon[e / 64 * 16 + e % 16] |= (uint8_t)(code << (6 - 2 * (e % 64 / 16)));
            x86[r / 4 * COLUMNS + c] |= (uint8_t)(code << (6 - 2 * (r % 4)));
        }
    for (int layout = TMAC_I2S_NEON64; layout <= TMAC_I2S_X86X4; layout++) {
        tmac_source source;
        tmac_map nothing = {0};
        tmac_source_begin(&source, "", "", &nothing);
        tmac_matrix matrix = {.name = "m", .rows = ROWS, .columns = COLUMNS};
        tmac_gguf_tensor tensor = {.extent = {COLUMNS, ROWS, 1, 1},
                                   .type = TMAC_GGUF_TYPE_I2_S,
                                   .data = layout == TMAC_I2S_NEON64 ? neon : x86};
        cr_assert_eq(
            tmac_gguf_integer_matrix(&source, &matrix, &tensor, 2.0f, (tmac_i2s_layout)layout, 0)
                .code,
            TMAC_OK);
        cr_assert_eq(matrix.scales[0], 1.5f);
        for (uint32_t r = 0; r < ROWS; r++) {
            int8_t codes[COLUMNS];
            matrix.read_codes(&matrix, r, 1, codes);
            for (uint32_t c = 0; c < COLUMNS; c++)
                cr_assert_eq(codes[c], code_at(r, c), "layout %d: %u, %u", layout, r, c);
        }
        tmac_source_close(&source);
    }
}

// One block of each float type whose numbers can be told by hand.
Test(convert_formats, float_blocks)
{
    static uint8_t q4_0[18], q8_0[34], q4_k[144], q6_k[210];
    put_half(q4_0, 0.5f);
    put_half(q8_0, 0.5f);
    for (uint32_t i = 0; i < 16; i++)
        q4_0[2 + i] = (uint8_t)(i | (15 - i) << 4);
    for (uint32_t i = 0; i < 32; i++)
        q8_0[2 + i] = (uint8_t)(int8_t)((int)i * 8 - 128);
    put_half(q4_k, 0.5f);
    put_half(q4_k + 2, 0.25f);
    for (uint32_t j = 0; j < 4;
         j++) { // scales j + 33, minima j + 21; of the upper four j + 50 and j + 44
        q4_k[4 + j] = (uint8_t)((j + 33) | (j + 50) >> 4 << 6);
        q4_k[8 + j] = (uint8_t)((j + 21) | (j + 44) >> 4 << 6);
        q4_k[12 + j] = (uint8_t)(((j + 50) & 15) | ((j + 44) & 15) << 4);
    }
    for (uint32_t i = 0; i < 128; i++)
        q4_k[16 + i] = (uint8_t)(i % 16 | (15 - i % 16) << 4);
    put_half(q6_k + 208, 0.5f);
    for (uint32_t i = 0; i < 16; i++)
        q6_k[192 + i] = (uint8_t)(int8_t)((int)i - 8);
    for (uint32_t e = 0; e < 256; e++) { // element e is e % 64 - 32
        uint32_t half = e / 128, quarter = e % 128 / 32, l = e % 32, q = e % 64;
        q6_k[64 * half + l + 32 * (quarter % 2)] |= (uint8_t)((q & 15) << 4 * (quarter / 2));
        q6_k[128 + 32 * half + l] |= (uint8_t)(q >> 4 << 2 * quarter);
    }
    const struct {
        uint32_t type, columns;
        const uint8_t *data;
    } blocks[] = {{TMAC_GGUF_TYPE_Q4_0, 32, q4_0},
                  {TMAC_GGUF_TYPE_Q8_0, 32, q8_0},
                  {TMAC_GGUF_TYPE_Q4_K, 256, q4_k},
                  {TMAC_GGUF_TYPE_Q6_K, 256, q6_k}};
    for (uint32_t b = 0; b < 4; b++) {
        float values[256];
        tmac_matrix matrix = {.rows = 1, .columns = blocks[b].columns};
        tmac_gguf_tensor tensor = {
            .extent = {blocks[b].columns, 1, 1, 1}, .type = blocks[b].type, .data = blocks[b].data};
        tmac_gguf_float_matrix(&matrix, &tensor, 0);
        matrix.read_float(&matrix, 0, 1, values);
        for (uint32_t i = 0; i < blocks[b].columns; i++) {
            uint32_t j = i / 32, nibble = j % 2 ? 15 - i % 16 : i % 16;
            float step = (float)(j < 4 ? j + 33 : j - 4 + 50),
                  low = (float)(j < 4 ? j + 21 : j - 4 + 44);
            float want = b == 0   ? 0.5f * (float)((int)(i < 16 ? i : 31 - i) - 8)
                         : b == 1 ? 0.5f * (float)((int)i * 8 - 128)
                         : b == 2 ? 0.5f * step * (float)nibble - 0.25f * low
                                  : 0.5f * (float)((int)(i / 16) - 8) * (float)((int)(i % 64) - 32);
            cr_assert_eq(values[i], want, "type %u, %u: %g, not %g", blocks[b].type, i,
                         (double)values[i], (double)want);
        }
    }
}

// ------------------------------------------------------------------------------------------------- Hugging Face folders

static void folder_path(char path[64])
{
    strcpy(path, "/tmp/tmac-folder-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
}

static void remove_folder(const char *path)
{
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors", "model-1.safetensors",
                                        "model.safetensors.index.json"};
    char file[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]);
        unlink(file);
    }
    rmdir(path);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *stream = fopen(path, "wb");
    cr_assert_not_null(stream);
    cr_assert(fputs(text, stream) >= 0);
    fclose(stream);
}

Test(convert_formats, huggingface_folder_is_the_same_model)
{
    static const char *const shapes[] = {
        "dim=96,hidden=172,layers=2,heads=4,kv_heads=2,vocab=300,context=64,bf16=1",
        "dim=96,hidden=172,layers=2,heads=4,kv_heads=2,vocab=300,context=64,bitnet=0,bias=1,tied=0",
        ("dim=96,hidden=172,layers=2,heads=4,kv_heads=2,vocab=300,context=64,bitnet=0,head_norms=1,"
         "head_dim=32")};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char plain[64], folder[64];
        tiny_path(plain);
        folder_path(folder);
        synth(shapes[i], false, plain);
        synth(shapes[i], true, folder);
        tmac_source a = opened(plain), b = opened(folder);
        for (uint32_t l = 0; l < a.layer_count; l++)
            for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
                const tmac_matrix *m = tmac_layer_part(&a, l, (tmac_part_of_layer)p);
                const tmac_matrix *n = tmac_layer_part(&b, l, (tmac_part_of_layer)p);
                int8_t left[256], right[256];
                // The folder's scales are bf16.
                cr_assert_float_eq(m->scales[0], n->scales[0], m->scales[0] / 128);
                for (uint32_t r = 0; r < m->rows; r++) {
                    m->read_codes(m, r, 1, left);
                    n->read_codes(n, r, 1, right);
                    cr_assert_arr_eq(left, right, m->columns, "%s row %u", m->name, r);
                }
                if (p > TMAC_LAYER_VALUE || !a.layers[l].extras.bias[p]) continue;
                cr_assert_arr_eq(a.layers[l].extras.bias[p], b.layers[l].extras.bias[p],
                                 m->rows * sizeof(float));
            }
        cr_assert_eq(a.layers[0].extras.query_norm == NULL, b.layers[0].extras.query_norm == NULL);
        if (a.layers[0].extras.query_norm)
            cr_assert_arr_eq(a.layers[0].extras.query_norm, b.layers[0].extras.query_norm,
                             a.head_dim * sizeof(float));
        cr_assert_eq(a.activation, b.activation);
        cr_assert_str_eq(a.architecture, b.architecture);
        tmac_source_close(&a);
        tmac_source_close(&b);
        unlink(plain);
        remove_folder(folder);
    }
}

static void refused(const char *folder, const char *reason)
{
    tmac_source source;
    tmac_status status = tmac_source_open(folder, NULL, &source);
    cr_assert_neq(status.code, TMAC_OK, "expected: %s", reason);
    cr_assert(strstr(status.message, reason), "expected: %s; got: %s", reason, status.message);
    cr_assert(!source.owned && !source.shards);
}

#define CONFIG(more)                                                                               \
    "{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":4,\"intermediate_size\":4," \
    "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"max_position_embeddings\":8,"             \
    "\"vocab_size\":2" more "}"

Test(convert_formats, huggingface_refusals)
{
    static const struct {
        const char *config, *reason;
    } configs[] = {
        {"{", "config.json: line 1"},
        {"{\"model_type\":\"mamba\"}", "architecture mamba is not supported; bitnet, llama"},
        {CONFIG(",\"hidden_act\":\"gelu\""), "duplicate"},
        {"{\"model_type\":\"llama\",\"hidden_size\":4}", "intermediate_size is missing"},
        {CONFIG(",\"rope_scaling\":{\"type\":\"dynamic\"}"), "RoPE scaling dynamic"},
        {CONFIG(",\"partial_rotary_factor\":0.5"), "part of a head"},
        {CONFIG(",\"use_sliding_window\":true"), "window"},
        {CONFIG(",\"quantization_config\":{\"quant_method\":\"gptq\"}"), "quantization by gptq"},
        {CONFIG(",\"quantization_config\":{\"quant_method\":\"bitnet\",\"use_rms_norm\":true}"),
         "norm inside every linear layer"},
        {CONFIG(""), "no model weights"},
    };
    char folder[64];
    folder_path(folder);
    refused(folder, "config.json not found");
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        write_text(folder, "config.json", configs[i].config);
        refused(folder, configs[i].reason);
    }
    static const struct {
        const char *header, *reason;
    } headers[] = {
        {"[]", "header makes no sense"},
        {"{x}", "not a JSON object"},
        {"{\"a\":{\"dtype\":\"U9\",\"shape\":[1],\"data_offsets\":[0,1]}}", "dtype U9"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}", "truncated"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,2]}}", "its shape needs 1"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "the data has 4"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}}", "absurd"},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}",
         "embed_tokens.weight is missing"},
    };
    write_text(folder, "config.json", CONFIG(""));
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char path[128];
        uint64_t length = strlen(headers[i].header);
        snprintf(path, sizeof path, "%s/model.safetensors", folder);
        FILE *stream = fopen(path, "wb");
        cr_assert_not_null(stream);
        fwrite(&length, 8, 1, stream);
        fwrite(headers[i].header, 1, length, stream);
        fwrite("data", 1, 4, stream);
        fclose(stream);
        refused(folder, headers[i].reason);
    }
    write_text(folder, "model.safetensors.index.json",
               "{\"weight_map\":{\"a\":\"../model.safetensors\"}}");
    refused(folder, "no proper file");
    write_text(folder, "model.safetensors.index.json",
               "{\"weight_map\":{\"b\":\"model.safetensors\"}}");
    refused(folder, "tensor b, which the index puts into model.safetensors, is not there");
    remove_folder(folder);
}

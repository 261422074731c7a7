// Bad model files: each is refused with a message that says what is wrong, and nothing crashes, hangs or leaks.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"
#include "tests/unit/tiny.h"

static const tiny_shape small = {16, 24, 1, 4, 2, 10, 4};
static const tmac_open_options msb = {.bit_order = TMAC_BIT_ORDER_MSB};

enum { KINDS = 5 };

// One valid file of each format.
static tiny_file valid(int kind)
{
    switch (kind) {
    case 0:
        return tiny_llama2c(&small, false, true);
    case 1:
        return tiny_bitllama(&small, true);
    case 2:
        return tiny_gguf(&small, "bitnet", 36);
    case 3:
        return tiny_gguf(&small, "llama", 0);
    default:
        break;
    }
    tiny_file file = {0};
    tmac_synth_shape shape;
    char path[64];
    tmac_map map;
    tiny_path(path);
    cr_assert_eq(
        tmac_synth_parse("dim=8,hidden=12,layers=1,heads=2,vocab=9,context=4,bf16=1", &shape).code,
        TMAC_OK);
    cr_assert_eq(tmac_synth_write(&shape, 3, path).code, TMAC_OK);
    cr_assert_eq(tmac_map_open(path, &map).code, TMAC_OK);
    tiny_put(&file, map.data, map.bytes);
    tmac_map_close(&map);
    unlink(path);
    return file;
}

// The file is refused, and the message has this in it. Takes the file over.
static void refused(tiny_file file, const tmac_open_options *options, const char *reason)
{
    tmac_source source;
    tmac_status status = tiny_open(&file, options, &source);
    cr_assert_neq(status.code, TMAC_OK, "expected: %s", reason);
    cr_assert(strstr(status.message, reason), "expected: %s; got: %s", reason, status.message);
    cr_assert(strstr(status.message, "/tmp/tmac-tiny-") == status.message, "%s", status.message);
    cr_assert(!source.owned && !source.map.data && !source.vocabulary.pieces);
    tiny_free(&file);
}

// A valid file with four bytes replaced.
static tiny_file changed(int kind, size_t at, uint32_t value)
{
    tiny_file file = valid(kind);
    memcpy(file.data + at, &value, 4);
    return file;
}

Test(bad_models, truncated_anywhere)
{
    for (int kind = 0; kind < KINDS; kind++) {
        tiny_file file = valid(kind);
        tmac_source source;
        size_t whole = file.bytes, step = whole / 150 + 1;
        cr_assert_eq(tiny_open(&file, &msb, &source).code, TMAC_OK);
        tmac_source_close(&source);
        for (size_t bytes = 0; bytes < whole; bytes += bytes < 200 ? 1 : step) {
            file.bytes = bytes;
            tmac_status status = tiny_open(&file, &msb, &source);
            cr_assert_eq(status.code, TMAC_BAD_FILE, "kind %d, %zu bytes: %s", kind, bytes,
                         status.message);
        }
        file.bytes = whole - 1;
        refused(file, &msb, "truncated");
    }
}

Test(bad_models, oversized)
{
    static const char *const reasons[KINDS] = {"should have", "but the file has", "appended",
                                               "appended", "flag"};
    for (int kind = 0; kind < KINDS; kind++) {
        tiny_file file = valid(kind);
        for (int i = 0; i < 16; i++)
            tiny_put(&file, "oversize", 4);
        refused(file, &msb, reasons[kind]);
    }
}

Test(bad_models, headers_that_make_no_sense)
{
    refused((tiny_file){0}, NULL, "is empty");
    refused(changed(0, 0, 0), NULL, "dim");
    refused(changed(0, 0, 0x7fffffff), NULL, "no format we know");
    refused(changed(0, 4, 0x80000000), NULL, "hidden is -2147483648");
    refused(changed(0, 8, 0xffffffff), NULL, "layers is -1");
    refused(changed(0, 12, 3), NULL, "not a multiple of heads");
    refused(changed(0, 16, 3), NULL, "cannot share");
    refused(changed(0, 20, 11), NULL, "should have");
    refused(changed(0, 24, 0x7fffffff), NULL, "context");
    refused(changed(1, 4, 2), &msb, "its group size is 0");
    refused(changed(1, 4, 3), &msb, "version 3 is not supported, 1 and 2 are");
    refused(changed(1, 4, 9), &msb, "version 9");
    refused(changed(1, 36, 7), &msb, "shared head");
    refused(changed(1, 12, 28), &msb, "truncated");
    refused(changed(2, 4, 4), NULL, "GGUF version 4");
    refused(changed(2, 4, 0x03000000), NULL, "big-endian");
    refused(changed(2, 8, 0xffffffff), NULL, "promises");
    refused(changed(2, 12, 0x7fffffff), NULL, "promises");
    refused(changed(2, 16, 0x10000000), NULL, "promises");
    refused(changed(4, 4, 16), NULL, "is not where the extension says");
    refused(changed(4, 0, 0x43414d54), NULL,
            "the tensors do not end where the file does"); // "TMAC"
    refused(changed(4, 0, 0x31563451), NULL,
            "the tensors do not end where the file does"); // "Q4V1"
    refused(changed(4, 0, 0x31563851), NULL,
            "the tensors do not end where the file does"); // "Q8V1"
    static const uint32_t container[] = {0x43414d54, 2, 64, 2, 4, 300, 2, 4, 0, 0};
    tiny_file other = {0};
    tiny_put(&other, container, sizeof container);
    refused(other, NULL, "the other TMAC container");
    tiny_file unknown = {0};
    tiny_put(&unknown, "PK\3\4 this is not a model at all, but a zip", 40);
    refused(unknown, NULL, "no format we know");
}

Test(bad_models, bit_order_is_asked_for)
{
    tiny_file file = valid(1);
    refused(file, NULL, "--bit-order msb");
}

Test(bad_models, llama2c_v1_is_told_apart_by_its_size)
{
    tiny_file file = valid(1);
    size_t weights = 2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 24;
    file.bytes = 256 + 4 * (16 + 10 * 16);
    for (size_t i = 0; i < weights + 2 * 16; i++)
        tiny_put_u32(&file, 0);
    tmac_source source;
    tmac_status status = tiny_open(&file, NULL, &source);
    cr_assert_eq(status.code, TMAC_OK, "%s", status.message);
    cr_assert_str_eq(source.format, "llama2.c v1");
    tmac_source_close(&source);
    tiny_free(&file);
}

Test(bad_models, codes_that_mean_nothing)
{
    tiny_file file = valid(1);
    file.data[256 + 4 * (16 + 160) + 4] = 0x80;
    refused(file, &msb, "blk.0.attn_q holds the code 10");
    file = valid(2);
    file.data[file.bytes - 300 - 4 * (16 + 16 + 24)] = 0xff; // in the codes of ffn_down
    refused(file, NULL, "holds the code 3");
}

// Replaces the first `from` in the file by `to`, of the same length.
static tiny_file renamed(const char *from, const char *to)
{
    tiny_file file = valid(2);
    char *at = memmem(file.data, file.bytes, from, strlen(from));
    cr_assert_not_null(at);
    cr_assert_eq(strlen(from), strlen(to));
    memcpy(at, to, strlen(to));
    return file;
}

Test(bad_models, gguf_names)
{
    refused(renamed("blk.0.ffn_up.weight", "blk.0.ffn_ux.weight"), NULL,
            "tensor blk.0.ffn_up.weight is missing");
    refused(renamed("blk.0.attn_k.weight", "blk.0.attn_q.weight"), NULL,
            "tensor blk.0.attn_q.weight is there twice");
    refused(renamed("bitnet.block_count", "bitnet.block_xount"), NULL,
            "bitnet.block_count is missing");
    refused(renamed("bitnet.block_count", "bitnet.context_len"), NULL,
            "bitnet.block_count is missing");
    refused(renamed("general.architecture", "general.architextura"), NULL,
            "general.architecture is missing");
}

Test(bad_models, gguf_tensors)
{
    // An info is: name, u32 dimensions, u64 columns, u64 rows, u32 type, u64 offset.
    static const char name[] = "blk.0.ffn_up.weight";
    static const struct {
        size_t at;
        uint32_t value;
        const char *reason;
    } cases[] = {
        {0, 9, "9 dimensions"},
        {4, 17, "do not fill whole"},
        {8, 0x10000000, "absurd shape"},
        {12, 25, "do not fill whole"},
        {12, 8, "is 8 x 16, the model needs 24 x 16"},
        {20, 3, "type 3 (Q4_1)"},
        {20, 38, "type TL1, which is not read: its packing follows"},
        {20, 39, "type TL2, which is not read"},
        {20, 143, "Hadamard"},
        {20, 42, "neither of the two forms"},
        {20, 777, "type 777 (unknown)"},
        {24, 33, "no multiple of 32"},
        {24, 0x7fffffe0, "truncated"},
        {28, 0xffffffff, "ends at byte"},
        {4, 0, "absurd shape"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny_file file = valid(2);
        uint8_t *info = memmem(file.data, file.bytes, name, sizeof name - 1);
        cr_assert_not_null(info);
        memcpy(info + sizeof name - 1 + cases[i].at, &cases[i].value, 4);
        refused(file, NULL, cases[i].reason);
    }
}

Test(bad_models, tm2_extensions)
{
    tiny_file file = valid(4);
    size_t trailer = file.bytes - 64;
    tiny_free(&file);
    refused(changed(4, trailer + 8, 3), NULL, "version 3 is newer");
    refused(changed(4, trailer + 16, 1), NULL, "its length does not fit");
    refused(changed(4, trailer + 24, 0x7fffffff), NULL, "its length does not fit");
    refused(changed(4, trailer + 32, 0), NULL, "SHA-256");
    refused(changed(4, trailer - 8, 0x12345678), NULL, "SHA-256");

    char path[64]; // a damaged weight is verify's to find
    tiny_path(path);
    file = valid(4);
    file.data[32 + 1 + 4 * 8 + 20] ^= 1;
    tiny_write(&file, path);
    tmac_status status = tmac_tm2_verify(path);
    cr_assert_eq(status.code, TMAC_BAD_FILE);
    cr_assert(strstr(status.message, "tensor attn_q does not have the SHA-256"), "%s",
              status.message);
    unlink(path);
    tiny_free(&file);
}

Test(bad_models, tm2_in_bitnet_order)
{
    tiny_file file = {0};
    const uint32_t header[] = {8, 12, 2, 2, 2, 0u - 9, 4};
    const uint8_t zeros[64] = {0}, flags[2] = {0, 1};
    tiny_put(&file, "TM2", 4);
    tiny_put(&file, header, sizeof header);
    tiny_put(&file, &flags[1], 1);
    tiny_put_u32(&file, 9);
    tiny_put_u32(&file, 8);
    for (int i = 0; i < 9; i++)
        tiny_put(&file, zeros, 4);
    tiny_put(&file, &flags[0], 1);
    tiny_put(&file, zeros, 32);
    tiny_put(&file, &flags[1], 1);
    tiny_put_u32(&file, 8);
    tiny_put_u32(&file, 8);
    tiny_put(&file, zeros, 32);
    refused(file, NULL, "BitNet order");
}

Test(bad_models, files_that_cannot_be_read)
{
    tmac_source source;
    tmac_status status = tmac_source_open("/tmp", NULL, &source);
    cr_assert(strstr(status.message, "config.json not found"), "%s", status.message);
    status = tmac_source_open("/tmp/no/such/model.bin", NULL, &source);
    cr_assert_eq(status.code, TMAC_NOT_FOUND);
    tmac_source_close(&source);

    tiny_file file = valid(0), pieces = tiny_tokenizer(300); // a model of 10 pieces
    char path[64];
    tiny_path(path);
    tiny_write(&pieces, path);
    tmac_open_options options = {.tokenizer = path};
    status = tiny_open(&file, &options, &source);
    cr_assert(strstr(status.message, "holds 300 pieces, but the model's vocabulary is 10"), "%s",
              status.message);
    unlink(path);
    tiny_free(&file);
    tiny_free(&pieces);
}

static void read_matrix(const tmac_matrix *matrix)
{
    void *row = malloc(matrix->columns * sizeof(float));
    cr_assert_not_null(row);
    for (uint32_t r = 0; r < matrix->rows; r++)
        if (matrix->number == TMAC_TERNARY)
            matrix->read_codes(matrix, r, 1, row);
        else
            matrix->read_float(matrix, r, 1, row);
    free(row);
}

static void read_everything(const tmac_source *source)
{
    read_matrix(&source->embedding);
    read_matrix(&source->head);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_source_layer *layer = &source->layers[l];
        const tmac_matrix *parts[] = {&layer->query, &layer->key, &layer->value, &layer->output,
                                      &layer->gate,  &layer->up,  &layer->down};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            read_matrix(parts[i]);
    }
}

// Random damage: opening must end with a model or a message, and reading what was opened must stay in bounds.
Test(bad_models, mutations)
{
    static const uint32_t interesting[] = {0,          1,          0x7f,  0xff,   0x7fffffff,
                                           0x80000000, 0xffffffff, 0x100, 0x10001};
    tmac_random random = {11};
    char path[64];
    tiny_path(path);
    for (int kind = 0; kind < KINDS; kind++) {
        tiny_file file = valid(kind);
        uint8_t *pristine = malloc(file.bytes);
        memcpy(pristine, file.data, file.bytes);
        for (int round = 0; round < 700; round++) {
            uint32_t changes = 1 + tmac_random_below(&random, 3);
            for (uint32_t i = 0; i < changes; i++) {
                // Headers are where it hurts: half of the changes go to the first and last kilobyte.
                uint32_t near = file.bytes < 1024 ? (uint32_t)file.bytes : 1024;
                size_t at = tmac_random_below(&random, (uint32_t)file.bytes - 4);
                uint32_t where = tmac_random_below(&random, 4),
                         value = interesting[tmac_random_below(&random, 9)];
                if (where == 0) at = tmac_random_below(&random, near - 4);
                if (where == 1) at = file.bytes - near + tmac_random_below(&random, near - 4);
                if (tmac_random_below(&random, 2))
                    file.data[at] ^= (uint8_t)(1u << tmac_random_below(&random, 8));
                else
                    memcpy(file.data + at, &value, 4);
            }
            tiny_write(&file, path);
            tmac_source source;
            tmac_status status = tmac_source_open(path, &msb, &source);
            cr_assert_eq(status.code == TMAC_OK, status.message[0] == '\0');
            if (status.code == TMAC_OK) read_everything(&source);
            if (status.code == TMAC_OK && round % 20 == 0) {
                char copy[80];
                snprintf(copy, sizeof copy, "%s.tm2", path);
                tmac_status written = tmac_tm2_write(&source, copy, false);
                cr_assert_eq(written.code == TMAC_OK, access(copy, F_OK) == 0, "%s",
                             written.message);
                unlink(copy);
            }
            tmac_source_close(&source);
            memcpy(file.data, pristine, file.bytes);
        }
        free(pristine);
        tiny_free(&file);
    }
    unlink(path);
}

// GGUF v2 and v3, little-endian (they differ in big-endian files alone):
//
//   0  "GGUF"   4  u32 version     8  u64 tensor count   16  u64 value count
//   values   name; u32 kind; then a number, a bool (1 byte), a string, or an array: u32 element kind, u64 count, elements
//   tensors  name; u32 dimensions (at most 4); u64 extents, fastest first; u32 type; u64 offset into the data
//   data     from the next multiple of general.alignment (32 where unsaid); so is every offset
//
// Strings are u64 length and bytes. I2_S has 32 bytes behind its codes, of which the first 4 are its scale.
//
// A cursor that never passes the end of the file does all reading: once it has failed, it hands out zeros, and the
// failure is looked at after each record. Counts are checked against the bytes that are left before memory is taken:
// a value takes at least 13 bytes, a tensor 24.
#include "convert/gguf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "convert/bytes.h"
#include "convert/ternary.h"

enum { HEADER_BYTES = 24, VALUE_BYTES_MIN = 13, TENSOR_BYTES_MIN = 24, I2_S_TAIL = 32 };

// Bytes of each kind; 0: not fixed.
static const uint8_t kind_bytes[TMAC_GGUF_KINDS] = {
    [TMAC_GGUF_U8] = 1,  [TMAC_GGUF_I8] = 1,  [TMAC_GGUF_U16] = 2, [TMAC_GGUF_I16] = 2,
    [TMAC_GGUF_U32] = 4, [TMAC_GGUF_I32] = 4, [TMAC_GGUF_F32] = 4, [TMAC_GGUF_BOOL] = 1,
    [TMAC_GGUF_U64] = 8, [TMAC_GGUF_I64] = 8, [TMAC_GGUF_F64] = 8,
};

static const char unstored[] =
    "its packing follows a kernel_config.ini of the program that wrote it, which the file does not "
    "hold: convert the model's original instead";

// block 0: a type that we know by name alone, and why it is not read where there is more to say.
static const struct {
    uint32_t type;
    const char *name;
    uint32_t block, bytes;
    uint32_t row_bytes; // in front of every row
    const char *refusal;
} types[] = {
    {TMAC_GGUF_TYPE_F32, "F32", 1, 4, 0, NULL},
    {TMAC_GGUF_TYPE_F16, "F16", 1, 2, 0, NULL},
    {TMAC_GGUF_TYPE_BF16, "BF16", 1, 2, 0, NULL},
    {TMAC_GGUF_TYPE_Q4_0, "Q4_0", 32, 18, 0, NULL},
    {TMAC_GGUF_TYPE_Q8_0, "Q8_0", 32, 34, 0, NULL},
    {TMAC_GGUF_TYPE_Q4_K, "Q4_K", 256, 144, 0, NULL},
    {TMAC_GGUF_TYPE_Q6_K, "Q6_K", 256, 210, 0, NULL},
    {TMAC_GGUF_TYPE_TQ1_0, "TQ1_0", 256, 54, 0, NULL},
    {TMAC_GGUF_TYPE_TQ2_0, "TQ2_0", TMAC_TQ2_BLOCK, TMAC_TQ2_BYTES, 0, NULL},
    {TMAC_GGUF_TYPE_I2_S, "I2_S", TMAC_I2S_BLOCK, TMAC_I2S_BYTES, 0, NULL},
    {TMAC_GGUF_TYPE_Q2_0, "Q2_0", 64, 18, 0, NULL},
    {TMAC_GGUF_TYPE_PQ2_0, "PQ2_0", 128, 34, 0, NULL},
    {TMAC_GGUF_TYPE_IQ1_BN, "IQ1_BN", 64, 13, 2, NULL},
    {TMAC_GGUF_TYPE_IQ2_BN, "IQ2_BN", 64, 16, 4, NULL},
    {TMAC_GGUF_TYPE_IQ2_BN_R4, "IQ2_BN_R4", 64, 16, 4, NULL},
    {3, "Q4_1", 0, 0, 0, NULL},
    {6, "Q5_0", 0, 0, 0, NULL},
    {7, "Q5_1", 0, 0, 0, NULL},
    {10, "Q2_K", 0, 0, 0, NULL},
    {11, "Q3_K", 0, 0, 0, NULL},
    {13, "Q5_K", 0, 0, 0, NULL},
    {38, "TL1", 0, 0, 0, unstored},
    {39, "TL2", 0, 0, 0, unstored},
    {143, "PTQ1_0", 0, 0, 0,
     "models of this type expect their activations to be put through a Hadamard transform, which "
     "the file does not describe"},
};

const char *tmac_gguf_type_name(uint32_t type)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type) return types[i].name;
    return "unknown";
}

// --------------------------------------------------------------------------------------------------------- cursor

typedef struct cursor {
    const uint8_t *data;
    size_t bytes, at;
    bool failed;
} cursor;

static const uint8_t *take(cursor *c, uint64_t bytes)
{
    if (c->failed || bytes > c->bytes - c->at) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *data = c->data + c->at;
    c->at += (size_t)bytes;
    return data;
}

static uint32_t take_u32(cursor *c)
{
    const uint8_t *data = take(c, 4);
    return data ? tmac_load_u32(data) : 0;
}

static uint64_t take_u64(cursor *c)
{
    const uint8_t *data = take(c, 8);
    return data ? tmac_load_u64(data) : 0;
}

static tmac_gguf_text take_text(cursor *c)
{
    uint64_t bytes = take_u64(c);
    if (bytes > 1u << 30) c->failed = true;
    const uint8_t *data = take(c, bytes);
    if (!data) return (tmac_gguf_text){"", 0};
    return (tmac_gguf_text){(const char *)data, (uint32_t)bytes};
}

static tmac_status truncated(const char *what, uint64_t index, const cursor *c)
{
    return tmac_fail(TMAC_BAD_FILE, "%s %llu ends beyond the file's %zu bytes: truncated download?",
                     what, (unsigned long long)index, c->bytes);
}

// ------------------------------------------------------------------------------------------------------- records

static tmac_status read_value(cursor *c, uint64_t index, tmac_gguf_value *value)
{
    value->name = take_text(c);
    uint32_t kind = take_u32(c), element = kind;
    uint64_t count = 1;
    if (!c->failed && kind == TMAC_GGUF_ARRAY) {
        element = take_u32(c);
        count = take_u64(c);
        if (element == TMAC_GGUF_ARRAY)
            return tmac_fail(TMAC_UNSUPPORTED, "value %.*s is an array of arrays",
                             (int)value->name.bytes, value->name.data);
    }
    if (c->failed) return truncated("value", index, c);
    if (kind >= TMAC_GGUF_KINDS || element >= TMAC_GGUF_KINDS)
        return tmac_fail(TMAC_BAD_FILE, "value %.*s has kind %u, which GGUF does not define",
                         (int)value->name.bytes, value->name.data,
                         kind < TMAC_GGUF_KINDS ? element : kind);
    value->kind = (tmac_gguf_kind)kind;
    value->element = (tmac_gguf_kind)element;
    value->count = count;
    value->data = c->data + c->at;
    if (element == TMAC_GGUF_STRING) {
        for (uint64_t i = 0; i < count && !c->failed; i++)
            take_text(c);
    } else {
        size_t bytes;
        if (!tmac_size_multiply(count, kind_bytes[element], &bytes)) c->failed = true;
        take(c, bytes);
    }
    return c->failed ? truncated("value", index, c) : tmac_ok();
}

// The offset is kept apart until the start of the data is known.
static tmac_status read_tensor(cursor *c, uint64_t index, tmac_gguf_tensor *tensor,
                               uint64_t *offset)
{
    tensor->name = take_text(c);
    tensor->dimensions = take_u32(c);
    if (!c->failed && (tensor->dimensions == 0 || tensor->dimensions > TMAC_GGUF_DIMENSIONS))
        return tmac_fail(TMAC_BAD_FILE, "tensor %.*s has %u dimensions, expected 1 to 4",
                         (int)tensor->name.bytes, tensor->name.data, tensor->dimensions);
    for (uint32_t d = 0; d < TMAC_GGUF_DIMENSIONS; d++)
        tensor->extent[d] = d < tensor->dimensions ? take_u64(c) : 1;
    tensor->type = take_u32(c);
    *offset = take_u64(c);
    return c->failed ? truncated("the description of tensor", index, c) : tmac_ok();
}

static size_t find_type(uint32_t type)
{
    size_t kind = 0;
    while (kind < sizeof types / sizeof *types && types[kind].type != type)
        kind++;
    return kind;
}

// Where the tensors begin in the data: in the order of the tensors and, for finding the next one, sorted.
typedef struct places {
    uint64_t *offsets, *sorted;
    size_t count;
    uint64_t data_bytes;
} places;

static int compare_offsets(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Bytes up to the next tensor, or the end of the file.
static uint64_t span_of(const places *in, uint64_t offset)
{
    size_t low = 0, high = in->count;
    while (low < high) { // the first that is larger
        const size_t middle = low + (high - low) / 2;
        if (in->sorted[middle] <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t next = in->data_bytes;
    if (low < in->count && in->sorted[low] < next) next = in->sorted[low];
    return next > offset ? next - offset : 0;
}

static tmac_status refuse_type(const tmac_gguf_tensor *tensor, uint64_t span)
{
    size_t kind = find_type(tensor->type);
    int width = (int)tensor->name.bytes;
    uint64_t weights = 0;
    for (uint32_t d = 0; d < TMAC_GGUF_DIMENSIONS; d++) {
        weights = d ? weights * (tensor->extent[d] & 0xffffffff) : tensor->extent[0] & 0xffffffff;
        weights &= 0xffffffffffff;
    }
    uint64_t mxfp4 = weights / 32 * 17;
    if (tensor->type == 39 && weights % 32 == 0 && span >= mxfp4 && span - mxfp4 < 64)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %.*s has type 39, by its size MXFP4 (4-bit floats; bitnet.cpp's "
                         "TL2 has the same number), which is not supported",
                         width, tensor->name.data);
    if (kind < sizeof types / sizeof *types && types[kind].refusal)
        return tmac_fail(TMAC_UNSUPPORTED, "tensor %.*s has type %s, which is not read: %s", width,
                         tensor->name.data, types[kind].name, types[kind].refusal);
    return tmac_fail(TMAC_UNSUPPORTED,
                     "tensor %.*s has type %u (%s), which is not supported; F32, F16, BF16, Q4_0, "
                     "Q8_0, Q4_K, Q6_K, TQ1_0, TQ2_0, I2_S, IQ1_BN, IQ2_BN, IQ2_BN_R4, Q2_0 and "
                     "PQ2_0 are",
                     width, tensor->name.data, tensor->type, tmac_gguf_type_name(tensor->type));
}

static tmac_status tensor_bytes(const tmac_gguf_tensor *tensor, uint64_t span, size_t *bytes)
{
    int width = (int)tensor->name.bytes;
    const char *name = tensor->name.data;
    size_t kind = find_type(tensor->type), count = 1;
    if (kind == sizeof types / sizeof *types || types[kind].block == 0)
        return refuse_type(tensor, span);
    for (uint32_t d = 0; d < TMAC_GGUF_DIMENSIONS; d++)
        if (tensor->extent[d] == 0 || !tmac_size_multiply(count, tensor->extent[d], &count) ||
            count > (size_t)1 << 48)
            return tmac_fail(TMAC_BAD_FILE, "tensor %.*s has an absurd shape", width, name);
    size_t unit = tensor->type == TMAC_GGUF_TYPE_I2_S ? count : tensor->extent[0];
    if (unit % types[kind].block != 0)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %.*s: %zu weights do not fill whole %s blocks of %u", width, name,
                         unit, types[kind].name, types[kind].block);
    *bytes = count / types[kind].block * types[kind].bytes +
             count / tensor->extent[0] * types[kind].row_bytes +
             (tensor->type == TMAC_GGUF_TYPE_I2_S ? I2_S_TAIL : 0);
    return tmac_ok();
}

// Q2_0 was first published with groups of 128 and is now of 64, under one number: the spaces between the tensors tell.
static tmac_status settle_q2_0(tmac_gguf *gguf, const places *in, size_t alignment)
{
    bool fits[2] = {true, true}, any = false;
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        tmac_gguf_tensor candidate = gguf->tensors[i];
        if (candidate.type != TMAC_GGUF_TYPE_Q2_0) continue;
        any = true;
        uint64_t span = span_of(in, in->offsets[i]);
        for (int k = 0; k < 2; k++) {
            size_t bytes = 0;
            candidate.type = k ? TMAC_GGUF_TYPE_PQ2_0 : TMAC_GGUF_TYPE_Q2_0;
            if (tensor_bytes(&candidate, span, &bytes).code != TMAC_OK || bytes > span ||
                tmac_round_up(bytes, alignment) < span)
                fits[k] = false;
        }
    }
    if (!any) return tmac_ok();
    if (fits[0] == fits[1])
        return tmac_fail(TMAC_UNSUPPORTED,
                         "its Q2_0 tensors fit %s of the two forms this number stands for (groups "
                         "of 64 and of 128): refused rather than guessed",
                         fits[0] ? "both" : "neither");
    for (size_t i = 0; i < gguf->tensor_count && fits[1]; i++)
        if (gguf->tensors[i].type == TMAC_GGUF_TYPE_Q2_0)
            gguf->tensors[i].type = TMAC_GGUF_TYPE_PQ2_0;
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------- the file

static int compare_text(tmac_gguf_text a, tmac_gguf_text b)
{
    int order = memcmp(a.data, b.data, a.bytes < b.bytes ? a.bytes : b.bytes);
    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

static int compare_values(const void *a, const void *b)
{
    return compare_text(((const tmac_gguf_value *)a)->name, ((const tmac_gguf_value *)b)->name);
}

static int compare_tensors(const void *a, const void *b)
{
    return compare_text(((const tmac_gguf_tensor *)a)->name, ((const tmac_gguf_tensor *)b)->name);
}

static tmac_status twice(tmac_gguf_text name, const char *what)
{
    return tmac_fail(TMAC_BAD_FILE, "%s %.*s is there twice", what, (int)name.bytes, name.data);
}

static tmac_status sort(tmac_gguf *gguf)
{
    qsort(gguf->values, gguf->value_count, sizeof *gguf->values, compare_values);
    qsort(gguf->tensors, gguf->tensor_count, sizeof *gguf->tensors, compare_tensors);
    for (size_t i = 1; i < gguf->value_count; i++)
        if (compare_values(&gguf->values[i - 1], &gguf->values[i]) == 0)
            return twice(gguf->values[i].name, "value");
    for (size_t i = 1; i < gguf->tensor_count; i++)
        if (compare_tensors(&gguf->tensors[i - 1], &gguf->tensors[i]) == 0)
            return twice(gguf->tensors[i].name, "tensor");
    return tmac_ok();
}

static tmac_status alignment_of(const tmac_gguf *gguf, size_t *alignment)
{
    *alignment = 32;
    for (size_t i = 0; i < gguf->value_count; i++) {
        const tmac_gguf_value *value = &gguf->values[i];
        if (!tmac_gguf_text_is(value->name, "general.alignment")) continue;
        *alignment = value->kind == TMAC_GGUF_U32 ? tmac_load_u32(value->data) : 0;
    }
    if (*alignment < 8 || *alignment > 1u << 20 || (*alignment & (*alignment - 1)) != 0)
        return tmac_fail(TMAC_BAD_FILE, "general.alignment is no power of two from 8 to 1048576");
    return tmac_ok();
}

// Turns the offsets into pointers and proves that every tensor is in the file, and that the file ends with them.
static tmac_status place(const tmac_map *map, tmac_gguf *gguf, places *in, size_t at)
{
    size_t alignment, start, last = at;
    TMAC_TRY(alignment_of(gguf, &alignment));
    start = tmac_round_up(at, alignment);
    const uint64_t *offsets = in->offsets;
    in->count = gguf->tensor_count;
    in->data_bytes = map->bytes > start ? map->bytes - start : 0;
    memcpy(in->sorted, offsets, in->count * sizeof *offsets);
    qsort(in->sorted, in->count, sizeof *offsets, compare_offsets);
    TMAC_TRY(settle_q2_0(gguf, in, alignment));
    for (size_t i = 0; i < gguf->tensor_count; i++) {
        tmac_gguf_tensor *tensor = &gguf->tensors[i];
        size_t bytes = 0, begin, end;
        TMAC_TRY(tensor_bytes(tensor, tensor->type == 39 ? span_of(in, offsets[i]) : 0, &bytes));
        if (offsets[i] % alignment != 0)
            return tmac_fail(TMAC_BAD_FILE,
                             "tensor %.*s starts at offset %llu, which is no multiple of %zu",
                             (int)tensor->name.bytes, tensor->name.data,
                             (unsigned long long)offsets[i], alignment);
        if (!tmac_size_add(start, offsets[i], &begin) || !tmac_size_add(begin, bytes, &end))
            return tmac_fail(TMAC_BAD_FILE, "tensor %.*s has an absurd offset",
                             (int)tensor->name.bytes, tensor->name.data);
        if (end > map->bytes)
            return tmac_fail(
                TMAC_BAD_FILE,
                "tensor %.*s ends at byte %zu but the file has %zu: truncated download?",
                (int)tensor->name.bytes, tensor->name.data, end, map->bytes);
        tensor->data = map->data + begin;
        if (end > last) last = end;
    }
    if (map->bytes > tmac_round_up(last, alignment))
        return tmac_fail(
            TMAC_BAD_FILE,
            "the last tensor ends at byte %zu but the file has %zu: something is appended", last,
            map->bytes);
    return tmac_ok();
}

static tmac_status parse(const tmac_map *map, tmac_gguf *gguf)
{
    cursor c = {.data = map->data, .bytes = map->bytes, .at = 8};
    uint64_t tensors = take_u64(&c), values = take_u64(&c), left = c.bytes - c.at;
    if (c.failed || values > left / VALUE_BYTES_MIN || tensors > left / TENSOR_BYTES_MIN)
        return tmac_fail(TMAC_BAD_FILE,
                         "the header promises %llu values and %llu tensors, more than %zu bytes "
                         "can hold: truncated "
                         "download?",
                         (unsigned long long)values, (unsigned long long)tensors, map->bytes);
    gguf->values = calloc(values + 1, sizeof *gguf->values);
    gguf->tensors = calloc(tensors + 1, sizeof *gguf->tensors);
    places in = {.offsets = calloc(tensors + 1, sizeof *in.offsets),
                 .sorted = calloc(tensors + 1, sizeof *in.sorted)};
    tmac_status status = tmac_ok();
    if (!gguf->values || !gguf->tensors || !in.offsets || !in.sorted)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory");
    for (uint64_t i = 0; i < values && status.code == TMAC_OK; i++)
        status = read_value(&c, i, &gguf->values[gguf->value_count++]);
    for (uint64_t i = 0; i < tensors && status.code == TMAC_OK; i++)
        status = read_tensor(&c, i, &gguf->tensors[gguf->tensor_count++], &in.offsets[i]);
    if (status.code == TMAC_OK) status = place(map, gguf, &in, c.at);
    if (status.code == TMAC_OK) status = sort(gguf);
    free(in.offsets);
    free(in.sorted);
    return status;
}

tmac_status tmac_gguf_open(const tmac_map *map, tmac_gguf *gguf)
{
    memset(gguf, 0, sizeof *gguf);
    if (map->bytes < HEADER_BYTES || memcmp(map->data, "GGUF", 4) != 0)
        return tmac_fail(TMAC_BAD_FILE, "no GGUF file, or one of only %zu bytes", map->bytes);
    uint32_t version = tmac_load_u32(map->data + 4);
    if (version != 3 && version != 2)
        return tmac_fail(
            TMAC_UNSUPPORTED, "GGUF version %u is not supported, versions 2 and 3 are%s", version,
            version == 0x03000000u || version == 0x02000000u ? ": the file is big-endian" : "");
    tmac_status status = parse(map, gguf);
    if (status.code != TMAC_OK) tmac_gguf_close(gguf);
    return status;
}

void tmac_gguf_close(tmac_gguf *gguf)
{
    free(gguf->values);
    free(gguf->tensors);
    memset(gguf, 0, sizeof *gguf);
}

// --------------------------------------------------------------------------------------------------------- lookup

bool tmac_gguf_text_is(tmac_gguf_text text, const char *expected)
{
    return text.bytes == strlen(expected) && memcmp(text.data, expected, text.bytes) == 0;
}

const tmac_gguf_value *tmac_gguf_value_find(const tmac_gguf *gguf, const char *name)
{
    tmac_gguf_value key = {.name = {name, (uint32_t)strlen(name)}};
    return bsearch(&key, gguf->values, gguf->value_count, sizeof key, compare_values);
}

tmac_gguf_tensor *tmac_gguf_tensor_find(const tmac_gguf *gguf, const char *name)
{
    tmac_gguf_tensor key = {.name = {name, (uint32_t)strlen(name)}};
    return bsearch(&key, gguf->tensors, gguf->tensor_count, sizeof key, compare_tensors);
}

tmac_status tmac_gguf_integer(const tmac_gguf *gguf, const char *name, bool required,
                              int64_t fallback, int64_t *value)
{
    const tmac_gguf_value *found = tmac_gguf_value_find(gguf, name);
    *value = fallback;
    if (!found) return required ? tmac_fail(TMAC_BAD_FILE, "value %s is missing", name) : tmac_ok();
    switch (found->kind) {
    case TMAC_GGUF_U8:
        *value = found->data[0];
        break;
    case TMAC_GGUF_I8:
        *value = found->data[0] < 128 ? found->data[0] : found->data[0] - 256;
        break;
    case TMAC_GGUF_BOOL:
        *value = found->data[0] != 0;
        break;
    case TMAC_GGUF_U16:
        *value = tmac_load_u16(found->data);
        break;
    case TMAC_GGUF_I16:
        *value = (int16_t)tmac_load_u16(found->data);
        break;
    case TMAC_GGUF_U32:
        *value = tmac_load_u32(found->data);
        break;
    case TMAC_GGUF_I32:
        *value = (int32_t)tmac_load_u32(found->data);
        break;
    case TMAC_GGUF_U64:
    case TMAC_GGUF_I64:
        *value = (int64_t)tmac_load_u64(found->data);
        break;
    default:
        return tmac_fail(TMAC_UNSUPPORTED, "value %s is not one whole number", name);
    }
    return tmac_ok();
}

tmac_status tmac_gguf_float(const tmac_gguf *gguf, const char *name, bool required, float fallback,
                            float *value)
{
    const tmac_gguf_value *found = tmac_gguf_value_find(gguf, name);
    *value = fallback;
    if (!found) return required ? tmac_fail(TMAC_BAD_FILE, "value %s is missing", name) : tmac_ok();
    if (found->kind == TMAC_GGUF_F32) {
        *value = tmac_load_f32(found->data);
    } else if (found->kind == TMAC_GGUF_F64) {
        double wide;
        memcpy(&wide, found->data, sizeof wide);
        *value = (float)wide;
    } else {
        return tmac_fail(TMAC_UNSUPPORTED, "value %s is not a float", name);
    }
    return isfinite(*value) ? tmac_ok() : tmac_fail(TMAC_BAD_FILE, "value %s is not finite", name);
}

bool tmac_gguf_string(const tmac_gguf *gguf, const char *name, tmac_gguf_text *text)
{
    const tmac_gguf_value *found = tmac_gguf_value_find(gguf, name);
    if (!found || found->kind != TMAC_GGUF_STRING) return false;
    text->bytes = (uint32_t)tmac_load_u64(found->data);
    text->data = (const char *)found->data + 8;
    return true;
}

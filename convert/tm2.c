// TM2: a body that every reader of the format understands, and an extension that says the rest.
//
// Body
//   0    "TM2\0"
//   4    int32 dim, hidden, layers, heads, kv_heads, vocab, context; vocab < 0: the head is a matrix of its own
//   32   the tensors of convert/llama_order.h, each stacked over the layers, each behind a u8 flag:
//          0   f32 numbers
//          1   int32 rows, int32 columns, then per row an f16 scale and ceil(columns / 4) bytes of signed 2-bit codes
//              (00 = 0, 01 = +1, 11 = -1), the first in bits 0-1
//        Q and K rows are in interleaved-pair RoPE order.
//
// Extension (all numbers little-endian)
//   zeros up to a multiple of 64
//   tensors, each at a multiple of 64, so that a mapped file can be used where it lies
//   index, at a multiple of 64:
//     u32 entries, u32 tensors
//     entry:   u8 name bytes, u8 kind ('t' text, 'f' f32, 'i' int64), u16 0, u32 value bytes, name, value
//     tensor:  u8 name bytes, u8 kind (tmac_tm2_kind), u16 0, u32 rows, u32 columns, u64 offset, u64 bytes,
//              SHA-256 of these bytes, name
//   trailer, the last 64 bytes of the file:
//     0   "TM2+ext\n"
//     8   u32 version: 2 where the file has something of convert/tm2_extras.c, else 1; u32 0
//     16  u64 bytes of the extension, padding and trailer included: the body is what lies before
//     24  u64 bytes of the index
//     32  SHA-256 of the index
//
// The index lists the tensors of the body too (kind BODY, offset and hash covering the flag). One that it does not list
// is absent from the body and is in the extension instead: an embedding in 16 bits, a matrix with group scales, weights
// of one to four bits (kinds Q1 to Q4: codes as described in tm2.h, meaning code - 2^(b-1), or 2 * code - 1 for one bit).
//
// Entries: generator, architecture, activation ("silu", "relu2"), head ("tied", "own"), norm_epsilon,
// final_norm_epsilon, rope_base, source.path, source.format; and where there is a vocabulary vocab.size, vocab.bos,
// vocab.eos, vocab.unknown (-1: none), vocab.add_bos, vocab.add_space_prefix; where they apply vocab.kind ("bpe"; "spm"
// when absent), vocab.pattern, vocab.whole_words, vocab.nfc, vocab.chat.
// Tensors: attn_sub_norm and ffn_sub_norm [layers, ...]; blk.N.PART.scales, the exact f32 scales of each integer
// matrix; token_embd, output, blk.N.PART where the body lacks them; vocab.text (the bytes of all pieces), vocab.lengths,
// vocab.scores, vocab.kinds; where they apply vocab.merges (pairs of ids) and vocab.stops. Readers ignore names they do
// not know: whatever changes the result must change the version.
//
// A body alone does not say how the norms work. It means llama2.c's conventions (no sub-norms, SiLU, epsilon 1e-5) with
// one exception: where every weight of every norm inside the layers is the f32 nearest 1/dim, the model is one of
// bitllama2.c, whose norms have no weights; sub-norms of 1/n and epsilon 1e-12 belong to it. No trained norm looks like
// that by accident. The base of RoPE is recovered from the tables.
#include "convert/tm2.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"

// ---------------------------------------------------------------------------------------------- conventions of bodies

static const float rope_bases[] = {10000.0f,   100000.0f,  500000.0f,  1000000.0f,
                                   1000042.0f, 5000000.0f, 10000000.0f};

float tmac_tm2_rope_sine(float base, uint32_t head_dim)
{
    double exponent = -(double)(head_dim - 2) / (double)head_dim;
    return (float)sin(pow((double)base, exponent));
}

float tmac_tm2_rope_base(float sine, uint32_t head_dim)
{
    for (size_t i = 0; i < sizeof rope_bases / sizeof *rope_bases; i++) {
        // Others compute their tables in f32: a few parts in 10^7. The closest bases differ by 4 in 10^5.
        float expected = tmac_tm2_rope_sine(rope_bases[i], head_dim);
        if (fabsf(sine - expected) <= 1e-5f * expected) return rope_bases[i];
    }
    return 0.0f;
}

bool tmac_tm2_is_bitllama(const tmac_source *source)
{
    for (uint32_t l = 0; l < source->layer_count; l++)
        if (!tmac_vector_is_reciprocal(source->layers[l].attention_norm, source->dim) ||
            !tmac_vector_is_reciprocal(source->layers[l].ffn_norm, source->dim))
            return false;
    return true;
}

// ---------------------------------------------------------------------------------------------------------- index

uint64_t tmac_tm2_tensor_bytes(tmac_tm2_kind kind, uint32_t rows, uint32_t columns)
{
    switch (kind) {
    case TMAC_TM2_F32:
        return (uint64_t)rows * columns * 4;
    case TMAC_TM2_F16:
    case TMAC_TM2_BF16:
        return (uint64_t)rows * columns * 2;
    case TMAC_TM2_TERNARY:
        return (uint64_t)rows * (((uint64_t)columns + 3) / 4);
    case TMAC_TM2_Q1:
    case TMAC_TM2_Q2:
    case TMAC_TM2_Q3:
    case TMAC_TM2_Q4:
        return (uint64_t)rows * tmac_tm2_code_stride(tmac_tm2_code_bits(kind), columns);
    case TMAC_TM2_SCALES:
    case TMAC_TM2_U32:
        return (uint64_t)rows * 4;
    default:
        return rows;
    }
}

static tmac_status damaged(const char *what)
{
    return tmac_fail(TMAC_BAD_FILE, "the extension is damaged: %s", what);
}

// What is left of the index.
typedef struct rest {
    const uint8_t *data;
    size_t bytes;
} rest;

static const uint8_t *take(rest *r, size_t bytes)
{
    if (bytes > r->bytes) return NULL;
    const uint8_t *data = r->data;
    r->data += bytes;
    r->bytes -= bytes;
    return data;
}

static bool take_name(rest *r, uint8_t bytes, char name[TMAC_TM2_NAME])
{
    const uint8_t *data = bytes > 0 && bytes < TMAC_TM2_NAME ? take(r, bytes) : NULL;
    if (!data || memchr(data, 0, bytes)) return false;
    memcpy(name, data, bytes);
    name[bytes] = '\0';
    return true;
}

static tmac_status read_entry(rest *r, tmac_tm2_entry *entry)
{
    const uint8_t *fixed = take(r, TMAC_TM2_ENTRY);
    if (!fixed || !take_name(r, fixed[0], entry->name)) return damaged("an entry has no name");
    entry->kind = (tmac_tm2_value)fixed[1];
    entry->bytes = tmac_load_u32(fixed + 4);
    entry->data = take(r, entry->bytes);
    if (!entry->data) return damaged("an entry is longer than the index");
    return tmac_ok();
}

static tmac_status read_tensor(rest *r, const tmac_tm2_index *index, uint64_t end,
                               tmac_tm2_tensor *tensor)
{
    const uint8_t *fixed = take(r, TMAC_TM2_TENSOR);
    if (!fixed || !take_name(r, fixed[0], tensor->name)) return damaged("a tensor has no name");
    tensor->kind = (tmac_tm2_kind)fixed[1];
    tensor->rows = tmac_load_u32(fixed + 4);
    tensor->columns = tmac_load_u32(fixed + 8);
    tensor->offset = tmac_load_u64(fixed + 12);
    tensor->bytes = tmac_load_u64(fixed + 20);
    memcpy(tensor->hash, fixed + 28, TMAC_HASH_BYTES);
    if (tensor->kind >= TMAC_TM2_KINDS)
        return tmac_fail(TMAC_UNSUPPORTED,
                         "tensor %s is of a kind (%u) that this version does not know",
                         tensor->name, fixed[1]);
    bool body = tensor->kind == TMAC_TM2_BODY;
    uint64_t low = body ? TMAC_TM2_HEADER : index->body_bytes,
             high = body ? index->body_bytes : end;
    if (tensor->offset < low || tensor->offset > high || tensor->bytes > high - tensor->offset ||
        (!body && tensor->offset % TMAC_TM2_ALIGNMENT != 0))
        return tmac_fail(TMAC_BAD_FILE, "tensor %s lies outside its part of the file",
                         tensor->name);
    if (!body &&
        tensor->bytes != tmac_tm2_tensor_bytes(tensor->kind, tensor->rows, tensor->columns))
        return tmac_fail(TMAC_BAD_FILE, "tensor %s has %llu bytes, which do not fit %u x %u",
                         tensor->name, (unsigned long long)tensor->bytes, tensor->rows,
                         tensor->columns);
    return tmac_ok();
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const tmac_tm2_entry *)a)->name, ((const tmac_tm2_entry *)b)->name);
}

static int compare_tensors(const void *a, const void *b)
{
    return strcmp(((const tmac_tm2_tensor *)a)->name, ((const tmac_tm2_tensor *)b)->name);
}

static tmac_status sort(tmac_tm2_index *index)
{
    qsort(index->entries, index->entry_count, sizeof *index->entries, compare_entries);
    qsort(index->tensors, index->tensor_count, sizeof *index->tensors, compare_tensors);
    for (uint32_t i = 1; i < index->entry_count; i++)
        if (compare_entries(&index->entries[i - 1], &index->entries[i]) == 0)
            return damaged("an entry is there twice");
    for (uint32_t i = 1; i < index->tensor_count; i++)
        if (compare_tensors(&index->tensors[i - 1], &index->tensors[i]) == 0)
            return damaged("a tensor is there twice");
    return tmac_ok();
}

static tmac_status parse(rest r, uint64_t end, tmac_tm2_index *index)
{
    const uint8_t *counts = take(&r, 8);
    if (!counts) return damaged("the index is too short");
    uint32_t entries = tmac_load_u32(counts), tensors = tmac_load_u32(counts + 4);
    if (entries > r.bytes / TMAC_TM2_ENTRY || tensors > r.bytes / TMAC_TM2_TENSOR)
        return damaged("the index promises more than it can hold");
    index->entries = calloc((size_t)entries + 1, sizeof *index->entries);
    index->tensors = calloc((size_t)tensors + 1, sizeof *index->tensors);
    if (!index->entries || !index->tensors) return tmac_no_memory();
    for (; index->entry_count < entries; index->entry_count++)
        TMAC_TRY(read_entry(&r, &index->entries[index->entry_count]));
    for (; index->tensor_count < tensors; index->tensor_count++)
        TMAC_TRY(read_tensor(&r, index, end, &index->tensors[index->tensor_count]));
    if (r.bytes != 0) return damaged("the index is too long");
    return sort(index);
}

static tmac_status open_index(const tmac_map *map, tmac_tm2_index *index)
{
    const uint8_t *trailer = map->data + map->bytes - TMAC_TM2_TRAILER;
    uint32_t version = tmac_load_u32(trailer + 8);
    uint64_t extension = tmac_load_u64(trailer + 16), bytes = tmac_load_u64(trailer + 24);
    if (version < 1 || version > 2)
        return tmac_fail(TMAC_UNSUPPORTED, "TM2 extension version %u is newer than this program",
                         version);
    if (extension > map->bytes - TMAC_TM2_HEADER || extension < TMAC_TM2_TRAILER ||
        bytes > extension - TMAC_TM2_TRAILER)
        return damaged("its length does not fit the file");
    index->present = true;
    index->version = version;
    index->body_bytes = map->bytes - extension;
    uint64_t start = map->bytes - TMAC_TM2_TRAILER - bytes;
    uint8_t digest[TMAC_HASH_BYTES];
    tmac_hash(map->data + start, (size_t)bytes, digest);
    if (memcmp(digest, trailer + 32, TMAC_HASH_BYTES) != 0)
        return damaged("the index does not have the SHA-256 that the trailer records");
    return parse((rest){map->data + start, (size_t)bytes}, start, index);
}

tmac_status tmac_tm2_index_open(const tmac_map *map, tmac_tm2_index *index)
{
    memset(index, 0, sizeof *index);
    index->body_bytes = map->bytes;
    if (map->bytes < TMAC_TM2_HEADER)
        return tmac_fail(TMAC_BAD_FILE,
                         "the header ends at byte 32 but the file has %zu: truncated download?",
                         map->bytes);
    if (map->bytes < TMAC_TM2_HEADER + TMAC_TM2_TRAILER ||
        memcmp(map->data + map->bytes - TMAC_TM2_TRAILER, TMAC_TM2_TRAILER_MAGIC, 8) != 0)
        return tmac_ok();
    tmac_status status = open_index(map, index);
    if (status.code != TMAC_OK) tmac_tm2_index_close(index);
    return status;
}

void tmac_tm2_index_close(tmac_tm2_index *index)
{
    free(index->entries);
    free(index->tensors);
    memset(index, 0, sizeof *index);
}

// --------------------------------------------------------------------------------------------------------- lookup

const tmac_tm2_tensor *tmac_tm2_find(const tmac_tm2_index *index, const char *name)
{
    tmac_tm2_tensor key = {0};
    if (strlen(name) >= sizeof key.name || index->tensor_count == 0) return NULL;
    strcpy(key.name, name);
    return bsearch(&key, index->tensors, index->tensor_count, sizeof key, compare_tensors);
}

static const tmac_tm2_entry *find_entry(const tmac_tm2_index *index, const char *name)
{
    tmac_tm2_entry key = {0};
    strcpy(key.name, name);
    if (index->entry_count == 0) return NULL;
    return bsearch(&key, index->entries, index->entry_count, sizeof key, compare_entries);
}

static tmac_status missing(const char *name)
{
    return tmac_fail(TMAC_BAD_FILE, "the extension's entry %s is missing or of the wrong kind",
                     name);
}

bool tmac_tm2_has(const tmac_tm2_index *index, const char *name)
{
    return find_entry(index, name) != NULL;
}

tmac_status tmac_tm2_text(const tmac_tm2_index *index, const char *name, char *text, size_t room)
{
    const tmac_tm2_entry *entry = find_entry(index, name);
    if (!entry || entry->kind != TMAC_TM2_TEXT || entry->bytes >= room) return missing(name);
    memcpy(text, entry->data, entry->bytes);
    text[entry->bytes] = '\0';
    return tmac_ok();
}

tmac_status tmac_tm2_float(const tmac_tm2_index *index, const char *name, float *value)
{
    const tmac_tm2_entry *entry = find_entry(index, name);
    if (!entry || entry->kind != TMAC_TM2_FLOAT || entry->bytes != 4) return missing(name);
    *value = tmac_load_f32(entry->data);
    return tmac_ok();
}

tmac_status tmac_tm2_integer(const tmac_tm2_index *index, const char *name, int64_t *value)
{
    const tmac_tm2_entry *entry = find_entry(index, name);
    if (!entry || entry->kind != TMAC_TM2_INTEGER || entry->bytes != 8) return missing(name);
    *value = (int64_t)tmac_load_u64(entry->data);
    return tmac_ok();
}

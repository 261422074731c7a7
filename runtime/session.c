// The KV cache of one conversation.
//
// For each layer and KV head: keys as [block of 16 positions][head_dim][16], so that the scores of 16 positions come out
// of one register; values as [position][head_dim]. Elements are f16, f32 or int8; behind the int8 codes of a head there is
// one float for each position, its scale. Capacity is rounded up to a whole block; the keys of positions that are not
// filled yet are zeros or leftovers, and never count.
#include <stdlib.h>
#include <string.h>

#include "runtime/model_private.h"

static const char *const KV_NAMES[] = {
    [TMAC_KV_F16] = "f16", [TMAC_KV_F32] = "f32", [TMAC_KV_INT8] = "int8"};

const char *tmac_kv_name(tmac_kv kv)
{
    return KV_NAMES[kv];
}

tmac_status tmac_kv_parse(const char *name, tmac_kv *kv)
{
    for (size_t i = 0; i < sizeof KV_NAMES / sizeof *KV_NAMES; i++) {
        if (strcmp(name, KV_NAMES[i]) != 0) continue;
        *kv = (tmac_kv)i;
        return tmac_ok();
    }
    return tmac_fail(TMAC_USAGE, "unknown KV cache type '%.40s': expected f16, f32 or int8", name);
}

uint64_t tmac_kv_position_bytes(const tmac_source *source, tmac_kv kv)
{
    return 2 * (uint64_t)source->layer_count * source->kv_heads *
           tmac_kv_head_bytes(kv, 1, source->head_dim);
}

tmac_status tmac_session_new(tmac_model *model, uint32_t capacity, tmac_kv kv, tmac_session **out)
{
    *out = NULL;
    const tmac_source *source = model->source;
    if (capacity == 0 || capacity > source->context)
        return tmac_fail(TMAC_USAGE, "a session holds between 1 and %u positions, not %u",
                         source->context, capacity);
    tmac_session *session = calloc(1, sizeof *session);
    if (!session) return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a session");
    session->model = model;
    session->kv = kv;
    session->capacity = capacity;
    size_t positions = tmac_round_up(capacity, TMAC_KEY_BLOCK);
    size_t heads = (size_t)source->layer_count * source->kv_heads, bytes;
    session->head_bytes = tmac_kv_head_bytes(kv, positions, source->head_dim);
    tmac_status status;
    if (!tmac_size_multiply(2 * session->head_bytes, heads, &bytes))
        status = tmac_fail(TMAC_OUT_OF_MEMORY,
                           "a KV cache of %u positions does not fit the address space", capacity);
    else
        status = tmac_pages_map(bytes, &session->cache);
    if (status.code != TMAC_OK) {
        free(session);
        return status;
    }
    session->keys = session->cache.data;
    session->values = session->keys + heads * session->head_bytes;
    *out = session;
    return tmac_ok();
}

void tmac_session_free(tmac_session *session)
{
    if (!session) return;
    tmac_pages_unmap(&session->cache);
    free(session);
}

uint32_t tmac_session_length(const tmac_session *session)
{
    return session->length;
}

void tmac_session_truncate(tmac_session *session, uint32_t position)
{
    if (position < session->length) session->length = position;
}

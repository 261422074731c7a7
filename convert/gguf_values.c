#include "convert/gguf_values.h"

#include <stdlib.h>
#include <string.h>

#include "convert/neutral.h"

void tmac_put_bytes(tmac_gguf_values *values, const void *data, size_t bytes)
{
    if (values->status.code != TMAC_OK || bytes == 0) return;
    if (values->used + bytes > values->room) {
        size_t room = 2 * (values->used + bytes) + 4096;
        uint8_t *larger = realloc(values->data, room);
        if (!larger) {
            values->status = tmac_no_memory();
            return;
        }
        values->data = larger;
        values->room = room;
    }
    memcpy(values->data + values->used, data, bytes);
    values->used += bytes;
}

static void put_string(tmac_gguf_values *values, const char *text)
{
    uint64_t bytes = strlen(text);
    tmac_put_bytes(values, &bytes, sizeof bytes);
    tmac_put_bytes(values, text, bytes);
}

static void put_key(tmac_gguf_values *values, const char *name, tmac_gguf_kind kind)
{
    uint32_t number = kind;
    put_string(values, name);
    tmac_put_bytes(values, &number, sizeof number);
    values->count++;
}

void tmac_put_u32(tmac_gguf_values *values, const char *name, uint32_t value)
{
    put_key(values, name, TMAC_GGUF_U32);
    tmac_put_bytes(values, &value, sizeof value);
}

void tmac_put_f32(tmac_gguf_values *values, const char *name, float value)
{
    put_key(values, name, TMAC_GGUF_F32);
    tmac_put_bytes(values, &value, sizeof value);
}

void tmac_put_text(tmac_gguf_values *values, const char *name, const char *value)
{
    put_key(values, name, TMAC_GGUF_STRING);
    put_string(values, value);
}

void tmac_put_bool(tmac_gguf_values *values, const char *name, bool value)
{
    uint8_t byte = value;
    put_key(values, name, TMAC_GGUF_BOOL);
    tmac_put_bytes(values, &byte, 1);
}

void tmac_put_array(tmac_gguf_values *values, const char *name, tmac_gguf_kind element,
                    uint64_t count)
{
    uint32_t kind = element;
    put_key(values, name, TMAC_GGUF_ARRAY);
    tmac_put_bytes(values, &kind, sizeof kind);
    tmac_put_bytes(values, &count, sizeof count);
}

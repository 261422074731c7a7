// The named values of a GGUF that is being written: a growing block. Private to convert/.
#ifndef TMAC_CONVERT_GGUF_VALUES_H
#define TMAC_CONVERT_GGUF_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/gguf.h"
#include "runtime/source.h"

typedef struct tmac_gguf_values {
    uint8_t *data; // freed by the owner
    size_t used, room;
    uint64_t count;
    tmac_status status; // the first failure; what follows it is dropped
} tmac_gguf_values;

void tmac_put_bytes(tmac_gguf_values *values, const void *data, size_t bytes);
void tmac_put_u32(tmac_gguf_values *values, const char *name, uint32_t value);
void tmac_put_f32(tmac_gguf_values *values, const char *name, float value);
void tmac_put_text(tmac_gguf_values *values, const char *name, const char *value);
void tmac_put_bool(tmac_gguf_values *values, const char *name, bool value);
// The elements follow.
void tmac_put_array(tmac_gguf_values *values, const char *name, tmac_gguf_kind element,
                    uint64_t count);

// tokenizer.ggml.* of a vocabulary; "none" where it is empty. TMAC_UNSUPPORTED where the format cannot say what it does.
tmac_status tmac_put_vocabulary(tmac_gguf_values *values, const tmac_vocabulary *vocabulary);

#endif

// Which format a file has, by its first bytes.
#include <string.h>

#include "convert/convert.h"
#include "convert/neutral.h"
#include "convert/readers.h"

tmac_status tmac_bit_order_parse(const char *text, tmac_bit_order *order)
{
    *order = TMAC_BIT_ORDER_UNKNOWN;
    if (!text) return tmac_ok();
    if (strcmp(text, "msb") == 0)
        *order = TMAC_BIT_ORDER_MSB;
    else if (strcmp(text, "lsb") == 0)
        *order = TMAC_BIT_ORDER_LSB;
    else
        return tmac_fail(TMAC_USAGE, "--bit-order %s: expected msb or lsb", text);
    return tmac_ok();
}

static const struct {
    const char magic[5];
    const char *format; // NULL: recognised, and not read
    const char *refusal;
} formats[] = {
    {"GGUF", "GGUF v3", NULL},
    {{'T', 'M', '2', 0, 0}, "TM2", NULL},
    {"24ka", "bitllama2.c", NULL},
    {"TMAC", NULL,
     "the first version of TM2 (TMAC), which stores no scales, is not supported: convert the "
     "original"},
    {"Q4V1", NULL, "4-bit integer weights (Q4V1) are not supported"},
    {"Q8V1", NULL, "8-bit integer weights (Q8V1) are not supported"},
};

static tmac_status read_model(tmac_source *source, const char *magic, tmac_bit_order order)
{
    if (!magic) return tmac_read_llama2c(source);
    if (magic[0] == 'G') return tmac_read_gguf(source);
    if (magic[0] == 'T') return tmac_read_tm2(source);
    return tmac_read_bitllama(source, order);
}

static tmac_status finish(tmac_source *source, const tmac_open_options *options)
{
    if (options && options->tokenizer) {
        tmac_vocabulary vocabulary;
        TMAC_TRY(tmac_vocabulary_open(options->tokenizer, source->vocab, &vocabulary));
        tmac_vocabulary_free(&source->vocabulary);
        source->vocabulary = vocabulary;
    }
    return tmac_ok();
}

tmac_status tmac_source_open(const char *path, const tmac_open_options *options,
                             tmac_source *source)
{
    memset(source, 0, sizeof *source);
    tmac_map map;
    TMAC_TRY(tmac_map_open(path, &map));
    const char *format = "llama2.c v0", *magic = NULL, *refusal = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats && map.bytes >= 4; i++) {
        if (memcmp(map.data, formats[i].magic, 4) != 0) continue;
        magic = formats[i].magic;
        format = formats[i].format;
        refusal = formats[i].refusal;
    }
    if (map.bytes == 0) return tmac_fail(TMAC_BAD_FILE, "%s: is empty", path);
    if (refusal) {
        tmac_map_close(&map);
        return tmac_fail(TMAC_UNSUPPORTED, "%s: %s", path, refusal);
    }
    tmac_source_begin(source, path, format, &map);
    source->deferring = options && options->defer_checks;
    tmac_status status =
        read_model(source, magic, options ? options->bit_order : TMAC_BIT_ORDER_UNKNOWN);
    if (status.code == TMAC_OK) status = tmac_source_check(source);
    if (status.code != TMAC_OK)
        status = tmac_prefix(status, "%s", path);
    else
        status = finish(source, options);
    if (status.code != TMAC_OK) tmac_source_close(source);
    return status;
}

// Which format a file has, by its first bytes.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "convert/convert.h"
#include "convert/neutral.h"
#include "convert/readers.h"

// The place of `text` among the names of an option, from `first` on; NULL leaves 0.
static tmac_status parse(const char *option, const char *text, const char *const *names,
                         uint32_t first, uint32_t *value)
{
    *value = 0;
    if (!text) return tmac_ok();
    char list[64] = "";
    for (uint32_t i = 0; names[i]; i++) {
        *value = first + i;
        if (strcmp(text, names[i]) == 0) return tmac_ok();
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? " or " : "", names[i]);
    }
    *value = 0;
    return tmac_fail(TMAC_USAGE, "--%s %s: expected %s", option, text, list);
}

tmac_status tmac_bit_order_parse(const char *text, tmac_bit_order *order)
{
    static const char *const names[] = {"msb", "lsb", NULL};
    uint32_t value;
    tmac_status status = parse("bit-order", text, names, TMAC_BIT_ORDER_MSB, &value);
    *order = (tmac_bit_order)value;
    return status;
}

tmac_status tmac_base3_parse(const char *text, tmac_base3 *base3)
{
    static const char *const names[] = {"rows", "flat", "none", NULL};
    uint32_t value;
    tmac_status status = parse("base3", text, names, TMAC_BASE3_ROWS, &value);
    *base3 = (tmac_base3)value;
    return status;
}

tmac_status tmac_i2s_layout_parse(const char *text, tmac_i2s_layout *layout)
{
    static const char *const names[] = {"canonical", "neon64", "x86x4", NULL};
    uint32_t value;
    tmac_status status = parse("i2s-layout", text, names, TMAC_I2S_CANONICAL, &value);
    *layout = (tmac_i2s_layout)value;
    return status;
}

static const struct {
    const char magic[5];
    const char *format;
} formats[] = {
    {"GGUF", "GGUF"},        {{'T', 'M', '2', 0, 0}, "TM2"},
    {"24ka", "bitllama2.c"}, {"TMAC", "TMAC v1"},
    {"Q4V1", "Q4V1"},        {"Q8V1", "Q8V1"},
};

static tmac_status read_model(tmac_source *source, const char *magic,
                              const tmac_open_options *options)
{
    static const tmac_open_options none = {0};
    if (!options) options = &none;
    if (!source->map.data) return tmac_read_huggingface(source, options->base3);
    if (!magic) return tmac_read_llama2c(source);
    if (magic[0] == 'G') return tmac_read_gguf(source, options->i2s_layout);
    if (strcmp(magic, "TM2") == 0) return tmac_read_tm2(source);
    if (magic[0] == 'T' || magic[0] == 'Q') return tmac_read_edge(source);
    return tmac_read_bitllama(source, options->bit_order);
}

static tmac_status finish(tmac_source *source, const tmac_open_options *options)
{
    if (options && options->tokenizer) {
        tmac_vocabulary vocabulary;
        TMAC_TRY(tmac_vocabulary_open(options->tokenizer, source->vocab, &vocabulary));
        tmac_vocabulary_free(&source->vocabulary);
        source->vocabulary = vocabulary;
    } else if (!source->map.data && source->vocabulary.size == 0) {
        return tmac_vocabulary_open_folder(source->path, source->vocab, &source->vocabulary);
    }
    return tmac_ok();
}

tmac_status tmac_source_open(const char *path, const tmac_open_options *options,
                             tmac_source *source)
{
    memset(source, 0, sizeof *source);
    tmac_map map = {0};
    const char *format = "llama2.c v0", *magic = NULL;
    struct stat facts;
    bool folder = stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
    if (folder)
        format = "Hugging Face";
    else
        TMAC_TRY(tmac_map_open(path, &map));
    for (size_t i = 0; i < sizeof formats / sizeof *formats && map.bytes >= 4; i++) {
        if (memcmp(map.data, formats[i].magic, 4) != 0) continue;
        magic = formats[i].magic;
        format = formats[i].format;
    }
    if (map.bytes == 0 && !folder) return tmac_fail(TMAC_BAD_FILE, "%s: is empty", path);
    tmac_source_begin(source, path, format, &map);
    source->deferring = options && options->defer_checks;
    tmac_status status = read_model(source, magic, options);
    if (status.code == TMAC_OK) status = tmac_source_check(source);
    if (status.code != TMAC_OK)
        status = tmac_prefix(status, "%s", path);
    else
        status = finish(source, options);
    if (status.code != TMAC_OK) tmac_source_close(source);
    return status;
}

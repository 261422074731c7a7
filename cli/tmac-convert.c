// tmac-convert: any model we read -> TM2 or GGUF.
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"
#include "convert/convert.h"

// What to write.
typedef struct target {
    const char *format, *type, *quantize;
    bool strict;
} target;

static tmac_status check_target(const target *to)
{
    static const char *const formats[] = {"tm2", "gguf", "tmac"};
    bool known = false, gguf = strcmp(to->format, "gguf") == 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        known = known || strcmp(to->format, formats[i]) == 0;
    if (!known) return tmac_fail(TMAC_USAGE, "--to %.20s: expected tm2, gguf or tmac", to->format);
    if (gguf && !to->type)
        return tmac_fail(TMAC_USAGE, "--to gguf needs --type f32, f16, bf16, q8_0, tq1_0, tq2_0 or "
                                     "i2_s");
    if (!gguf && to->type) return tmac_fail(TMAC_USAGE, "--type goes with --to gguf");
    if (strcmp(to->format, "tmac") == 0 && (!to->quantize || strcmp(to->quantize, "ternary") != 0))
        return tmac_fail(TMAC_USAGE,
                         "--to tmac needs --quantize ternary: the format has no scales and rounds "
                         "the embedding, so that it holds another model");
    if (to->quantize && strcmp(to->quantize, "ternary") != 0 && strcmp(to->quantize, "q4") != 0 &&
        strcmp(to->quantize, "q8") != 0)
        return tmac_fail(TMAC_USAGE, "--quantize %.20s: expected ternary, q4 or q8", to->quantize);
    if (to->quantize && strcmp(to->quantize, "q8") == 0 && !(gguf && strcmp(to->type, "q8_0") == 0))
        return tmac_fail(TMAC_USAGE, "--quantize q8 goes with --to gguf --type q8_0: TM2 holds "
                                     "weights of up to 4 bits, or floats");
    if (to->strict && strcmp(to->format, "tm2") != 0)
        return tmac_fail(TMAC_USAGE, "--strict goes with --to tm2");
    return tmac_ok();
}

// Rounds what is not ternary, and says what it cost.
static tmac_status round_weights(tmac_source *source, const target *to)
{
    tmac_quantize_report r;
    if (!to->quantize || strcmp(to->quantize, "q8") == 0) return tmac_ok();
    bool q4 = strcmp(to->quantize, "q4") == 0;
    bool tensor = strcmp(to->format, "tmac") == 0 || (to->type && strcmp(to->type, "i2_s") == 0);
    TMAC_TRY(tmac_quantize(source,
                           q4       ? TMAC_QUANTIZE_Q4
                           : tensor ? TMAC_QUANTIZE_TERNARY_TENSOR
                                    : TMAC_QUANTIZE_TERNARY,
                           &r));
    if (r.weights == 0) {
        fprintf(stderr,
                "tmac-convert: every projection is of integers already: nothing to round\n");
        return tmac_ok();
    }
    fprintf(stderr,
            "tmac-convert: rounded %llu weights: mean squared error %.4g (%.1f %% of the mean "
            "square), %.1f %% zeros, scales %.4g to %.4g, mean %.4g\n",
            (unsigned long long)r.weights, r.squared_error / (double)r.weights,
            r.squares > 0 ? 100 * r.squared_error / r.squares : 0.0,
            100 * (double)r.zeros / (double)r.weights, (double)r.scale_low, (double)r.scale_high,
            r.scale_sum / (double)r.scales);
    if (!q4)
        fprintf(stderr, "tmac-convert: a model that was not trained to be ternary writes garbage "
                        "after this\n");
    return tmac_ok();
}

// A GGUF file whose vocabulary we do not know and a folder without one are converted all the same, which should surprise
// nobody later. TMAC v1 and strict TM2 never hold a vocabulary.
static void warn_of_vocabulary(const tmac_source *source, const char *from, const target *to)
{
    tmac_vocabulary unread;
    const bool could_hold = strncmp(source->format, "GGUF", 4) == 0 || !source->map.data;
    if (source->vocabulary.size != 0 || !could_hold || to->strict ||
        strcmp(to->format, "tmac") == 0)
        return;
    tmac_status why = tmac_vocabulary_open(from, 0, &unread);
    if (why.code == TMAC_OK)
        tmac_vocabulary_free(&unread);
    else
        fprintf(stderr,
                "tmac-convert: warning: %s; written without a vocabulary: give one with "
                "--tokenizer FILE, now or wherever the model runs\n",
                why.message);
}

static tmac_status convert(const char *from, const char *path, const tmac_open_options *options,
                           const target *to)
{
    tmac_source source;
    char note[TMAC_NOTE_BYTES] = "";
    TMAC_TRY(check_target(to));
    TMAC_TRY(tmac_source_open(from, options, &source));
    tmac_status status = round_weights(&source, to);
    if (status.code == TMAC_OK)
        status = strcmp(to->format, "gguf") == 0   ? tmac_gguf_write(&source, path, to->type, note)
                 : strcmp(to->format, "tmac") == 0 ? tmac_tmac1_write(&source, path)
                                                   : tmac_tm2_write(&source, path, to->strict);
    if (status.code == TMAC_OK) warn_of_vocabulary(&source, from, to);
    tmac_source_close(&source);
    if (status.code == TMAC_OK && *note) fprintf(stderr, "tmac-convert: %s\n", note);
    return status;
}

int main(int argc, char **argv)
{
    const char *bit_order = NULL, *verify = NULL, *base3 = NULL, *i2s_layout = NULL;
    tmac_open_options open = {0};
    target to = {.format = "tm2"};
    const tmac_option options[] = {
        {'z', "tokenizer", TMAC_OPTION_STRING, &open.tokenizer, "FILE",
         "take the vocabulary from this file: tokenizer.json, .model or .bin, GGUF, TM2"},
        {0, "bit-order", TMAC_OPTION_STRING, &bit_order, "msb|lsb",
         "where the first code of a byte is, for bitllama2.c files that are not known"},
        {0, "base3", TMAC_OPTION_STRING, &base3, "rows|flat|none",
         "the order of the digits of base-3 weights in safetensors"},
        {0, "i2s-layout", TMAC_OPTION_STRING, &i2s_layout, "canonical|neon64|x86x4",
         "how the I2_S weights of a GGUF lie"},
        {0, "to", TMAC_OPTION_STRING, &to.format, "tm2|gguf|tmac", "what to write (default tm2)"},
        {0, "quantize", TMAC_OPTION_STRING, &to.quantize, "ternary|q4|q8",
         "round weights that are floats: another model, worse than the original"},
        {0, "type", TMAC_OPTION_STRING, &to.type, "TYPE",
         "the projections of a GGUF: f32, f16, bf16, q8_0, tq1_0, tq2_0, i2_s"},
        {0, "strict", TMAC_OPTION_FLAG, &to.strict, NULL,
         "write only what the oldest TM2 readers read: scales in 16 bits, no tokenizer"},
        {0, "verify", TMAC_OPTION_STRING, &verify, "FILE",
         "check every tensor of a TM2 file against its SHA-256, and do nothing else"},
        {0},
    };
    const tmac_program program = {
        .name = "tmac-convert",
        .purpose = "convert a model to TM2, GGUF or TMAC v1",
        .operands = "IN OUT",
        .operands_min = 0,
        .operands_max = 2,
        .details =
            "IN is a Hugging Face folder with safetensors, a GGUF, a TM2, a bitllama2.c or a "
            "llama2.c model; tmac-convert(1) lists what of each is read. OUT appears when it "
            "is complete, or not at all.",
        .options = options,
    };
    char **operands;
    size_t count;
    tmac_options_parse(&program, argc, argv, &operands, &count);
    if (count != (verify ? 0 : 2))
        return tmac_report(
            &program, tmac_fail(TMAC_USAGE, "%s; --help tells more",
                                verify ? "--verify takes no other files" : "expected IN and OUT"));
    tmac_status status = tmac_bit_order_parse(bit_order, &open.bit_order);
    if (status.code == TMAC_OK) status = tmac_base3_parse(base3, &open.base3);
    if (status.code == TMAC_OK) status = tmac_i2s_layout_parse(i2s_layout, &open.i2s_layout);
    if (status.code == TMAC_OK)
        status = verify ? tmac_tm2_verify(verify) : convert(operands[0], operands[1], &open, &to);
    return tmac_report(&program, status);
}

// tmac-convert: any model file we read -> TM2.
#include "base/options.h"
#include "convert/convert.h"

static tmac_status convert(const char *from, const char *to, const tmac_open_options *options,
                           bool strict)
{
    tmac_source source;
    TMAC_TRY(tmac_source_open(from, options, &source));
    tmac_status status = tmac_tm2_write(&source, to, strict);
    tmac_source_close(&source);
    return status;
}

int main(int argc, char **argv)
{
    const char *bit_order = NULL, *verify = NULL;
    tmac_open_options open = {0};
    bool strict = false;
    const tmac_option options[] = {
        {'z', "tokenizer", TMAC_OPTION_STRING, &open.tokenizer, "FILE",
         "take the vocabulary from this file: tokenizer.bin, GGUF or TM2"},
        {0, "bit-order", TMAC_OPTION_STRING, &bit_order, "msb|lsb",
         "where the first code of a byte is, for bitllama2.c files that are not known"},
        {0, "strict", TMAC_OPTION_FLAG, &strict, NULL,
         "write only what the oldest TM2 readers read: scales in 16 bits, no tokenizer"},
        {0, "verify", TMAC_OPTION_STRING, &verify, "FILE",
         "check every tensor of a TM2 file against its SHA-256, and do nothing else"},
        {0},
    };
    const tmac_program program = {
        .name = "tmac-convert",
        .purpose = "convert a model to TM2",
        .operands = "IN OUT.tmac2.bin",
        .operands_min = 0,
        .operands_max = 2,
        .details = "IN is a llama2.c v0 float model, a bitllama2.c model, a GGUF (F32, F16, BF16, "
                   "TQ2_0, I2_S; "
                   "llama and bitnet) or a TM2. OUT appears when it is complete, or not at all.",
        .options = options,
    };
    char **operands;
    size_t count;
    tmac_options_parse(&program, argc, argv, &operands, &count);
    if (count != (verify ? 0 : 2))
        return tmac_report(&program, tmac_fail(TMAC_USAGE, "%s; --help tells more",
                                               verify ? "--verify takes no other files"
                                                      : "expected IN and OUT.tmac2.bin"));
    tmac_status status = tmac_bit_order_parse(bit_order, &open.bit_order);
    if (status.code == TMAC_OK)
        status =
            verify ? tmac_tm2_verify(verify) : convert(operands[0], operands[1], &open, strict);
    return tmac_report(&program, status);
}

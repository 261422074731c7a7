// tmac-synth: a model of random weights at a real shape.
#include "base/options.h"
#include "convert/convert.h"

int main(int argc, char **argv)
{
    const char *name = NULL;
    uint64_t seed = 1;
    bool folder = false;
    const tmac_option options[] = {
        {0, "shape", TMAC_OPTION_STRING, &name, "NAME|dim=..,hidden=..,..",
         "bitnet-2b-4t, bitnet-3b, llama3-8b, stories110m, ... or the dimensions"},
        {0, "seed", TMAC_OPTION_UNSIGNED, &seed, "N",
         "the same number gives the same file (default 1)"},
        {0, "huggingface", TMAC_OPTION_FLAG, &folder, NULL,
         "write a folder with config.json and safetensors instead of TM2"},
        {0},
    };
    const tmac_program program = {
        .name = "tmac-synth",
        .purpose = "write a model of random weights",
        .operands = "OUT",
        .operands_min = 1,
        .operands_max = 1,
        .details =
            "For measuring speed: such a model prints noise. Dimensions are dim, hidden, layers, "
            "heads and, "
            "where the default will not do, kv_heads, vocab, context, bitnet, bf16, tied, theta, "
            "weights (t, q1, q2, q3 or q4), group (weights that share a scale), bias, head_norms, "
            "rank "
            "(of corrections beside the projections), head_dim and rope (plain, linear, llama3 or "
            "yarn).",
        .options = options,
    };
    char **operands;
    size_t count;
    tmac_options_parse(&program, argc, argv, &operands, &count);
    tmac_synth_shape shape;
    tmac_status status = name ? tmac_synth_parse(name, &shape)
                              : tmac_fail(TMAC_USAGE, "--shape is missing; --help tells more");
    if (status.code == TMAC_OK)
        status = folder ? tmac_synth_write_huggingface(&shape, seed, operands[0])
                        : tmac_synth_write(&shape, seed, operands[0]);
    return tmac_report(&program, status);
}

// tmac-train: models, vocabularies and texts of one's own.
#include <stdio.h>
#include <string.h>

#include "base/host.h"
#include "base/options.h"
#include "base/pool.h"
#include "convert/convert.h"
#include "train/train.h"

// ------------------------------------------------------------------------------------------------------ tokenizer

static int make_tokenizer(int argc, char **argv)
{
    const char *output = NULL;
    uint64_t size = 1024;
    const tmac_option options[] = {
        {'o', "output", TMAC_OPTION_STRING, &output, "FILE",
         "the vocabulary, in the form of llama2.c"},
        {0, "size", TMAC_OPTION_UNSIGNED, &size, "N",
         "pieces, three special ones and 256 bytes among them (default 1024)"},
        {0}};
    const tmac_program program = {
        .name = "tmac-train tokenizer",
        .purpose =
            "Learns a vocabulary from texts: byte-pair encoding with the bytes to fall back to.",
        .operands = "TEXT...",
        .operands_min = 1,
        .operands_max = SIZE_MAX,
        .options = options,
    };
    char **texts;
    size_t count;
    tmac_options_parse(&program, argc, argv, &texts, &count);
    tmac_status status =
        !output ? tmac_fail(TMAC_USAGE, "where to? -o FILE")
                : tmac_bpe_train((const char *const *)texts, count,
                                 size > UINT32_MAX ? UINT32_MAX : (uint32_t)size, output);
    return tmac_report(&program, status);
}

// ----------------------------------------------------------------------------------------------------------- tell

static int tell(int argc, char **argv)
{
    const char *output = NULL;
    uint64_t count = 1000, seed = 1;
    const tmac_option options[] = {
        {'o', "output", TMAC_OPTION_STRING, &output, "FILE", "the texts, one a line"},
        {0, "count", TMAC_OPTION_UNSIGNED, &count, "N", "how many (default 1000)"},
        {0, "seed", TMAC_OPTION_UNSIGNED, &seed, "N",
         "the same number gives the same texts (default 1)"},
        {0}};
    const tmac_program program = {
        .name = "tmac-train tell",
        .purpose = "Writes texts that a grammar tells, and prints the best likelihood they allow.",
        .operands = "GRAMMAR.lua",
        .operands_min = 1,
        .operands_max = 1,
        .options = options,
    };
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    return tmac_report(&program, !output ? tmac_fail(TMAC_USAGE, "where to? -o FILE")
                                         : tmac_tell(operands[0], count, seed, output));
}

// ---------------------------------------------------------------------------------------------------------- train

typedef struct texts_of_options {
    const char *shape, *schedule, *kind, *table, *documents;
} texts_of_options;

static tmac_status choose(const char *option, const char *text, const char *const *names,
                          uint32_t *value)
{
    char known[128] = "";
    for (uint32_t i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *value = i;
            return tmac_ok();
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "",
                 names[i]);
    }
    return tmac_fail(TMAC_USAGE, "--%s %.40s: expected one of %s", option, text, known);
}

static tmac_status read_shape(const char *text, tmac_train_shape *shape)
{
    tmac_synth_shape given;
    TMAC_TRY(tmac_synth_parse(text, &given));
    if (given.weights != TMAC_TERNARY || given.group != 0)
        return tmac_fail(TMAC_USAGE, "--shape: only ternary weights with one scale a matrix, or "
                                     "float ones (--kind), can be trained");
    *shape = (tmac_train_shape){
        .dim = given.dim,
        .hidden = given.hidden,
        .layers = given.layers,
        .heads = given.heads,
        .kv_heads = given.kv_heads,
        .head_dim = given.heads ? given.dim / given.heads : 0,
        .context = given.context,
        .rope_theta = given.rope_theta,
        .epsilon = 1e-5f,
        .final_epsilon = 1e-5f,
        .activation = given.bitnet ? TMAC_RELU2 : TMAC_SILU,
        .sub_norms = given.bitnet,
        .tied = given.tied,
    };
    return tmac_ok();
}

// How fast a shape trains on one thread, next to its matrix products alone.
static int speed(int argc, char **argv)
{
    const char *shape_text = NULL;
    uint64_t rows = 4, vocab = 1024;
    const tmac_option options[] = {
        {0, "shape", TMAC_OPTION_STRING, &shape_text, "dim=..,hidden=..,..", "as in training"},
        {0, "rows", TMAC_OPTION_UNSIGNED, &rows, "N", "rows of the context's length (default 4)"},
        {0, "vocab", TMAC_OPTION_UNSIGNED, &vocab, "N", "size of the vocabulary (default 1024)"},
        {0}};
    const tmac_program program = {
        .name = "tmac-train speed",
        .purpose = "Times training steps on one thread against their matrix products alone.",
        .operands = "",
        .options = options,
    };
    char **operands;
    size_t count;
    tmac_options_parse(&program, argc, argv, &operands, &count);
    tmac_train_shape shape;
    tmac_status status =
        shape_text ? read_shape(shape_text, &shape) : tmac_fail(TMAC_USAGE, "--shape is missing");
    if (status.code == TMAC_OK && (rows == 0 || rows > 64 || vocab == 0 || vocab > 1u << 20))
        status = tmac_fail(TMAC_USAGE, "--rows: 1 to 64, --vocab: 1 to %u", 1u << 20);
    if (status.code != TMAC_OK) return tmac_report(&program, status);
    shape.vocab = (uint32_t)vocab;
    shape.ternary = shape.half = 1;
    return tmac_report(&program, tmac_train_speed(&shape, (uint32_t)rows));
}

static tmac_status read_choices(const texts_of_options *texts, tmac_train_options *options)
{
    static const char *const schedules[] = {"cosine", "two-stage", "constant", NULL};
    static const char *const kinds[] = {"float", "ternary", "same", NULL};
    static const char *const tables[] = {"f32", "f16", NULL};
    static const char *const documents[] = {"none", "lines", "files", NULL};
    uint32_t kind;
    if (texts->shape && options->init)
        return tmac_fail(TMAC_USAGE, "--shape and --init: the initial model has its shape already");
    if (!texts->shape && !options->init)
        return tmac_fail(TMAC_USAGE,
                         "a shape is needed: --shape dim=..,hidden=..,layers=..,heads=.., "
                         "or --init MODEL");
    if (texts->shape) TMAC_TRY(read_shape(texts->shape, &options->recipe.shape));
    TMAC_TRY(choose("kind",
                    texts->kind     ? texts->kind
                    : options->init ? "same"
                                    : "ternary",
                    kinds, &kind));
    if (kind == 2 && !options->init)
        return tmac_fail(TMAC_USAGE, "--kind same: as what? --init MODEL is missing");
    options->keep_kind = kind == 2;
    options->recipe.shape.ternary = kind == 1;
    TMAC_TRY(choose("table", texts->table, tables, &options->recipe.shape.half));
    TMAC_TRY(choose("documents", texts->documents, documents, &options->recipe.documents));
    return choose("schedule", texts->schedule, schedules, &options->recipe.schedule);
}

static int train(int argc, char **argv)
{
    tmac_host host;
    tmac_host_probe(&host);
    tmac_train_options o = {
        .recipe = {.seed = 1,
                   .steps = 1000,
                   .batch = 32,
                   .shards = 8,
                   .chunk = 1024,
                   .warmup = 100,
                   .rate = 2e-3f,
                   .decay = 0.1f,
                   .clip = 1.0f,
                   .beta1 = 0.9f,
                   .beta2 = 0.95f,
                   .teacher_share = 0.5f},
        .hold_out = 0.1f,
        .validate_every = 250,
        .checkpoint_every = 250,
        .report_every = 50,
        .threads = host.logical_cpus,
    };
    tmac_recipe *r = &o.recipe;
    texts_of_options texts = {.schedule = "cosine", .table = "f16", .documents = "none"};
    const tmac_option options[] = {
        {'o', "output", TMAC_OPTION_STRING, &o.output, "FILE",
         "the model, TM2; beside it FILE.state to resume from, FILE.csv and FILE.svg"},
        {'z', "tokenizer", TMAC_OPTION_STRING, &o.tokenizer, "FILE",
         "vocabulary (llama2.c tokenizer, GGUF or TM2; default: that of --init)"},
        {0, "shape", TMAC_OPTION_STRING, &texts.shape, "dim=..,hidden=..,..",
         "layers, heads; also kv_heads, context, bitnet=0 (SiLU, no sub-norms), tied, theta"},
        {0, "kind", TMAC_OPTION_STRING, &texts.kind, "KIND",
         "ternary (default), float, or, with --init, same (default)"},
        {0, "init", TMAC_OPTION_STRING, &o.init, "MODEL",
         "start from this model instead of random numbers"},
        {0, "teacher", TMAC_OPTION_STRING, &o.teacher, "MODEL",
         "learn from this model's predictions too"},
        {0, "teacher-share", TMAC_OPTION_FLOAT, &r->teacher_share, "X",
         "of the loss, that is the divergence from the teacher (default 0.5)"},
        {0, "documents", TMAC_OPTION_STRING, &texts.documents, "HOW",
         "lines, files: each is a text of its own; none (default): all is one stream"},
        {0, "validation", TMAC_OPTION_STRING, &o.validation, "FILE",
         "text to validate on (default: the end of the texts)"},
        {0, "hold-out", TMAC_OPTION_FLOAT, &o.hold_out, "X",
         "of the texts, for validation (default 0.1; 0 with --validation)"},
        {0, "steps", TMAC_OPTION_UNSIGNED, &r->steps, "N",
         "updates (default 1000; 0 only validates and writes)"},
        {0, "batch", TMAC_OPTION_UNSIGNED, &r->batch, "N",
         "rows of text an update learns from (default 32)"},
        {0, "rate", TMAC_OPTION_FLOAT, &r->rate, "X", "peak learning rate (default 0.002)"},
        {0, "warmup", TMAC_OPTION_UNSIGNED, &r->warmup, "N",
         "updates until it is reached (default 100)"},
        {0, "schedule", TMAC_OPTION_STRING, &texts.schedule, "NAME",
         "cosine (default), two-stage or constant"},
        {0, "decay", TMAC_OPTION_FLOAT, &r->decay, "X", "weight decay (default 0.1)"},
        {0, "clip", TMAC_OPTION_FLOAT, &r->clip, "X", "longest gradient (default 1)"},
        {0, "beta1", TMAC_OPTION_FLOAT, &r->beta1, "X",
         "decay of Adam's first moment (default 0.9)"},
        {0, "beta2", TMAC_OPTION_FLOAT, &r->beta2, "X",
         "decay of Adam's second moment (default 0.95)"},
        {0, "table", TMAC_OPTION_STRING, &texts.table, "TYPE",
         "embedding and head: f16 (default) or f32"},
        {0, "seed", TMAC_OPTION_UNSIGNED, &r->seed, "N",
         "the same number gives the same model (default 1)"},
        {0, "shards", TMAC_OPTION_UNSIGNED, &r->shards, "N",
         "parts of a batch; threads beyond them stay idle (default 8)"},
        {0, "chunk", TMAC_OPTION_UNSIGNED, &r->chunk, "N",
         "tokens a thread takes through the model at once (default 1024)"},
        {'j', "threads", TMAC_OPTION_UNSIGNED, &o.threads, "N",
         "threads; never changes the model (default: all processors)"},
        {0, "validate-every", TMAC_OPTION_UNSIGNED, &o.validate_every, "N",
         "updates (default 250; 0: at the end)"},
        {0, "checkpoint-every", TMAC_OPTION_UNSIGNED, &o.checkpoint_every, "N",
         "updates (default 250; 0: at the end)"},
        {0, "report-every", TMAC_OPTION_UNSIGNED, &o.report_every, "N",
         "updates (default 50; 0: at the end)"},
        {0, "fresh", TMAC_OPTION_FLAG, &o.fresh, NULL,
         "start over even where FILE.state could be resumed"},
        {0}};
    const tmac_program program = {
        .name = "tmac-train",
        .purpose = "Trains a ternary or float model from texts; resumes where it was interrupted.",
        .operands = "TEXT...",
        .operands_min = 1,
        .operands_max = SIZE_MAX,
        .details = "tmac-train tokenizer learns a vocabulary, tmac-train tell writes texts from a "
                   "grammar; each "
                   "has its --help. See tmac-train(1) and docs/training.md.",
        .options = options,
    };
    char **operands;
    tmac_options_parse(&program, argc, argv, &operands, &o.text_count);
    o.texts = (const char *const *)operands;
    tmac_status status = tmac_ok();
    if (!o.output)
        status = tmac_fail(TMAC_USAGE, "where to? -o FILE; try '%s --help'", program.name);
    else if (o.hold_out < 0 || o.hold_out >= 1)
        status = tmac_fail(TMAC_USAGE, "--hold-out is a part, from 0 to below 1");
    else if (o.threads == 0 || o.threads > TMAC_POOL_MAX)
        status = tmac_fail(TMAC_USAGE, "--threads: between 1 and %d", TMAC_POOL_MAX);
    if (o.validation) o.hold_out = 0;
    if (status.code == TMAC_OK) status = read_choices(&texts, &o);
    if (status.code == TMAC_OK) status = tmac_train(&o);
    return tmac_report(&program, status);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "tokenizer") == 0) return make_tokenizer(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "tell") == 0) return tell(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "speed") == 0) return speed(argc - 1, argv + 1);
    return train(argc, argv);
}

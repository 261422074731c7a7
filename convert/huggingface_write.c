// Writing a Hugging Face folder, in the layout of microsoft/bitnet-b1.58-2B-4T (convert/huggingface_matrix.c describes
// the packing). Everything the reader takes can be written but RoPE scaling and low-rank corrections.
//
// Offsets are known before a byte is written, so the header is made first and the data streams behind it.
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/progress.h"
#include "convert/neutral.h"
#include "convert/writers.h"
#include "runtime/half.h"

enum { NAME_BYTES = 128, CHUNK_WEIGHTS = 1 << 20 };

typedef struct writer {
    const tmac_source *source;
    tmac_output output;
    tmac_progress progress;
    json_t *header; // while it is made; NULL while data is written
    uint64_t offset;
    tmac_status status;
} writer;

static bool is_bf16(const float *values, size_t count)
{
    uint32_t lost = 0;
    for (size_t i = 0; i < count; i++)
        lost |= tmac_bits_of_float(values[i]) & 0xffffu;
    return lost == 0;
}

static void describe(writer *w, const char *name, const char *type, uint64_t rows, uint64_t columns,
                     uint64_t bytes)
{
    uint64_t end = w->offset + bytes;
    json_t *shape = columns ? json_pack("[I,I]", (json_int_t)rows, (json_int_t)columns)
                            : json_pack("[I]", (json_int_t)rows);
    json_t *entry = json_pack("{s:s,s:o,s:[I,I]}", "dtype", type, "shape", shape, "data_offsets",
                              (json_int_t)w->offset, (json_int_t)end);
    if (!entry || json_object_set_new(w->header, name, entry) != 0) w->status = tmac_no_memory();
    w->offset = end;
}

static void write_bf16(writer *w, const float *values, size_t count)
{
    uint16_t halves[1024];
    for (size_t i = 0; i < count; i += 1024) {
        size_t part = count - i < 1024 ? count - i : 1024;
        for (size_t k = 0; k < part; k++)
            halves[k] = (uint16_t)(tmac_bits_of_float(values[i + k]) >> 16);
        tmac_output_write(&w->output, halves, part * sizeof *halves);
    }
}

static void put_vector(writer *w, const char *name, const float *values, uint32_t count)
{
    if (!values || w->status.code != TMAC_OK) return;
    bool narrow = is_bf16(values, count);
    if (w->header)
        describe(w, name, narrow ? "BF16" : "F32", count, 0, (uint64_t)count * (narrow ? 2 : 4));
    else if (narrow)
        write_bf16(w, values, count);
    else
        tmac_output_write(&w->output, values, count * sizeof *values);
}

static void write_floats(writer *w, const tmac_matrix *matrix, uint32_t head)
{
    float *row = malloc(matrix->columns * sizeof *row);
    if (!row) w->status = tmac_no_memory();
    for (uint32_t r = 0; r < matrix->rows && w->status.code == TMAC_OK; r++) {
        matrix->read_float(matrix, tmac_neutral_row(r, head), 1, row);
        if (matrix->number == TMAC_BF16)
            write_bf16(w, row, matrix->columns);
        else
            tmac_output_write(&w->output, row, matrix->columns * sizeof *row);
        tmac_progress_advance(&w->progress, matrix->columns);
    }
    free(row);
}

static void put_floats(writer *w, const char *name, const tmac_matrix *matrix, uint32_t head)
{
    bool narrow = matrix->number == TMAC_BF16;
    if (w->header)
        describe(w, name, narrow ? "BF16" : "F32", matrix->rows, matrix->columns,
                 (uint64_t)matrix->rows * matrix->columns * (narrow ? 2 : 4));
    else
        write_floats(w, matrix, head);
}

static void write_packed(writer *w, const tmac_matrix *matrix, uint32_t head)
{
    uint32_t columns = matrix->columns, quarter = matrix->rows / 4;
    int8_t *codes = malloc(columns);
    uint8_t *packed = malloc(columns);
    if (!codes || !packed) w->status = tmac_no_memory();
    for (uint32_t r = 0; r < quarter && w->status.code == TMAC_OK; r++) {
        memset(packed, 0, columns);
        for (uint32_t i = 0; i < 4; i++) {
            matrix->read_codes(matrix, tmac_neutral_row(r + i * quarter, head), 1, codes);
            for (uint32_t c = 0; c < columns; c++)
                packed[c] |= (uint8_t)((codes[c] + 1) << 2 * i);
        }
        tmac_output_write(&w->output, packed, columns);
        tmac_progress_advance(&w->progress, 4 * (uint64_t)columns);
    }
    free(codes);
    free(packed);
}

static void put_projection(writer *w, uint32_t layer, tmac_part_of_layer part, const char *name)
{
    const tmac_matrix *matrix = tmac_layer_part(w->source, layer, part);
    const float *bias =
        part <= TMAC_LAYER_VALUE ? w->source->layers[layer].extras.bias[part] : NULL;
    uint32_t head = part == TMAC_LAYER_QUERY || part == TMAC_LAYER_KEY ? w->source->head_dim : 0;
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "model.layers.%u.%s.weight", layer, name);
    if (matrix->number != TMAC_TERNARY) {
        put_floats(w, full, matrix, head);
    } else {
        if (w->header)
            describe(w, full, "U8", matrix->rows / 4, matrix->columns,
                     (uint64_t)matrix->rows / 4 * matrix->columns);
        else
            write_packed(w, matrix, head);
        snprintf(full, sizeof full, "model.layers.%u.%s.weight_scale", layer, name);
        put_vector(w, full, matrix->scales, 1);
    }
    if (!bias || w->status.code != TMAC_OK) return;
    float *ordered = malloc(matrix->rows * sizeof *ordered);
    if (!ordered) w->status = tmac_no_memory();
    for (uint32_t r = 0; ordered && r < matrix->rows; r++)
        ordered[r] = bias[tmac_neutral_row(r, head)];
    snprintf(full, sizeof full, "model.layers.%u.%s.bias", layer, name);
    put_vector(w, full, ordered, matrix->rows);
    free(ordered);
}

static void put_head_norm(writer *w, const char *name, const float *norm)
{
    uint32_t dim = w->source->head_dim;
    if (!norm) return;
    float *ordered = malloc(dim * sizeof *ordered);
    if (!ordered) w->status = tmac_no_memory();
    for (uint32_t i = 0; ordered && i < dim; i++)
        ordered[i] = norm[tmac_neutral_row(i, dim)];
    put_vector(w, name, ordered, dim);
    free(ordered);
}

static void put_layer(writer *w, uint32_t index)
{
    static const char *const names[TMAC_LAYER_MATRICES] = {
        [TMAC_LAYER_QUERY] = "self_attn.q_proj", [TMAC_LAYER_KEY] = "self_attn.k_proj",
        [TMAC_LAYER_VALUE] = "self_attn.v_proj", [TMAC_LAYER_OUTPUT] = "self_attn.o_proj",
        [TMAC_LAYER_GATE] = "mlp.gate_proj",     [TMAC_LAYER_UP] = "mlp.up_proj",
        [TMAC_LAYER_DOWN] = "mlp.down_proj",
    };
    const tmac_source *source = w->source;
    const tmac_source_layer *layer = &source->layers[index];
    const struct {
        const char *name;
        const float *values;
        uint32_t count;
    } norms[] = {
        {"input_layernorm", layer->attention_norm, source->dim},
        {"post_attention_layernorm", layer->ffn_norm, source->dim},
        {"self_attn.attn_sub_norm", layer->attention_sub_norm, source->heads * source->head_dim},
        {"mlp.ffn_sub_norm", layer->ffn_sub_norm, source->hidden},
    };
    char name[NAME_BYTES];
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        snprintf(name, sizeof name, "model.layers.%u.%s.weight", index, norms[i].name);
        put_vector(w, name, norms[i].values, norms[i].count);
    }
    snprintf(name, sizeof name, "model.layers.%u.self_attn.q_norm.weight", index);
    put_head_norm(w, name, layer->extras.query_norm);
    snprintf(name, sizeof name, "model.layers.%u.self_attn.k_norm.weight", index);
    put_head_norm(w, name, layer->extras.key_norm);
    for (int part = 0; part < TMAC_LAYER_MATRICES && w->status.code == TMAC_OK; part++)
        put_projection(w, index, (tmac_part_of_layer)part, names[part]);
}

// Walked twice: to describe and to write.
static void put_all(writer *w)
{
    put_floats(w, "model.embed_tokens.weight", &w->source->embedding, 0);
    for (uint32_t l = 0; l < w->source->layer_count; l++)
        put_layer(w, l);
    put_vector(w, "model.norm.weight", w->source->final_norm, w->source->dim);
    if (!w->source->tied_head) put_floats(w, "lm_head.weight", &w->source->head, 0);
}

static tmac_status check(const tmac_source *source)
{
    if (source->rope_divisors)
        return tmac_fail(TMAC_UNSUPPORTED, "RoPE scaling is not written to Hugging Face folders");
    for (uint32_t l = 0; l < source->layer_count; l++)
        for (int p = 0; p < TMAC_LAYER_MATRICES; p++) {
            const tmac_matrix *matrix = tmac_layer_part(source, l, (tmac_part_of_layer)p);
            if (source->layers[l].extras.low[p].rank)
                return tmac_fail(TMAC_UNSUPPORTED,
                                 "low-rank corrections are not written to Hugging Face folders");
            bool packs =
                matrix->number == TMAC_TERNARY && matrix->scale_count == 1 && matrix->rows % 4 == 0;
            if (tmac_number_is_integer(matrix->number) && !packs)
                return tmac_fail(TMAC_UNSUPPORTED,
                                 "%s: the layout holds ternary weights with one scale a tensor and "
                                 "a multiple of 4 rows",
                                 matrix->name);
        }
    return tmac_ok();
}

static tmac_status save_json(const char *folder, const char *name, json_t *root)
{
    char path[1024];
    tmac_output output;
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(root);
    if (!text) return tmac_no_memory();
    snprintf(path, sizeof path, "%s/%s", folder, name);
    tmac_status status = tmac_output_open(path, &output);
    if (status.code == TMAC_OK) {
        tmac_output_write(&output, text, strlen(text));
        status = tmac_output_commit(&output);
    }
    free(text);
    return status;
}

static tmac_status save_configuration(const tmac_source *source, const char *folder)
{
    bool ternary = source->layers[0].query.number == TMAC_TERNARY;
    bool bitnet = source->layers[0].attention_sub_norm != NULL;
    const tmac_source_extras *extras = &source->layers[0].extras;
    const char *type = bitnet               ? "bitnet"
                       : extras->query_norm ? "qwen3"
                       : extras->bias[0]    ? "qwen2"
                                            : "llama";
    const char *class = bitnet               ? "BitNetForCausalLM"
                        : extras->query_norm ? "Qwen3ForCausalLM"
                        : extras->bias[0]    ? "Qwen2ForCausalLM"
                                             : "LlamaForCausalLM";
    const tmac_vocabulary *v = &source->vocabulary;
    json_t *root = json_pack(
        "{s:[s],s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:b,s:I,s:I,s:I,s:s}", "architectures",
        class, "model_type", type, "hidden_act",
        source->activation == TMAC_RELU2 ? "relu2" : "silu", "hidden_size", (json_int_t)source->dim,
        "intermediate_size", (json_int_t)source->hidden, "num_hidden_layers",
        (json_int_t)source->layer_count, "num_attention_heads", (json_int_t)source->heads,
        "num_key_value_heads", (json_int_t)source->kv_heads, "head_dim",
        (json_int_t)source->head_dim, "max_position_embeddings", (json_int_t)source->context,
        "rms_norm_eps", (double)source->norm_epsilon, "rope_theta", (double)source->rope_theta,
        "tie_word_embeddings", source->tied_head, "vocab_size", (json_int_t)source->vocab,
        "bos_token_id", (json_int_t)(v->size ? v->bos : 0), "eos_token_id",
        (json_int_t)(v->size ? v->eos : 0), "torch_dtype", "bfloat16");
    if (root && ternary)
        json_object_set_new(root, "quantization_config",
                            json_pack("{s:s,s:s,s:s}", "quant_method", "bitnet", "linear_class",
                                      "autobitlinear", "quantization_mode", "offline"));
    TMAC_TRY(save_json(folder, "config.json", root));
    return save_json(folder, "generation_config.json",
                     json_pack("{s:I,s:[I],s:b}", "bos_token_id",
                               (json_int_t)(v->size ? v->bos : 0), "eos_token_id",
                               (json_int_t)(v->size ? v->eos : 0), "do_sample", 1));
}

static tmac_status save_tensors(const tmac_source *source, const char *folder)
{
    char path[1024];
    writer w = {.source = source, .header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt")};
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    put_all(&w);
    char *text = json_dumps(w.header, JSON_COMPACT);
    json_decref(w.header);
    w.header = NULL;
    if (!text) return tmac_no_memory();
    if (w.status.code == TMAC_OK) w.status = tmac_output_open(path, &w.output);
    if (w.status.code != TMAC_OK) {
        free(text);
        return w.status;
    }
    uint64_t bytes = strlen(text),
             padded = (bytes + 7) / 8 * 8; // with spaces, so that data is aligned
    tmac_output_write(&w.output, &padded, sizeof padded);
    tmac_output_write(&w.output, text, bytes);
    tmac_output_write(&w.output, "        ", padded - bytes);
    free(text);
    tmac_progress_begin(&w.progress, "writing", w.offset);
    put_all(&w);
    tmac_progress_end(&w.progress);
    if (w.status.code == TMAC_OK) return tmac_output_commit(&w.output);
    tmac_output_abort(&w.output);
    return w.status;
}

tmac_status tmac_huggingface_write(const tmac_source *source, const char *folder)
{
    tmac_status status = tmac_source_check(source);
    if (status.code == TMAC_OK) status = check(source);
    if (status.code == TMAC_OK && strlen(folder) > 900)
        status = tmac_fail(TMAC_USAGE, "the path is too long");
    if (status.code == TMAC_OK && mkdir(folder, 0777) != 0 && errno != EEXIST)
        status = tmac_fail(TMAC_IO, "%s", strerror(errno));
    if (status.code == TMAC_OK) status = save_tensors(source, folder);
    if (status.code == TMAC_OK) status = save_configuration(source, folder);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", folder);
}

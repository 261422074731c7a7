// config.json of a Hugging Face folder: dimensions, activation, RoPE, and how linear layers are quantized.
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/huggingface.h"
#include "convert/neutral.h"
#include "convert/rope_scaling.h"

typedef struct family {
    const char *name, *neutral; // model_type; what we call it
    bool bitnet, sub_norms, head_norms;
} family;

static const family families[] = {
    {"bitnet", "bitnet", true, true, false},   {"llama", "llama", false, false, false},
    {"falcon3", "llama", false, false, false}, {"falcon_e", "llama", false, false, false},
    {"qwen2", "qwen2", false, false, false},   {"qwen3", "qwen3", false, false, true},
};

static tmac_status find_family(const json_t *root, const family **found)
{
    const char *type = json_string_value(json_object_get(root, "model_type"));
    const char *class =
        json_string_value(json_array_get(json_object_get(root, "architectures"), 0));
    // Models trained as BitNet without a model_type, or under llama's, say so in the class.
    if (class &&
        ((!type && strncasecmp(class, "bitnet", 6) == 0) ||
         (type && strcmp(type, "llama") == 0 && strncasecmp(class, "BitNetForCausalLM", 17) == 0)))
        type = "bitnet";
    for (size_t i = 0; type && i < sizeof families / sizeof *families; i++) {
        *found = &families[i];
        if (strcmp(type, families[i].name) == 0) return tmac_ok();
    }
    return tmac_fail(TMAC_UNSUPPORTED,
                     "architecture %.60s is not supported; bitnet, llama (Falcon3 and Falcon-E "
                     "too), qwen2 and qwen3 are",
                     type    ? type
                     : class ? class
                             : "(none)");
}

// --------------------------------------------------------------------------------------------------------- values

// A dimension; fallback -1 where it must be there. tmac_source_check_dimensions bounds it.
static tmac_status dimension(const json_t *root, const char *name, int64_t fallback,
                             uint32_t *value)
{
    const json_t *found = json_object_get(root, name);
    json_int_t wide = json_is_integer(found) ? json_integer_value(found) : fallback;
    bool absent = !found || json_is_null(found);
    if (absent && fallback < 0) return tmac_fail(TMAC_BAD_FILE, "%s is missing", name);
    if ((!absent && !json_is_integer(found)) || wide < 0 || wide > INT32_MAX)
        return tmac_fail(TMAC_BAD_FILE, "%s is not a whole number that makes sense", name);
    *value = (uint32_t)wide;
    return tmac_ok();
}

static tmac_status number(const json_t *root, const char *name, double fallback, double *value)
{
    const json_t *found = json_object_get(root, name);
    *value = fallback;
    if (!found || json_is_null(found)) return tmac_ok();
    if (!json_is_number(found)) return tmac_fail(TMAC_BAD_FILE, "%s is not a number", name);
    *value = json_number_value(found);
    return isfinite(*value) ? tmac_ok() : tmac_fail(TMAC_BAD_FILE, "%s is not finite", name);
}

static tmac_status refuse_if(const json_t *root, const char *name, const char *why)
{
    return json_is_true(json_object_get(root, name))
               ? tmac_fail(TMAC_UNSUPPORTED, "%s: %s is not supported", name, why)
               : tmac_ok();
}

static tmac_status read_rope(const json_t *root, tmac_source *source)
{
    const json_t *scaling = json_object_get(root, "rope_scaling");
    const json_t *nested = json_object_get(root, "rope_parameters"); // newer files
    double theta, partial, original;
    if (!json_is_object(scaling)) scaling = nested;
    TMAC_TRY(number(json_is_object(nested) && !json_object_get(root, "rope_theta") ? nested : root,
                    "rope_theta", 10000.0, &theta));
    TMAC_TRY(number(root, "partial_rotary_factor", 1.0, &partial));
    if (partial != 1.0)
        return tmac_fail(TMAC_UNSUPPORTED, "RoPE over a part of a head (%g) is not supported",
                         partial);
    source->rope_theta = (float)theta;
    source->rope_dims = source->head_dim;
    if (!json_is_object(scaling)) return tmac_ok();
    const char *type = json_string_value(json_object_get(scaling, "rope_type"));
    if (!type) type = json_string_value(json_object_get(scaling, "type"));
    if (!type) type = "default";
    tmac_rope_parameters p = {0};
    TMAC_TRY(tmac_rope_kind_parse(type, strlen(type), &p.kind));
    TMAC_TRY(number(root, "original_max_position_embeddings", source->context, &original));
    TMAC_TRY(number(scaling, "factor", 1.0, &p.factor));
    TMAC_TRY(number(scaling, "original_max_position_embeddings", original, &p.original_context));
    TMAC_TRY(number(scaling, "low_freq_factor", 1.0, &p.low));
    TMAC_TRY(number(scaling, "high_freq_factor", 4.0, &p.high));
    TMAC_TRY(number(scaling, "beta_fast", 0.0, &p.beta_fast));
    TMAC_TRY(number(scaling, "beta_slow", 0.0, &p.beta_slow));
    TMAC_TRY(number(scaling, "attention_factor", 0.0, &p.attention_factor));
    if (json_object_get(scaling, "mscale") || json_object_get(scaling, "mscale_all_dim"))
        return tmac_fail(TMAC_UNSUPPORTED, "RoPE scaling with mscale is not supported");
    return tmac_rope_scale(source, &p);
}

static tmac_status read_quantization(const json_t *root, tmac_hf_config *config)
{
    const json_t *given = json_object_get(root, "quantization_config");
    if (!json_is_object(given)) return tmac_ok();
    const char *method = json_string_value(json_object_get(given, "quant_method"));
    const char *class = json_string_value(json_object_get(given, "linear_class"));
    if (!method || strcmp(method, "bitnet") != 0)
        return tmac_fail(TMAC_UNSUPPORTED, "quantization by %.40s is not supported; bitnet is",
                         method ? method : "(none)");
    config->bitnet = true;
    config->divide = !class || strcmp(class, "bitlinear") == 0;
    if (class && !config->divide && strcmp(class, "autobitlinear") != 0)
        return tmac_fail(TMAC_UNSUPPORTED, "linear_class %.40s is not supported", class);
    return refuse_if(given, "use_rms_norm", "a norm inside every linear layer");
}

static tmac_status read_dimensions(const json_t *root, tmac_source *source)
{
    double epsilon;
    TMAC_TRY(dimension(root, "hidden_size", -1, &source->dim));
    TMAC_TRY(dimension(root, "intermediate_size", -1, &source->hidden));
    TMAC_TRY(dimension(root, "num_hidden_layers", -1, &source->layer_count));
    TMAC_TRY(dimension(root, "num_attention_heads", -1, &source->heads));
    TMAC_TRY(dimension(root, "num_key_value_heads", source->heads, &source->kv_heads));
    TMAC_TRY(dimension(root, "max_position_embeddings", -1, &source->context));
    TMAC_TRY(dimension(root, "vocab_size", -1, &source->vocab));
    TMAC_TRY(dimension(root, "head_dim", source->heads ? source->dim / source->heads : 0,
                       &source->head_dim));
    TMAC_TRY(number(root, "rms_norm_eps", 1e-6, &epsilon));
    source->norm_epsilon = source->final_norm_epsilon = (float)epsilon;
    source->tied_head = json_is_true(json_object_get(root, "tie_word_embeddings"));
    return tmac_ok();
}

static tmac_status read_config(const json_t *root, tmac_source *source, tmac_hf_config *config)
{
    const family *known = NULL;
    TMAC_TRY(find_family(root, &known));
    snprintf(source->architecture, sizeof source->architecture, "%s", known->neutral);
    *config = (tmac_hf_config){
        .bitnet = known->bitnet, .sub_norms = known->sub_norms, .head_norms = known->head_norms};
    TMAC_TRY(read_dimensions(root, source));
    const char *activation = json_string_value(json_object_get(root, "hidden_act"));
    if (!activation || (strcmp(activation, "silu") != 0 && strcmp(activation, "relu2") != 0))
        return tmac_fail(TMAC_UNSUPPORTED, "hidden_act %.40s is not supported; silu and relu2 are",
                         activation ? activation : "(none)");
    source->activation = strcmp(activation, "relu2") == 0 ? TMAC_RELU2 : TMAC_SILU;
    TMAC_TRY(refuse_if(root, "use_sliding_window", "attention to a window"));
    TMAC_TRY(tmac_source_check_dimensions(source));
    TMAC_TRY(read_rope(root, source));
    return read_quantization(root, config);
}

tmac_status tmac_hf_config_read(const char *folder, tmac_source *source, tmac_hf_config *config)
{
    char path[1200];
    json_error_t error;
    snprintf(path, sizeof path, "%s/config.json", folder);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root && json_error_code(&error) == json_error_cannot_open_file)
        return tmac_fail(TMAC_NOT_FOUND, "config.json not found: a model folder has one");
    if (!json_is_object(root)) {
        json_decref(root);
        return tmac_fail(TMAC_BAD_FILE, "config.json: line %d: %s", error.line, error.text);
    }
    tmac_status status = read_config(root, source, config);
    json_decref(root);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "config.json");
}

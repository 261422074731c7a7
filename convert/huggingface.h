// Models as Hugging Face folders: shared by convert/huggingface*.c. Private to convert/.
#ifndef TMAC_CONVERT_HUGGINGFACE_H
#define TMAC_CONVERT_HUGGINGFACE_H

#include "convert/convert.h"
#include "convert/safetensors.h"

// What config.json says beyond the dimensions, which go to the source.
typedef struct tmac_hf_config {
    bool bitnet;     // linear layers are ternary at inference, whatever the file holds
    bool sub_norms;  // expected
    bool head_norms; // qwen3
    bool divide;     // weight_scale divides (linear_class bitlinear)
} tmac_hf_config;

// Reads FOLDER/config.json into the source and *config.
tmac_status tmac_hf_config_read(const char *folder, tmac_source *source, tmac_hf_config *config);

// A projection whose name and shape are set, from its tensor and (packed ones) its weight_scale.
tmac_status tmac_hf_matrix(tmac_source *source, tmac_matrix *matrix, const tmac_hf_config *config,
                           const tmac_st_tensor *tensor, const tmac_st_tensor *scale,
                           tmac_base3 base3, uint32_t half_split_head);

// F32, F16, BF16; false for another type.
static inline bool tmac_st_number(const tmac_st_tensor *tensor, tmac_number *number)
{
    *number = (tmac_number)tensor->type;
    return tensor->type <= TMAC_ST_BF16;
}

#endif

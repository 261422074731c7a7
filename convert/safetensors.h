// A folder of safetensors: the tensors of all its files by name. Private to convert/. What they mean is
// convert/huggingface.c's.
#ifndef TMAC_CONVERT_SAFETENSORS_H
#define TMAC_CONVERT_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "runtime/source.h"

typedef enum tmac_st_type {
    TMAC_ST_F32, // the first three are tmac_number's
    TMAC_ST_F16,
    TMAC_ST_BF16,
    TMAC_ST_U8,
    TMAC_ST_OTHER
} tmac_st_type;

enum { TMAC_ST_DIMENSIONS = 4 };

typedef struct tmac_st_tensor {
    const char *name; // owned by the folder
    tmac_st_type type;
    char type_name[12];
    uint32_t dimensions;
    uint64_t extent[TMAC_ST_DIMENSIONS]; // slowest first, as the file says; 1 beyond `dimensions`
    const uint8_t *data;                 // all its bytes are in the file
    uint64_t bytes;
    bool used; // for the reader: what it has made use of
} tmac_st_tensor;

typedef struct tmac_safetensors {
    tmac_map *shards;
    uint32_t shard_count;
    tmac_st_tensor *tensors; // sorted by name, no name twice
    size_t tensor_count, tensor_room;
    uint8_t hash[TMAC_HASH_BYTES]; // of the headers and of what the file system says of each file
} tmac_safetensors;

// Opens model.safetensors of `folder`, or the files that model.safetensors.index.json names, or the only *.safetensors
// there. Every tensor lies in its file; every one that the index names is there. Messages name the file within the folder.
tmac_status tmac_safetensors_open(const char *folder, tmac_safetensors *files);

// Frees the list; unmaps the files too unless the caller has taken them over (shards is then NULL).
void tmac_safetensors_close(tmac_safetensors *files);

tmac_st_tensor *tmac_safetensors_find(const tmac_safetensors *files,
                                      const char *name); // NULL: none

#endif

// Targets: model folders.
//
//   folder       every file of one. The input is texts, each with a NUL behind it: the files of `parts` below in turn, an
//                empty text for one that is not there. The next text is the header of model.safetensors (which is also
//                every shard that an index names), all further bytes its data.
//   safetensors  model.safetensors as it is, behind a byte that chooses one of two config.json and how digits to base 3
//                are read
//
// The folder itself is there, because open looks into it; its files are in memory.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static char folder[64], weights[96];

static void remove_folder(void)
{
    unlink(weights);
    rmdir(folder);
}

const char *fuzz_folder_path(void)
{
    if (folder[0]) return folder;
    snprintf(folder, sizeof folder, "%s/tmac-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder)) {
        folder[0] = '\0';
        return NULL;
    }
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    atexit(remove_folder);
    FILE *empty = fopen(weights, "wb");
    if (empty) fclose(empty);
    return folder;
}

static const char *const parts[] = {
    "/config.json",           "/tokenizer.json",
    "/tokenizer_config.json", "/generation_config.json",
    "/chat_template.jinja",   "/model.safetensors.index.json",
};
enum { PARTS = sizeof parts / sizeof *parts };
_Static_assert((int)PARTS < (int)FUZZ_FILES_MAX, "and the weights");

// The text at *at, which moves behind its NUL.
static fuzz_file take_text(const char *name, const uint8_t **at, const uint8_t *end)
{
    const uint8_t *begin = *at,
                  *stop = begin < end ? memchr(begin, 0, (size_t)(end - begin)) : NULL;
    if (!stop) stop = end;
    *at = stop < end ? stop + 1 : end;
    return (fuzz_file){name, begin, (size_t)(stop - begin)};
}

void fuzz_folder(const uint8_t *data, size_t bytes)
{
    const uint8_t *at = data, *end = data + bytes;
    fuzz_file files[FUZZ_FILES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < PARTS; i++) {
        files[count] = take_text(parts[i], &at, end);
        if (files[count].bytes) count++;
    }
    const fuzz_file header = take_text("", &at, end);
    const size_t tail = (size_t)(end - at), whole = 8 + header.bytes + tail;
    uint8_t *tensors = malloc(whole);
    if (!tensors || !fuzz_folder_path()) {
        free(tensors);
        return;
    }
    const uint64_t length = header.bytes;
    memcpy(tensors, &length, 8);
    if (header.bytes) memcpy(tensors + 8, header.data, header.bytes);
    if (tail) memcpy(tensors + 8 + header.bytes, at, tail);
    files[count++] = (fuzz_file){".safetensors", tensors, whole};
    fuzz_files(files, count);
    // A folder whose weights are no model may have a vocabulary still.
    if (!fuzz_model(folder, &(tmac_open_options){.base3 = (tmac_base3)(bytes % 3)}))
        fuzz_vocabulary_file(folder);
    free(tensors);
}

void fuzz_safetensors(const uint8_t *data, size_t bytes)
{
#define COMMON                                                                                     \
    "\"hidden_size\":8,\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2," \
    "\"max_position_embeddings\":8,\"vocab_size\":6,"
    static const char *const configs[2] = {
        "{" COMMON
        "\"model_type\":\"bitnet\",\"hidden_act\":\"relu2\",\"tie_word_embeddings\":true,"
        "\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\"}}",
        "{" COMMON "\"model_type\":\"qwen3\",\"hidden_act\":\"silu\"}"};
    if (bytes == 0 || !fuzz_folder_path()) return;
    const char *config = configs[data[0] & 1];
    fuzz_files((const fuzz_file[]){{parts[0], (const uint8_t *)config, strlen(config)},
                                   {".safetensors", data + 1, bytes - 1}},
               2);
    fuzz_model(folder, &(tmac_open_options){.base3 = (tmac_base3)((data[0] >> 1) % 3)});
}

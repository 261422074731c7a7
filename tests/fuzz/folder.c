// Target: a model folder, config.json and model.safetensors. The input is both, one after the other: two bytes with the
// length of config.json, least first, config.json, model.safetensors.
//
// config.json is read by name, so it is written to a folder of the process; the larger file is not.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static char folder[64], config[96], weights[96];

static void remove_folder(void)
{
    unlink(config);
    unlink(weights);
    rmdir(folder);
}

static bool write_file(const char *path, const uint8_t *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    const bool whole = fwrite(data, 1, bytes, file) == bytes;
    return fclose(file) == 0 && whole;
}

static bool make_folder(void)
{
    if (folder[0]) return true;
    snprintf(folder, sizeof folder, "%s/tmac-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(folder)) return false;
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    atexit(remove_folder);
    return write_file(weights, (const uint8_t *)"", 0); // to be found; its content is the input's
}

void fuzz_folder(const uint8_t *data, size_t bytes)
{
    if (bytes < 2 || !make_folder()) return;
    size_t split = (size_t)data[0] | (size_t)data[1] << 8;
    if (split > bytes - 2) split = bytes - 2;
    if (!write_file(config, data + 2, split)) return;
    fuzz_input(data + 2 + split, bytes - 2 - split);
    fuzz_model(folder, &(tmac_open_options){.base3 = (tmac_base3)(bytes % 3)});
}

// Every tensor of a TM2 against the SHA-256 that its extension records. Opening a file proves its structure and the hash
// of the index; this reads the rest, which is too much for every start.
#include <string.h>

#include "base/progress.h"
#include "convert/convert.h"
#include "convert/tm2.h"

static tmac_status verify_tensors(const tmac_map *map, const tmac_tm2_index *index)
{
    enum { PIECE = 1 << 20 };
    tmac_progress progress;
    uint64_t total = 0;
    for (uint32_t i = 0; i < index->tensor_count; i++)
        total += index->tensors[i].bytes;
    tmac_progress_begin(&progress, "verifying", total);
    tmac_status status = tmac_ok();
    for (uint32_t i = 0; i < index->tensor_count && status.code == TMAC_OK; i++) {
        const tmac_tm2_tensor *tensor = &index->tensors[i];
        uint8_t digest[TMAC_HASH_BYTES];
        tmac_hash_state hash;
        tmac_hash_begin(&hash);
        for (uint64_t done = 0; done < tensor->bytes;) {
            uint64_t piece = tensor->bytes - done < PIECE ? tensor->bytes - done : PIECE;
            tmac_hash_add(&hash, map->data + tensor->offset + done, (size_t)piece);
            tmac_progress_advance(&progress, piece);
            done += piece;
        }
        tmac_hash_end(&hash, digest);
        if (memcmp(digest, tensor->hash, sizeof digest) != 0)
            status = tmac_fail(TMAC_BAD_FILE,
                               "tensor %s does not have the SHA-256 recorded for it: damaged",
                               tensor->name);
    }
    tmac_progress_end(&progress);
    return status;
}

tmac_status tmac_tm2_verify(const char *path)
{
    tmac_source source;
    tmac_tm2_index index = {0};
    TMAC_TRY(tmac_source_open(path, NULL, &source)); // proves the structure
    tmac_status status = tmac_ok();
    if (strcmp(source.format, "TM2") == 0) status = tmac_tm2_index_open(&source.map, &index);
    if (status.code == TMAC_OK && !index.present)
        status = tmac_fail(TMAC_UNSUPPORTED,
                           "no TM2 file with an extension: there are no hashes to verify");
    if (status.code == TMAC_OK) status = verify_tensors(&source.map, &index);
    tmac_tm2_index_close(&index);
    tmac_source_close(&source);
    return status.code == TMAC_OK ? status : tmac_prefix(status, "%s", path);
}

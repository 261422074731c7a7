// What packing is made of: jobs, one for each matrix that does not stay in the file. Private to pack*.c.
#ifndef TMAC_RUNTIME_PACK_H
#define TMAC_RUNTIME_PACK_H

#include "runtime/model_private.h"

// One matrix waiting to be packed or converted: units are tiles of an integer matrix or an integer head, rows of a float
// matrix.
typedef struct tmac_pack_job {
    const tmac_matrix *matrix;
    tmac_linear *linear;       // NULL: the integer head
    const tmac_layout *layout; // NULL: a float matrix to be copied as f32, or the head
    size_t unit_bytes;
    uint64_t units;
    uint64_t set_before,
        set_units;        // of the matrices multiplied together: before this one's, and all
    size_t scratch;       // bytes that a worker needs to make a unit
    uint8_t *home;        // where the units belong
    const uint8_t *found; // packed already, in the cache; NULL: to be packed
} tmac_pack_job;

static inline size_t tmac_pack_job_bytes(const tmac_pack_job *job)
{
    return job->unit_bytes * (size_t)job->units;
}

// place.c: the units [*begin, *end) of the job that the worker will multiply.
void tmac_pack_job_share(const tmac_model *model, const tmac_pack_job *job, uint32_t worker,
                         uint64_t *begin, uint64_t *end);

// place.c: where the pool's workers are in several memory nodes, gives every page of the homes to the node of the
// workers that read most of it. Before anything is written there.
void tmac_place_weights(const tmac_model *model, const tmac_pack_job *jobs, uint32_t count);

// pack_cache.c: looks all jobs up in the cache folder and marks those it has. Sets model->cache. True when it has every
// one of them.
bool tmac_pack_ask_cache(tmac_model *model, tmac_pack_job *jobs, uint32_t count,
                         const tmac_model_options *options);

#endif

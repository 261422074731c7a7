// What the cache file is asked for: every job of packing under the name of its matrix and of the form it takes.
//
// A form is a layout of the kernels, rows of f32, or an integer head. Its name alone says too little: a build may make
// other bytes under the same name. So what it makes of some sample weights belongs to the question.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cache.h"
#include "runtime/pack.h"

static void sample_layout(const tmac_layout *layout, uint8_t hash[TMAC_HASH_BYTES])
{
    static const tmac_shape SHAPES[] = {{0, 160, 160}, {0, 131, 64}};
    tmac_hash_state state;
    tmac_hash_begin(&state);
    for (int i = 0; i < 2; i++) {
        tmac_shape shape = SHAPES[i];
        shape.rows = layout->row_tile;
        const size_t bytes = layout->tile_bytes(&shape);
        const size_t weights = (size_t)shape.rows * shape.columns;
        int8_t *sample = malloc(weights);
        uint8_t *tile = bytes ? aligned_alloc(64, tmac_round_up(bytes, 64)) : NULL;
        if (sample && tile) {
            for (size_t w = 0; w < weights; w++)
                sample[w] = (int8_t)((int)((w * w * 7 + w / 11) % 3) - 1);
            layout->pack_tile(&shape, sample, shape.rows, tile);
            tmac_hash_add(&state, tile, bytes);
        }
        free(sample);
        free(tile);
    }
    tmac_hash_end(&state, hash);
}

static void sample_head(const tmac_head *head, uint8_t hash[TMAC_HASH_BYTES])
{
    enum { COLUMNS = 131 };
    float rows[TMAC_HEAD_ROWS * COLUMNS];
    for (int w = 0; w < TMAC_HEAD_ROWS * COLUMNS; w++)
        rows[w] = (float)((w * w * 7 + w / 11) % 4093 - 2000) / 1024.0f;
    tmac_head_shape shape = tmac_head_shape_of(TMAC_HEAD_ROWS, COLUMNS, head->shape.bits);
    if (head->shape.loss_offset) tmac_head_shape_add_losses(&shape);
    uint8_t *tile = aligned_alloc(64, shape.tile_bytes);
    memset(hash, 0, TMAC_HASH_BYTES);
    if (!tile) return;
    memset(tile, 0, shape.tile_bytes);
    head->kernels->pack_tile(&shape, rows, TMAC_HEAD_ROWS, tile, tmac_head_losses(&shape, tile));
    tmac_hash(tile, shape.tile_bytes, hash);
    free(tile);
}

static void describe(const tmac_model *model, const tmac_pack_job *jobs, uint32_t i,
                     tmac_cache_piece *pieces)
{
    const tmac_pack_job *job = &jobs[i];
    tmac_cache_piece *piece = &pieces[i];
    piece->rows = job->matrix->rows;
    piece->columns = job->matrix->columns;
    piece->bytes = tmac_pack_job_bytes(job);
    piece->home = job->home;
    if (!job->linear) {
        const tmac_head *head = &model->head;
        snprintf(piece->tensor, sizeof piece->tensor, "head");
        snprintf(piece->layout, sizeof piece->layout, "head %u bits%s", head->shape.bits,
                 head->shape.loss_offset ? " with losses" : "");
        piece->group = head->shape.group;
        piece->pointer = (void *)&model->head.tiles;
        sample_head(head, piece->sample);
        return;
    }
    // Jobs before the head are the same whatever the plan: the number tells apart matrices of one name.
    if (job->matrix == &model->source->head)
        snprintf(piece->tensor, sizeof piece->tensor, "head");
    else
        snprintf(piece->tensor, sizeof piece->tensor, "%u %.50s", i, job->matrix->name);
    if (!job->layout) {
        snprintf(piece->layout, sizeof piece->layout, "f32");
        piece->pointer = &job->linear->weights;
        return;
    }
    snprintf(piece->layout, sizeof piece->layout, "%s", job->layout->name);
    piece->group = job->matrix->group;
    piece->pointer = &job->linear->tiles;
    uint32_t same = 0; // a piece whose layout was sampled already
    while (same < i && jobs[same].layout != job->layout)
        same++;
    if (same < i)
        memcpy(piece->sample, pieces[same].sample, sizeof piece->sample);
    else
        sample_layout(job->layout, piece->sample);
}

bool tmac_pack_ask_cache(tmac_model *model, tmac_pack_job *jobs, uint32_t count,
                         const tmac_model_options *options)
{
    if (!options->cache || count == 0) return false;
    tmac_cache_piece *pieces = calloc(count, sizeof *pieces);
    if (!pieces) return false;
    for (uint32_t i = 0; i < count; i++)
        describe(model, jobs, i, pieces);
    model->cache = tmac_cache_open(options->cache, options->cache_limit, model->pool, model->source,
                                   pieces, count);
    bool all = model->cache != NULL;
    for (uint32_t i = 0; i < count; i++) {
        jobs[i].found = pieces[i].found;
        all &= pieces[i].found != NULL;
    }
    free(pieces);
    return all;
}

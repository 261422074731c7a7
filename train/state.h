// What a run needs to go on as if nothing had happened: a checkpoint.
//
// The file: "TMTRAIN1", the recipe and the digest of the texts (a checkpoint of another recipe is refused), the counters,
// the curve, then parameters and both moments as f32, and the SHA-256 of everything before it. Native byte order: a
// checkpoint stays on its kind of machine. Written under another name and renamed.
#ifndef TMAC_TRAIN_STATE_H
#define TMAC_TRAIN_STATE_H

#include "base/hash.h"
#include "train/train.h"

typedef struct tmac_curve_point {
    uint64_t step, tokens;
    double loss;       // mean of the steps since the last point, nats a token
    double validation; // nats a token; NaN where it was not measured
    double rate, seconds, cpu_seconds;
} tmac_curve_point;

typedef struct tmac_train_state {
    uint64_t step;   // finished steps
    uint64_t tokens; // trained on so far
    double seconds, cpu_seconds;
    tmac_curve_point *points;
    uint64_t point_count, point_room;
    size_t parameters;
    float *weights, *first, *second; // [parameters]: latent weights and Adam's moments
    tmac_pages pages;
} tmac_train_state;

tmac_status tmac_state_new(size_t parameters, tmac_train_state *state);
void tmac_state_free(tmac_train_state *state);
tmac_status tmac_state_add_point(tmac_train_state *state, const tmac_curve_point *point);

tmac_status tmac_state_write(const tmac_train_state *state, const tmac_recipe *recipe,
                             const uint8_t texts[TMAC_HASH_BYTES], const char *path);
// TMAC_NOT_FOUND: there is no such file. TMAC_UNSUPPORTED: it belongs to another recipe or other texts.
tmac_status tmac_state_read(tmac_train_state *state, const tmac_recipe *recipe,
                            const uint8_t texts[TMAC_HASH_BYTES], const char *path);

// The curve as CSV and as a picture. Atomic.
tmac_status tmac_curves_write_csv(const tmac_train_state *state, const char *path);
tmac_status tmac_curves_write_svg(const tmac_train_state *state, const char *path);

#endif

// Private to tune/: the working set of one input set, and rounds of measurements on it.
#ifndef TMAC_TUNE_MEASURE_H
#define TMAC_TUNE_MEASURE_H

#include <stdatomic.h>

#include "base/memory.h"
#include "base/pool.h"
#include "base/random.h"
#include "tune/tune.h"

enum { TMAC_SAMPLES_MAX = 64, TMAC_WORK_LAYOUTS = 32 };

// One layout's packed copies of the set. Copies are walked in order; the cursor goes on from sample to sample.
typedef struct tmac_copies {
    const tmac_layout *layout;
    uint8_t *data;
    size_t copy_bytes, matrix_offset[TMAC_SET_MATRICES], tile_bytes[TMAC_SET_MATRICES];
    uint32_t tiles[TMAC_SET_MATRICES];
    uint32_t copies, cursor;
} tmac_copies;

typedef struct tmac_workbench {
    tmac_pool *pool;
    _Atomic uint64_t *beat; // counts passes, for a watchdog; may be NULL
    tmac_pages weights;     // grows as needed, kept from set to set
    tmac_pages small;       // activations, prepared bytes, results
    tmac_input_set set;
    uint32_t tokens;
    uint32_t layout_count;
    tmac_copies layouts[TMAC_WORK_LAYOUTS];
    int8_t *q;
    uint8_t *prepared;
    size_t prepared_stride;
    int32_t *y;
    size_t y_step;
} tmac_workbench;

// The packed bytes of a set's matrices in a layout; 0 when it cannot hold them or they do not fit the address space.
size_t tmac_set_bytes(const tmac_input_set *set, const tmac_layout *layout);

// What one token of the model reads: all sets, and how often each.
typedef struct tmac_traffic {
    const tmac_input_set *sets;
    const uint32_t *calls;
    uint32_t count;
    uint64_t head_bytes; // besides
} tmac_traffic;

// Sets the bench up for a set and the layouts of these kernels. Weights that stay in caches (traffic NULL): `copies` of
// each layout. Weights that stream: at least `copies`, and so many that everything the model reads passes by before a
// copy comes round again while these kernels take turns. Fewer where `limit` bytes are not enough, but one at least.
tmac_status tmac_workbench_fill(tmac_workbench *bench, const tmac_input_set *set, uint32_t tokens,
                                const tmac_kernel *const *kernels, size_t count, uint32_t copies,
                                const tmac_traffic *traffic, size_t limit, tmac_random *random);
void tmac_workbench_free(tmac_workbench *bench);

// The layouts of these kernels in the order that tmac_workbench_fill gives them.
uint32_t tmac_layouts_of(const tmac_kernel *const *kernels, size_t count,
                         const tmac_layout *layouts[TMAC_WORK_LAYOUTS]);

// Which of bench->layouts a kernel reads; fill saw every kernel that is asked for.
uint32_t tmac_workbench_layout(const tmac_workbench *bench, const tmac_kernel *kernel);

// One pass as the runtime does it: prepare, barrier, multiply, barrier. Goes on to the next copy.
void tmac_workbench_pass(tmac_workbench *bench, const tmac_kernel *kernel);

typedef struct tmac_summary {
    uint32_t samples;
    uint64_t median_ns, mad_ns, min_ns, p95_ns;
} tmac_summary;

// Sorts the samples. count > 0.
tmac_summary tmac_summarize(uint64_t *samples, uint32_t count);

typedef struct tmac_contender {
    const tmac_kernel *kernel;
    uint32_t number; // the caller's
    bool sentinel;   // the incumbent: never dropped
    bool dropped;
    uint32_t count;
    uint64_t samples[TMAC_SAMPLES_MAX];
} tmac_contender;

typedef struct tmac_rounds {
    uint64_t sample_ns;   // what a sample should take
    uint64_t deadline_ns; // of this competition, on the clock of `now`
    uint64_t time_up_ns;  // of the session
    uint32_t rounds_min, rounds_max;
    double drop_ratio; // who is slower than the best by this factor after three rounds is out
    bool halve;        // the slower half leaves after 4, 8, 16, ... rounds
    tmac_random *random;
    // Times so many passes of a contender; the clock. The workbench's in a tuner, made-up ones in a replay.
    uint64_t (*sample)(void *context, const tmac_contender *contender, uint32_t passes);
    uint64_t (*now)(void *context);
    // Called once for each contender whose measuring is finished, in the order in which they finish.
    tmac_status (*finished)(void *context, const tmac_contender *contender, uint32_t passes);
    // Called when half of the layouts have dropped out since the bench was filled: fills it for those that are left.
    // NULL where the copies need not cover anything.
    tmac_status (*refill)(void *context, const tmac_kernel *const *kernels, size_t count);
    void *context;
} tmac_rounds;

// Measures the contenders against each other: three rounds at least, or none when these
// would not fit the session.
tmac_status tmac_compete(tmac_contender *contenders, uint32_t count, const tmac_rounds *rounds);

// Bytes per second that the pool's threads read together from memory no cache holds.
uint64_t tmac_measure_bandwidth(tmac_pool *pool, const tmac_host *host);

#endif

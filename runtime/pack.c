// Packing: from the file's rows to the tiles that the plan's kernels read. Each worker packs what it will multiply: where
// there are several memory nodes, the system places a page where it is first written.
//
// All tiles of all layers lie in one arena of huge pages, in the order in which a token reads them. Packing is done
// tile by tile on all workers, each with one tile's rows unpacked at a time, so a model never exists unpacked.
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <sys/mman.h>

#include "base/host.h"
#include "runtime/cache.h"
#include "runtime/extras.h"
#include "runtime/pack.h"

// The matrices of one step, in order.
typedef struct step_matrices {
    const tmac_matrix *matrix[TMAC_SET_MATRICES];
    uint32_t count;
    tmac_step *step; // NULL when only the input sets are wanted
    bool gated;      // nothing comes between the products and the activation
} step_matrices;

enum { STEPS = 4 };

static void layer_steps(const tmac_source_layer *from, tmac_layer *to, step_matrices steps[STEPS])
{
    const bool gated = !tmac_extras_correct_ffn_in(from);
    steps[0] = (step_matrices){
        {&from->query, &from->key, &from->value}, 3, to ? &to->attention_in : NULL, false};
    steps[1] = (step_matrices){{&from->output}, 1, to ? &to->attention_out : NULL, false};
    steps[2] = (step_matrices){{&from->gate, &from->up}, 2, to ? &to->ffn_in : NULL, gated};
    steps[3] = (step_matrices){{&from->down}, 1, to ? &to->ffn_out : NULL, false};
}

uint32_t tmac_partition(const tmac_matrix *const *matrices, uint32_t count,
                        uint32_t first_of_set[TMAC_SET_MATRICES + 1])
{
    uint32_t sets = 0;
    for (uint32_t i = 0; i < count; i++) {
        const tmac_matrix *here = matrices[i];
        const tmac_matrix *before = i ? matrices[i - 1] : NULL;
        bool alike = before && before->number == here->number &&
                     (!tmac_number_is_integer(here->number) || before->group == here->group);
        if (!alike) first_of_set[sets++] = i;
    }
    first_of_set[sets] = count;
    return sets;
}

tmac_input_set tmac_input_set_of(const tmac_matrix *const *matrices, uint32_t count,
                                 tmac_residency residency)
{
    tmac_input_set set;
    memset(&set, 0, sizeof set);
    set.format = tmac_number_format(matrices[0]->number);
    set.group = matrices[0]->group;
    set.columns = matrices[0]->columns;
    set.matrices = count;
    for (uint32_t i = 0; i < count; i++)
        set.rows[i] = matrices[i]->rows;
    set.residency = residency;
    return set;
}

static uint64_t matrix_bytes(const tmac_matrix *matrix)
{
    static const uint32_t BITS[] = {
        [TMAC_F32] = 32, [TMAC_F16] = 16, [TMAC_BF16] = 16, [TMAC_TERNARY] = 2,
        [TMAC_Q1] = 1,   [TMAC_Q2] = 2,   [TMAC_Q3] = 3,    [TMAC_Q4] = 4};
    return (uint64_t)matrix->rows * matrix->columns * BITS[matrix->number] / 8;
}

// The working set of one token counts as resident when it leaves half of the last cache to the activations and to
// others. What cannot be known (how much of a shared cache a virtual machine gets) is for the tuner to measure.
tmac_residency tmac_source_residency(const tmac_source *source)
{
    uint64_t bytes = matrix_bytes(&source->head);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        step_matrices steps[STEPS];
        layer_steps(&source->layers[l], NULL, steps);
        for (int s = 0; s < STEPS; s++)
            for (uint32_t i = 0; i < steps[s].count; i++)
                bytes += matrix_bytes(steps[s].matrix[i]);
    }
    tmac_host host;
    tmac_host_probe(&host);
    uint64_t cache = host.l3_bytes / 2 > host.l2_bytes ? host.l3_bytes / 2 : host.l2_bytes;
    return bytes <= cache ? TMAC_RESIDENT : TMAC_STREAMED;
}

// Calls visit for every input set of integer weights of the model, layer by layer.
typedef tmac_status (*set_visitor)(const tmac_input_set *set, void *context);
static tmac_status visit_sets(const tmac_source *source, set_visitor visit, void *context)
{
    tmac_residency residency = tmac_source_residency(source);
    for (uint32_t l = 0; l < source->layer_count; l++) {
        step_matrices steps[STEPS];
        layer_steps(&source->layers[l], NULL, steps);
        for (int s = 0; s < STEPS; s++) {
            uint32_t first[TMAC_SET_MATRICES + 1];
            uint32_t sets = tmac_partition(steps[s].matrix, steps[s].count, first);
            for (uint32_t i = 0; i < sets; i++) {
                const tmac_matrix *const *matrices = &steps[s].matrix[first[i]];
                if (!tmac_number_is_integer(matrices[0]->number)) continue;
                tmac_input_set set =
                    tmac_input_set_of(matrices, first[i + 1] - first[i], residency);
                TMAC_TRY(visit(&set, context));
            }
        }
    }
    return tmac_ok();
}

struct collected {
    tmac_input_set *sets;
    uint32_t count;
};

static tmac_status collect(const tmac_input_set *set, void *context)
{
    struct collected *collected = context;
    for (uint32_t i = 0; i < collected->count; i++)
        if (tmac_input_set_equal(&collected->sets[i], set)) return tmac_ok();
    if (collected->count == TMAC_PLAN_ENTRIES)
        return tmac_fail(
            TMAC_UNSUPPORTED,
            "the layers' matrices come in more than %d combinations of shape and scale group",
            TMAC_PLAN_ENTRIES);
    collected->sets[collected->count++] = *set;
    return tmac_ok();
}

tmac_status tmac_model_input_sets(const tmac_source *source, tmac_input_set *sets, uint32_t *count)
{
    struct collected collected = {sets, 0};
    tmac_status status = visit_sets(source, collect, &collected);
    *count = collected.count;
    return status;
}

struct counted {
    const tmac_input_set *wanted;
    uint32_t calls;
};

static tmac_status count_call(const tmac_input_set *set, void *context)
{
    struct counted *counted = context;
    counted->calls += tmac_input_set_equal(counted->wanted, set);
    return tmac_ok();
}

uint32_t tmac_model_set_calls(const tmac_source *source, const tmac_input_set *set)
{
    struct counted counted = {set, 0};
    visit_sets(source, count_call, &counted);
    return counted.calls;
}

// ------------------------------------------------------------------------------------------------------- packing

typedef struct pack_jobs {
    tmac_model *model;
    tmac_pack_job *list;
    uint32_t count;
    size_t bytes;       // of the arena
    size_t scratch;     // bytes that a worker needs
    uint8_t **buffer;   // one per worker
    atomic_bool broken; // weights that the head cannot round
} pack_jobs;

static const tmac_resolved *find_resolved(const tmac_model *model, const tmac_input_set *set)
{
    for (uint32_t i = 0; i < model->resolved_count; i++)
        if (tmac_input_set_equal(&model->resolved[i].set, set)) return &model->resolved[i];
    return NULL;
}

static tmac_status add_units(pack_jobs *jobs, tmac_pack_job job)
{
    size_t bytes;
    if (!tmac_size_multiply(job.unit_bytes, (size_t)job.units, &bytes) ||
        !tmac_size_add(bytes, 64 + jobs->bytes, &jobs->bytes))
        return tmac_fail(TMAC_OUT_OF_MEMORY, "%s: too large for this machine", job.matrix->name);
    if (job.scratch > jobs->scratch) jobs->scratch = job.scratch;
    job.set_units = job.units;
    jobs->list[jobs->count++] = job;
    return tmac_ok();
}

static tmac_status add_job(pack_jobs *jobs, const tmac_matrix *matrix, tmac_linear *linear,
                           const tmac_layout *layout)
{
    *linear =
        (tmac_linear){.rows = matrix->rows, .columns = matrix->columns, .number = matrix->number};
    tmac_pack_job job = {.matrix = matrix, .linear = linear, .layout = layout};
    if (layout) {
        tmac_shape shape = {matrix->rows, matrix->columns, matrix->group};
        job.unit_bytes = layout->tile_bytes(&shape);
        job.units = tmac_layout_tiles(layout, matrix->rows);
        job.scratch = (size_t)layout->row_tile * matrix->columns;
        linear->scales = matrix->scales;
        if (matrix->scale_count > 1) linear->scales_per_row = tmac_shape_groups(&shape);
        if (job.unit_bytes == 0)
            return tmac_fail(TMAC_UNSUPPORTED, "%s: layout %s cannot hold rows of %u weights",
                             matrix->name, layout->name, matrix->columns);
    } else if (matrix->in_place) {
        linear->weights = matrix->in_place;
        return tmac_ok();
    } else {
        linear->number = TMAC_F32;
        job.unit_bytes = (size_t)matrix->columns * sizeof(float);
        job.units = matrix->rows;
    }
    return add_units(jobs, job);
}

// The stored head where it is read, the integer one where there is one.
static tmac_status add_head(pack_jobs *jobs)
{
    tmac_head *head = &jobs->model->head;
    const tmac_matrix *matrix = &jobs->model->source->head;
    if (tmac_head_keeps_stored(head->kind)) TMAC_TRY(add_job(jobs, matrix, &head->stored, NULL));
    if (head->kind == TMAC_HEAD_STORED) return tmac_ok();
    return add_units(jobs,
                     (tmac_pack_job){.matrix = matrix,
                                     .unit_bytes = head->shape.tile_bytes,
                                     .units = tmac_head_tiles(&head->shape),
                                     .scratch = TMAC_HEAD_ROWS * matrix->columns * sizeof(float)});
}

// Jobs from `first` on are multiplied together and divided among workers as one; gated, each on its own.
static void share_as_multiplied(pack_jobs *jobs, uint32_t first, bool gated)
{
    uint64_t units = 0;
    if (gated) return; // as add_units left them
    for (uint32_t j = first; j < jobs->count; j++) {
        jobs->list[j].set_before = units;
        units += jobs->list[j].units;
    }
    for (uint32_t j = first; j < jobs->count; j++)
        jobs->list[j].set_units = units;
}

static tmac_status plan_step(tmac_model *model, const step_matrices *matrices,
                             tmac_residency residency, pack_jobs *jobs)
{
    uint32_t first[TMAC_SET_MATRICES + 1] = {0};
    tmac_step *step = matrices->step;
    assert(step && matrices->count > 0);
    step->sets = tmac_partition(matrices->matrix, matrices->count, first);
    for (uint32_t s = 0; s < step->sets; s++) {
        const tmac_matrix *const *members = &matrices->matrix[first[s]];
        const uint32_t first_job = jobs->count;
        tmac_linear_set *set = &step->set[s];
        assert(members[0]);
        set->matrices = first[s + 1] - first[s];
        set->columns = members[0]->columns;
        set->group = members[0]->group;
        if (tmac_number_is_integer(members[0]->number)) {
            tmac_input_set key = tmac_input_set_of(members, set->matrices, residency);
            set->resolved = find_resolved(model, &key);
            if (!set->resolved)
                return tmac_fail(TMAC_INTERNAL, "%s: no plan entry for its input set",
                                 members[0]->name);
            step->wants_ternary = true;
        } else {
            step->wants_floats = true;
        }
        for (uint32_t i = 0; i < set->matrices; i++) {
            const tmac_layout *layout = set->resolved ? set->resolved->layout : NULL;
            assert(members[i]);
            TMAC_TRY(add_job(jobs, members[i], &set->linear[i], layout));
        }
        step->gated = matrices->gated && step->sets == 1 && set->resolved &&
                      members[0]->rows == members[1]->rows;
        share_as_multiplied(jobs, first_job, step->gated);
    }
    return tmac_ok();
}

static void pack_unit(pack_jobs *jobs, const tmac_pack_job *job, uint32_t unit, void *buffer)
{
    const tmac_matrix *matrix = job->matrix;
    uint8_t *to = job->home + unit * job->unit_bytes;
    if (job->found) {
        memcpy(to, job->found + unit * job->unit_bytes, job->unit_bytes);
    } else if (!job->linear) {
        if (!tmac_head_pack(&jobs->model->head, matrix, unit, buffer, to)) jobs->broken = true;
    } else if (!job->layout) {
        matrix->read_float(matrix, unit, 1, (void *)to);
    } else {
        tmac_shape shape = {matrix->rows, matrix->columns, matrix->group};
        uint32_t first = unit * job->layout->row_tile;
        uint32_t count = matrix->rows - first;
        if (count > job->layout->row_tile) count = job->layout->row_tile;
        matrix->read_codes(matrix, first, count, buffer);
        job->layout->pack_tile(&shape, buffer, count, to);
    }
}

// Every worker takes its share of every set, because a unit of one costs many times what a unit of another does.
static void pack_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    pack_jobs *jobs = argument;
    for (uint32_t i = 0; i < jobs->count; i++) {
        uint64_t begin, end;
        tmac_pack_job_share(jobs->model, &jobs->list[i], worker, &begin, &end);
        for (uint64_t unit = begin; unit < end; unit++)
            pack_unit(jobs, &jobs->list[i], (uint32_t)unit, jobs->buffer[worker]);
    }
}

// Packs or copies every unit on all workers.
static tmac_status fill(pack_jobs *jobs)
{
    tmac_model *model = jobs->model;
    const uint32_t workers = tmac_pool_threads(model->pool);
    const tmac_source *source = model->source;
    bool ternary = false; // some have to be read
    for (uint32_t i = 0; i < jobs->count; i++)
        ternary |= jobs->list[i].layout && !jobs->list[i].found;
    if (ternary && source->check_weights) TMAC_TRY(source->check_weights(source));
    tmac_arena buffers;
    TMAC_TRY(tmac_arena_new(
        workers * (tmac_round_up(jobs->scratch, 64) + sizeof *jobs->buffer + 64), &buffers));
    jobs->buffer = tmac_arena_take(&buffers, workers * sizeof *jobs->buffer);
    for (uint32_t w = 0; w < workers; w++)
        jobs->buffer[w] = tmac_arena_take(&buffers, jobs->scratch);
    tmac_pool_run(model->pool, pack_phase, jobs);
    tmac_arena_free(&buffers);
    if (jobs->broken)
        return tmac_fail(TMAC_BAD_FILE,
                         "%s: weights that are not finite cannot be rounded to %u bits; only "
                         "--head stored runs this model",
                         source->head.name, model->head.shape.bits);
    return tmac_ok();
}

// The pages of the file that opening and packing brought in: what is read in place comes back by itself.
static void give_back(const tmac_map *map)
{
    if (map->data) madvise((void *)map->data, map->bytes, MADV_DONTNEED);
}

static tmac_status pack_all(pack_jobs *jobs, const tmac_model_options *options)
{
    tmac_model *model = jobs->model;
    TMAC_TRY(tmac_arena_new(jobs->bytes, &model->weights));
    for (uint32_t i = 0; i < jobs->count; i++) {
        tmac_pack_job *job = &jobs->list[i];
        job->home = tmac_arena_take(&model->weights, tmac_pack_job_bytes(job));
        if (!job->linear)
            model->head.tiles = job->home;
        else if (job->layout)
            job->linear->tiles = job->home;
        else
            job->linear->weights = job->home;
        if (job->layout) model->profile.matrix_bytes += tmac_pack_job_bytes(job);
    }
    tmac_place_weights(model, jobs->list, jobs->count);
    if (tmac_pack_ask_cache(model, jobs->list, jobs->count, options)) {
        give_back(&model->source->map);
        tmac_cache_move(model->cache);
        return tmac_ok();
    }
    tmac_status status = fill(jobs);
    give_back(&model->source->map);
    if (status.code == TMAC_OK && model->cache) tmac_cache_write(model->cache);
    return status;
}

static void count_float_bytes(const tmac_step *step, uint64_t *bytes)
{
    for (uint32_t s = 0; s < step->sets; s++)
        for (uint32_t i = 0; i < step->set[s].matrices; i++) {
            const tmac_linear *linear = &step->set[s].linear[i];
            if (!linear->tiles)
                *bytes +=
                    (uint64_t)linear->rows * linear->columns * (linear->number == TMAC_F32 ? 4 : 2);
        }
}

tmac_status tmac_model_pack(tmac_model *model, tmac_residency residency,
                            const tmac_model_options *options)
{
    const tmac_source *source = model->source;
    pack_jobs jobs = {.model = model};
    jobs.list = calloc((size_t)source->layer_count * 7 + 2, sizeof *jobs.list);
    if (!jobs.list)
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u layers", source->layer_count);
    tmac_status status = tmac_ok();
    for (uint32_t l = 0; l < source->layer_count && status.code == TMAC_OK; l++) {
        step_matrices steps[STEPS];
        layer_steps(&source->layers[l], &model->layers[l], steps);
        for (int s = 0; s < STEPS && status.code == TMAC_OK; s++)
            status = plan_step(model, &steps[s], residency, &jobs);
    }
    if (status.code == TMAC_OK) status = add_head(&jobs);
    if (status.code == TMAC_OK) status = pack_all(&jobs, options);
    free(jobs.list);
    if (status.code != TMAC_OK) return status;

    for (uint32_t l = 0; l < source->layer_count; l++) {
        const tmac_layer *layer = &model->layers[l];
        const tmac_step *steps[] = {&layer->attention_in, &layer->attention_out, &layer->ffn_in,
                                    &layer->ffn_out};
        for (int s = 0; s < STEPS; s++)
            count_float_bytes(steps[s], &model->profile.matrix_bytes);
    }
    const tmac_head *head = &model->head;
    const tmac_linear *stored = &head->stored;
    model->profile.head_bytes =
        head->kind == TMAC_HEAD_STORED
            ? (uint64_t)stored->rows * stored->columns * (stored->number == TMAC_F32 ? 4 : 2)
            : (uint64_t)tmac_head_tiles(&head->shape) * head->shape.tile_bytes;
    return tmac_ok();
}

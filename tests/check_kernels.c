// The kernel checker: every kernel and layout of the registry against a plain dot product over the unpacked weights.
//
//   weights (M x K, of the layout's format) --pack--> tiles --unpack--> must be the weights again
//   q (tokens x K)           --prepare, in 1 and in several parts--> must be the same bytes on every instruction set
//   tiles, prepared          --run, on a range of tiles--> must be the dot products, bit for bit
//
// Every buffer lies against a page that may not be touched: at its end in one pass, at its beginning in the other; the
// slack on the other side holds a pattern that must survive. It is a plain program, so that it runs under sanitizers and
// emulators.
//
// Problems are dealt out to several processes, one by one. What a problem is and what is random in its check follows
// from the seed and its number alone, so that the same problems fail with any number of processes.
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/options.h"
#include "base/random.h"
#include "runtime/kernel.h"

// ------------------------------------------------------------------------------------------- fenced buffers

enum { PAGE = 4096, CANARY = 0xa5 };

typedef struct fenced {
    uint8_t *data;
    size_t bytes;
    uint8_t *inside, *mapping; // the accessible pages, and all of them
    size_t inside_bytes;
} fenced;

// Stops the program when memory is short: nothing can be checked then.
static fenced fence(size_t bytes, bool at_end)
{
    fenced buffer = {.bytes = bytes};
    buffer.inside_bytes = (bytes + PAGE - 1) / PAGE * PAGE + PAGE;
    buffer.mapping = mmap(NULL, buffer.inside_bytes + (size_t)2 * PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (buffer.mapping == MAP_FAILED ||
        mprotect(buffer.mapping + PAGE, buffer.inside_bytes, PROT_READ | PROT_WRITE) != 0) {
        perror("check-kernels: cannot map memory");
        exit(1);
    }
    buffer.inside = buffer.mapping + PAGE;
    buffer.data = at_end ? buffer.inside + buffer.inside_bytes - bytes : buffer.inside;
    memset(buffer.inside, CANARY, buffer.inside_bytes);
    return buffer;
}

// Unmaps; false when the slack beside the data was written to.
static bool unfence(fenced *buffer)
{
    bool intact = true;
    for (uint8_t *at = buffer->inside; at < buffer->inside + buffer->inside_bytes; at++) {
        if (at == buffer->data) at += buffer->bytes;
        if (at < buffer->inside + buffer->inside_bytes && *at != CANARY) intact = false;
    }
    munmap(buffer->mapping, buffer->inside_bytes + (size_t)2 * PAGE);
    return intact;
}

// What is being checked, for the message when it touches a guard page or executes what the host cannot.
static const char *volatile subject_now = "the checker itself";

static void die_by_name(int signal_number)
{
    static const char before[] = "FAILED ", after[] = ": touched a guard page or trapped\n";
    const char *subject = subject_now;
    ssize_t ignored = write(STDOUT_FILENO, before, sizeof before - 1);
    ignored += write(STDOUT_FILENO, subject, strlen(subject));
    ignored += write(STDOUT_FILENO, after, sizeof after - 1);
    (void)ignored, (void)signal_number;
    _exit(1);
}

// ------------------------------------------------------------------------------------------- problems

typedef enum weight_pattern {
    W_RANDOM,
    W_LOWEST,
    W_HIGHEST,
    W_ALTERNATING,
    W_ZERO,
    W_SPARSE,
    W_COUNT
} weight_pattern;
typedef enum input_pattern {
    Q_RANDOM,
    Q_LOWEST,
    Q_HIGHEST,
    Q_EXTREMES,
    Q_ZERO,
    Q_ALTERNATING,
    Q_COUNT
} input_pattern;

static const char *const weight_names[] = {"random",      "lowest", "highest",
                                           "alternating", "zero",   "sparse"};
static const char *const input_names[] = {"random",   "-128", "127",
                                          "extremes", "zero", "alternating"};

typedef struct problem {
    uint32_t rows, columns, group, tokens;
    weight_pattern weights;
    input_pattern inputs;
} problem;

// Shapes that have been wrong somewhere before, and the real ones' odd dimensions. group 0: the whole row.
static const problem fixed[] = {
    {1, 1, 0, 1, W_HIGHEST, Q_LOWEST},
    {1, 43, 0, 1, W_LOWEST, Q_LOWEST},
    {172, 43, 32, 2, W_RANDOM, Q_RANDOM},
    {43, 172, 0, 4, W_RANDOM, Q_RANDOM},
    {172, 288, 32, 3, W_ALTERNATING, Q_ALTERNATING},
    {300, 256, 64, 1, W_RANDOM, Q_EXTREMES},
    {65, 640, 128, 5, W_RANDOM, Q_RANDOM},
    {257, 2560, 0, 1, W_LOWEST, Q_LOWEST},
    {129, 2560, 0, 9, W_RANDOM, Q_RANDOM},
    {16, 1024, 256, 8, W_HIGHEST, Q_LOWEST},
    {64, 6912, 0, 1, W_HIGHEST, Q_HIGHEST},
    {31, 777, 33, 6, W_RANDOM, Q_EXTREMES},
    {33, 100, 7, 7, W_SPARSE, Q_RANDOM},
    {5, 40, 1, 2, W_RANDOM, Q_RANDOM},
    {17, 512, 511, 1, W_LOWEST, Q_LOWEST},
    {40, 700, 0, 16, W_RANDOM, Q_RANDOM}, // many tokens: whole blocks of 16, and one more
    {33, 1290, 650, 33, W_RANDOM, Q_EXTREMES},
    {20, 1300, 1275, 2, W_LOWEST, Q_HIGHEST}, // 255 codes of 5: the last count of one byte
    {20, 1281, 1276, 2, W_LOWEST, Q_LOWEST},  // 256 of them
    {20, 1100, 1050, 23, W_RANDOM,
     Q_EXTREMES}, // many tokens and a rest, groups longer than a decoded panel
};
// Rows so long that sums kept too narrow, or flushed too late, overflow.
static const problem lengthy[] = {
    {1, 327675, 0, 1, W_LOWEST, Q_LOWEST},   // 65535 codes of 5
    {1, 327676, 0, 1, W_HIGHEST, Q_HIGHEST}, // one more than lut5 can count
    {2, 700001, 0, 1, W_HIGHEST, Q_LOWEST},  // mad2: beyond 2^15 blocks of 2^16
    {1, 1100000, 0, 2, W_LOWEST, Q_LOWEST},
};

static uint32_t group_of(const problem *p)
{
    return p->group == 0 ? p->columns : p->group;
}

static void fill_weights(const problem *p, const tmac_layout *format, tmac_random *random,
                         int8_t *weights)
{
    const int8_t zero = tmac_layout_padding(format); // or what comes nearest
    for (size_t i = 0; i < (size_t)p->rows * p->columns; i++) {
        switch (p->weights) {
        case W_LOWEST:
            weights[i] = format->low;
            break;
        case W_HIGHEST:
            weights[i] = format->high;
            break;
        case W_ALTERNATING:
            weights[i] = i % 2 == 0 ? format->high : format->low;
            break;
        case W_ZERO:
            weights[i] = zero;
            break;
        case W_SPARSE:
            weights[i] = tmac_random_below(random, 50) == 0 ? format->high : zero;
            break;
        default:
            weights[i] = tmac_layout_weight(format, tmac_random_below(random, 240));
            break;
        }
    }
}

static void fill_inputs(const problem *p, tmac_random *random, int8_t *q)
{
    for (size_t i = 0; i < (size_t)p->tokens * p->columns; i++) {
        switch (p->inputs) {
        case Q_LOWEST:
            q[i] = -128;
            break;
        case Q_HIGHEST:
            q[i] = 127;
            break;
        case Q_EXTREMES:
            q[i] = tmac_random_below(random, 2) == 0 ? -128 : 127;
            break;
        case Q_ZERO:
            q[i] = 0;
            break;
        case Q_ALTERNATING:
            q[i] = i % 2 == 0 ? -128 : 127;
            break;
        default:
            q[i] = (int8_t)((int32_t)tmac_random_below(random, 256) - 128);
            break;
        }
    }
}

// Seven of eight are small: what goes wrong does so at ends, and of those a small problem has as many.
static problem random_problem(tmac_random *random)
{
    static const uint32_t groups[] = {0, 0, 32, 64, 128, 256};
    const bool large = tmac_random_below(random, 8) == 0;
    problem p = {
        .rows = 1 + tmac_random_below(random, large ? 300 : 70),
        .columns = 1 + tmac_random_below(random, large ? 1500 : 300),
        .tokens = 1 + tmac_random_below(random, large ? 9 : 5),
        .weights = tmac_random_below(random, 2) == 0
                       ? W_RANDOM
                       : (weight_pattern)tmac_random_below(random, W_COUNT),
        .inputs = tmac_random_below(random, 2) == 0
                      ? Q_RANDOM
                      : (input_pattern)tmac_random_below(random, Q_COUNT),
    };
    p.group = tmac_random_below(random, 3) == 0 ? 1 + tmac_random_below(random, p.columns)
                                                : groups[tmac_random_below(random, 6)];
    if (p.group > p.columns) p.group = 0;
    if (tmac_random_below(random, large ? 16 : 64) == 0) p.tokens += tmac_random_below(random, 40);
    return p;
}

// ------------------------------------------------------------------------------------------- the check

typedef struct checker {
    const char *filter;
    bool verbose;
    tmac_isa_set isa;
    tmac_random random;
    uint64_t passed, failed;
} checker;

// One problem laid out in memory.
typedef struct instance {
    const problem *p;
    tmac_shape shape;
    uint32_t groups;
    bool at_end;
    fenced weights, q;
    int32_t *expected; // [tokens][groups][rows]
    int32_t *sums;     // [tokens][groups], of the activations: what rows of padding are made of
    const char *preparation;   // of the reference bytes; NULL: none yet
    uint8_t *reference;        // what the reference prepares, for all tokens
    const tmac_layout *format; // the weights are of its format; NULL: none yet
} instance;

static void describe(const instance *in, const char *subject, const char *complaint)
{
    fprintf(stdout, "FAILED %s: %s (M=%u K=%u G=%u tokens=%u, weights %s, inputs %s, fence %s)\n",
            subject, complaint, in->shape.rows, in->shape.columns, in->shape.group, in->p->tokens,
            weight_names[in->p->weights], input_names[in->p->inputs],
            in->at_end ? "after" : "before");
}

static void judge(checker *check, const instance *in, const char *subject, const char *complaint)
{
    if (complaint == NULL) {
        check->passed++;
    } else {
        check->failed++;
        describe(in, subject, complaint);
    }
}

// Fills in weights of a format and what they multiply to, unless they are there already.
static void use_format(instance *in, const tmac_layout *format, tmac_random *random)
{
    if (in->format && in->format->format == format->format) return;
    in->format = format;
    fill_weights(in->p, format, random, (int8_t *)in->weights.data);
    const int8_t *weights = (const int8_t *)in->weights.data, *q = (const int8_t *)in->q.data;
    const uint32_t columns = in->shape.columns;
    for (uint32_t n = 0; n < in->p->tokens; n++) {
        for (uint32_t g = 0; g < in->groups; g++) {
            const uint32_t begin = g * in->shape.group;
            const uint32_t end = g + 1 < in->groups ? begin + in->shape.group : columns;
            int32_t *sum_of_inputs = &in->sums[(size_t)n * in->groups + g];
            *sum_of_inputs = 0;
            for (uint32_t k = begin; k < end; k++)
                *sum_of_inputs += q[(size_t)n * columns + k];
            for (uint32_t r = 0; r < in->shape.rows; r++) {
                int32_t sum = 0;
                for (uint32_t k = begin; k < end; k++)
                    sum += weights[(size_t)r * columns + k] * q[(size_t)n * columns + k];
                in->expected[((size_t)n * in->groups + g) * in->shape.rows + r] = sum;
            }
        }
    }
}

// Prepares all tokens in `parts` parts, last part first.
static void prepare_tokens(const tmac_kernel *kernel, const instance *in, uint32_t parts,
                           uint8_t *prepared, size_t stride)
{
    for (uint32_t n = 0; n < in->p->tokens; n++) {
        const int8_t *q = (const int8_t *)in->q.data + (size_t)n * in->shape.columns;
        for (uint32_t part = parts; part-- > 0;)
            kernel->prepare(q, in->shape.columns, in->shape.group, prepared + n * stride, part,
                            parts);
    }
}

// The first kernel of the registry with the same preparation: plain C, if the table is in order.
static const tmac_kernel *first_of_preparation(const char *preparation)
{
    size_t count;
    const tmac_kernel *const *kernels = tmac_kernels(&count);
    size_t i = 0;
    while (strcmp(kernels[i]->preparation, preparation) != 0)
        i++;
    return kernels[i];
}

// Prepares all tokens by the reference, unless that is done already. False when it wants another number of bytes.
static bool prepare_reference(const char *preparation, instance *in, size_t stride)
{
    const tmac_kernel *reference = first_of_preparation(preparation);
    if (reference->prepared_bytes(in->shape.columns, in->shape.group) != stride) return false;
    if (in->preparation && strcmp(in->preparation, preparation) == 0) return true;
    free(in->reference);
    in->reference = aligned_alloc(64, stride * in->p->tokens);
    if (in->reference == NULL) {
        fputs("check-kernels: out of memory\n", stderr);
        exit(1);
    }
    prepare_tokens(reference, in, 1, in->reference, stride);
    in->preparation = preparation;
    return true;
}

static const char *check_prepare(checker *check, const tmac_kernel *kernel, instance *in,
                                 fenced *prepared, size_t stride)
{
    if (!prepare_reference(kernel->preparation, in, stride))
        return "prepared_bytes differs between instruction sets";
    prepare_tokens(kernel, in, 1, prepared->data, stride);
    const char *complaint = NULL;
    fenced other = fence(prepared->bytes, in->at_end);
    prepare_tokens(kernel, in, 2 + tmac_random_below(&check->random, 6), other.data, stride);
    if (memcmp(prepared->data, other.data, prepared->bytes) != 0)
        complaint = "prepare gives other bytes in parts";
    if (memcmp(prepared->data, in->reference, prepared->bytes) != 0)
        complaint = "prepare differs between instruction sets";
    if (!unfence(&other)) complaint = "prepare writes outside";
    return complaint;
}

// What was asked for is right, all else as it was.
static const char *check_outputs(const tmac_matmul *job, const instance *in, uint32_t row_tile)
{
    const uint32_t first = job->tile_begin * row_tile;
    const uint32_t count = (job->tile_end - job->tile_begin) * row_tile;
    int32_t untouched;
    memset(&untouched, CANARY, sizeof untouched);
    for (uint32_t i = 0; i < in->p->tokens * in->groups; i++) {
        const int32_t *y = job->y + i * job->y_stride;
        const int32_t *expected = in->expected + (size_t)i * in->shape.rows;
        const int32_t padding = tmac_layout_padding(in->format) * in->sums[i];
        for (uint32_t r = 0; r < job->y_stride; r++) {
            const bool real = first + r < in->shape.rows;
            const uint32_t in_tile = r % row_tile;
            if (r >= count) {
                if (y[r] != untouched) return "writes beyond its tiles";
            } else if (job->row_end && (in_tile < job->row_begin || in_tile >= job->row_end)) {
                if (y[r] != untouched) return "writes rows that were not asked for";
            } else if (!real) {
                if (y[r] != padding) return "rows of padding are not what they should be";
            } else if (y[r] != expected[first + r]) {
                return "a sum is wrong";
            }
        }
    }
    return NULL;
}

static const char *check_kernel(checker *check, const tmac_kernel *kernel, instance *in,
                                const uint8_t *tiles)
{
    const tmac_layout *layout = kernel->layout;
    const uint32_t tile_count = tmac_layout_tiles(layout, in->shape.rows);
    const size_t stride = kernel->prepared_bytes(in->shape.columns, in->shape.group);
    if (stride == 0 || stride % 64 != 0) return "prepared_bytes is no multiple of 64";
    fenced prepared = fence(stride * in->p->tokens, in->at_end);
    const char *complaint = check_prepare(check, kernel, in, &prepared, stride);

    // All tiles, then some, then some rows of some.
    for (uint32_t pass = 0; pass < 3 && complaint == NULL; pass++) {
        tmac_matmul job = {
            .tiles = tiles,
            .prepared = prepared.data,
            .prepared_stride = stride,
            .shape = in->shape,
            .tile_end = tile_count,
            .tokens = in->p->tokens,
        };
        if (pass > 0) {
            job.tile_begin = tmac_random_below(&check->random, tile_count);
            job.tile_end =
                job.tile_begin + 1 + tmac_random_below(&check->random, tile_count - job.tile_begin);
        }
        if (pass == 2) {
            const uint32_t spans = layout->row_tile / kernel->row_span;
            const uint32_t span = tmac_random_below(&check->random, spans);
            const uint32_t taken = 1 + tmac_random_below(&check->random, spans - span);
            job.row_begin = span * kernel->row_span;
            job.row_end = (span + taken) * kernel->row_span;
        }
        const uint32_t outputs = (job.tile_end - job.tile_begin) * layout->row_tile;
        job.y_stride = ((size_t)outputs + 15) / 16 * 16 + pass * 16;
        fenced y = fence(job.y_stride * 4 * in->groups * in->p->tokens, in->at_end);
        job.y = (int32_t *)(void *)y.data;
        kernel->run(&job);
        complaint = check_outputs(&job, in, layout->row_tile);
        if (!unfence(&y)) complaint = "run writes outside";
    }
    if (!unfence(&prepared)) complaint = "prepare writes outside";
    return complaint;
}

static const char *check_layout(const tmac_layout *layout, const instance *in, fenced *tiles,
                                size_t tile_bytes)
{
    const uint32_t columns = in->shape.columns;
    const uint32_t tile_count = tmac_layout_tiles(layout, in->shape.rows);
    fenced back = fence((size_t)in->shape.rows * columns, in->at_end);
    for (uint32_t t = 0; t < tile_count; t++) {
        const uint32_t row = t * layout->row_tile;
        const uint32_t rows =
            in->shape.rows - row < layout->row_tile ? in->shape.rows - row : layout->row_tile;
        const size_t offset = (size_t)row * columns;
        layout->pack_tile(&in->shape, (const int8_t *)in->weights.data + offset, rows,
                          tiles->data + t * tile_bytes);
        layout->unpack_tile(&in->shape, tiles->data + t * tile_bytes, rows,
                            (int8_t *)back.data + offset);
    }
    const bool same = memcmp(back.data, in->weights.data, back.bytes) == 0;
    return !unfence(&back) ? "unpack writes outside"
           : same          ? NULL
                           : "unpack does not give the weights back";
}

// True when some kernel of this layout passes the filter and runs here.
static bool wanted(const checker *check, const tmac_kernel *kernel)
{
    return strstr(kernel->name, check->filter) != NULL && tmac_isa_has(check->isa, kernel->isa);
}

static void check_problem(checker *check, const problem *p, bool at_end)
{
    instance in = {.p = p, .at_end = at_end, .shape = {p->rows, p->columns, group_of(p)}};
    in.groups = tmac_shape_groups(&in.shape);
    in.weights = fence((size_t)p->rows * p->columns, at_end);
    in.q = fence((size_t)p->tokens * p->columns, at_end);
    in.expected = malloc((size_t)p->tokens * in.groups * p->rows * sizeof *in.expected);
    in.sums = malloc((size_t)p->tokens * in.groups * sizeof *in.sums);
    if (in.expected == NULL || in.sums == NULL) {
        fputs("check-kernels: out of memory\n", stderr);
        exit(1);
    }
    fill_inputs(p, &check->random, (int8_t *)in.q.data);

    size_t layout_count, kernel_count;
    const tmac_layout *const *layouts = tmac_layouts(&layout_count);
    const tmac_kernel *const *kernels = tmac_kernels(&kernel_count);
    for (size_t l = 0; l < layout_count; l++) {
        bool any = false;
        for (size_t i = 0; i < kernel_count; i++)
            any |= kernels[i]->layout == layouts[l] && wanted(check, kernels[i]);
        if (!any) continue;
        use_format(&in, layouts[l], &check->random);

        const size_t tile_bytes = layouts[l]->tile_bytes(&in.shape);
        if (tile_bytes ==
            0) { // too long for its counters: allowed, but only for groups that are very long
            judge(check, &in, layouts[l]->name,
                  in.shape.group < 327676 ? "refuses the shape" : NULL);
            continue;
        }
        if (tile_bytes % 64 != 0) {
            judge(check, &in, layouts[l]->name, "tile_bytes is no multiple of 64");
            continue;
        }
        fenced tiles = fence(tile_bytes * tmac_layout_tiles(layouts[l], p->rows), at_end);
        subject_now = layouts[l]->name;
        judge(check, &in, layouts[l]->name, check_layout(layouts[l], &in, &tiles, tile_bytes));
        for (size_t i = 0; i < kernel_count; i++) {
            if (kernels[i]->layout != layouts[l] || !wanted(check, kernels[i])) continue;
            subject_now = kernels[i]->name;
            judge(check, &in, kernels[i]->name, check_kernel(check, kernels[i], &in, tiles.data));
        }
        if (!unfence(&tiles)) judge(check, &in, layouts[l]->name, "pack writes outside");
    }
    free(in.expected);
    free(in.sums);
    free(in.reference);
    unfence(&in.q);
    unfence(&in.weights);
}

// ------------------------------------------------------------------------------------------- all problems

enum { FIXED = sizeof fixed / sizeof fixed[0], LENGTHY = sizeof lengthy / sizeof lengthy[0] };

// What all processes share.
typedef struct shared_state {
    _Atomic uint64_t next, passed, failed;
} shared_state;

typedef struct workload {
    uint64_t seed, problems; // random ones
    bool reduced;
    shared_state *shared;
} workload;

// The fixed problems with either fence, those with long rows, the random ones. False beyond the last.
static bool check_number(checker *check, const workload *work, uint64_t number)
{
    check->random.state = work->seed + (number << 32);
    if (number < 2 * FIXED) {
        const problem *p = &fixed[number / 2];
        if (!work->reduced || p->columns <= 700) check_problem(check, p, number % 2 == 0);
        return true;
    }
    number -= 2 * FIXED;
    if (number < LENGTHY) {
        if (!work->reduced) check_problem(check, &lengthy[number], number % 2 == 0);
        return true;
    }
    number -= LENGTHY;
    if (number >= work->problems) return false;
    const problem p = random_problem(&check->random);
    check_problem(check, &p, number % 2 == 0);
    return true;
}

static void check_all(checker *check, const workload *work)
{
    while (check_number(check, work, work->shared->next++)) {
    }
    work->shared->passed += check->passed;
    work->shared->failed += check->failed;
}

// A process that dies has said of what, and counts as one failure.
static void check_in_processes(checker *check, const workload *work, uint64_t jobs)
{
    fflush(stdout);
    uint64_t started = 0;
    for (; started < jobs; started++) {
        const pid_t child = fork();
        if (child == 0) {
            check_all(check, work);
            exit(0);
        }
        if (child < 0) break;
    }
    if (started == 0) check_all(check, work);
    for (; started > 0; started--) {
        int status;
        if (wait(&status) < 0 || status != 0) work->shared->failed++;
    }
}

// ------------------------------------------------------------------------------------------- main

int main(int argc, char **argv)
{
    checker check = {.filter = ""};
    bool reduced = false;
    uint64_t problems = UINT64_MAX, jobs = 0;
    workload work = {.seed = 1};
    const char *emulated = NULL;
    const tmac_option options[] = {
        {'v', "verbose", TMAC_OPTION_FLAG, &check.verbose, NULL, "name kernels that are skipped"},
        {0, "reduced", TMAC_OPTION_FLAG, &reduced, NULL, "a small table, for sanitizers"},
        {0, "problems", TMAC_OPTION_UNSIGNED, &problems, "N", "random problems (default 20)"},
        {0, "seed", TMAC_OPTION_UNSIGNED, &work.seed, "N",
         "seed of the random problems (default 1)"},
        {'j', "jobs", TMAC_OPTION_UNSIGNED, &jobs, "N",
         "processes (default: one for each processor)"},
        {0, "filter", TMAC_OPTION_STRING, &check.filter, "TEXT",
         "only kernels with this in their name"},
        {0, "emulated", TMAC_OPTION_STRING, &emulated, "ISA",
         "kernels of this set were linked with emulated instructions: check them too"},
        {0, NULL, TMAC_OPTION_FLAG, NULL, NULL, NULL},
    };
    const tmac_program program = {
        .name = "check-kernels",
        .purpose = "Check every kernel against a plain dot product",
        .operands = "",
        .options = options,
    };
    char **operands;
    size_t operand_count;
    tmac_options_parse(&program, argc, argv, &operands, &operand_count);
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGSEGV, die_by_name);
    signal(SIGBUS, die_by_name);
    signal(SIGILL, die_by_name);
    check.isa = tmac_isa_verified();
    if (emulated != NULL) {
        tmac_isa isa;
        const tmac_status status = tmac_isa_parse(emulated, &isa);
        if (status.code != TMAC_OK) return tmac_report(&program, status);
        const tmac_isa_set below = tmac_isa_contained(isa) & ~(1u << isa);
        if ((check.isa & below) == below) check.isa |= 1u << isa;
    }
    if (problems == UINT64_MAX) problems = reduced ? 2 : 20;

    size_t count, skipped = 0, selected = 0;
    const tmac_kernel *const *kernels = tmac_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        if (strstr(kernels[i]->name, check.filter) == NULL) continue;
        selected++;
        if (tmac_isa_has(check.isa, kernels[i]->isa)) continue;
        skipped++;
        if (check.verbose)
            printf("skipped %s: this host does not execute %s\n", kernels[i]->name,
                   tmac_isa_name(kernels[i]->isa));
    }
    if (selected == 0) {
        return tmac_report(&program, tmac_fail(TMAC_USAGE,
                                               "no kernel has %s in its name: see tmac-gen --list",
                                               check.filter));
    }

    work.problems = problems;
    work.reduced = reduced;
    work.shared =
        mmap(NULL, sizeof *work.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (work.shared == MAP_FAILED) {
        perror("check-kernels: cannot map memory");
        return 1;
    }
    if (jobs == 0) {
        const long online = sysconf(_SC_NPROCESSORS_ONLN);
        jobs = online > 0 ? (uint64_t)online : 1;
    }
    if (jobs == 1)
        check_all(&check, &work);
    else
        check_in_processes(&check, &work, jobs);
    const uint64_t failed = work.shared->failed;
    printf("%zu kernels, %zu skipped on this host\n", selected, skipped);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", (uint64_t)work.shared->passed, failed);
    return failed == 0 ? 0 : 1;
}

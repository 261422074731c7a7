// The exactness gate.
//
// One child per candidate, several at once. The child walks cases: shapes x patterns of weights x patterns of activations x tokens; for
// each it packs, prepares and multiplies, and compares every int32 with plain sums over the unpacked weights, the
// definition that the scalar kernels are tested against too. Before each case it writes what it is about to try into
// memory shared with the parent, so that a crash or a hang is reported with its place.
//
// Every buffer lies between two inaccessible pages. Cases alternate between buffers that end at the upper page and
// buffers that start at the lower one: an access one byte outside is a crash, whatever its direction. Output is filled
// with a pattern first; between the rows written and y_stride that pattern must survive.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/topology.h"
#include "tune/tune.h"

enum { PAGE = 4096, WEIGHT_PATTERNS = 4, INPUT_PATTERNS = 5, UNTOUCHED = 0x5a5a5a5a };
enum { EXAMINATIONS = 32 };

typedef struct verdict {
    bool wrong, finished;
    char message[160];
} verdict;

// A buffer between guard pages, filled with UNTOUCHED bytes.
typedef struct fence {
    uint8_t *mapping, *data;
    size_t mapped;
} fence;

static bool fence_new(fence *f, size_t bytes, bool at_end)
{
    size_t body = tmac_round_up(bytes ? bytes : 1, PAGE);
    f->mapped = body + 2 * PAGE;
    void *mapping = mmap(NULL, f->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return false;
    f->mapping = mapping;
    if (mprotect(f->mapping + PAGE, body, PROT_READ | PROT_WRITE) != 0) return false;
    memset(f->mapping + PAGE, 0x5a, body);
    f->data = f->mapping + PAGE + (at_end ? body - bytes : 0);
    return true;
}

static void fence_free(fence *f)
{
    if (f->mapping) munmap(f->mapping, f->mapped);
    f->mapping = NULL;
}

static int8_t weight_of(const tmac_layout *layout, uint32_t pattern, uint32_t row, uint32_t column,
                        tmac_random *random)
{
    switch (pattern) {
    case 0:
        return layout->high;
    case 1:
        return layout->low;
    case 2:
        return (row + column) % 2 ? layout->high : layout->low;
    default:
        return tmac_layout_weight(layout, tmac_random_below(random, 240));
    }
}

static int8_t input_of(uint32_t pattern, uint32_t column, tmac_random *random)
{
    switch (pattern) {
    case 0:
        return -128;
    case 1:
        return 127;
    case 2:
        return column % 2 ? 127 : -128;
    case 3:
        return column % 7 == 0 ? -128 : 0;
    default:
        return (int8_t)((int)tmac_random_below(random, 256) - 128);
    }
}

typedef struct test_case {
    const tmac_kernel *kernel;
    tmac_shape shape;
    uint32_t tokens, weights, inputs; // patterns
    uint32_t tile_begin, parts;
    bool at_end;
} test_case;

// Compares one token's rows, those of padding included, and what lies behind them.
static bool equal_output(const test_case *c, const int8_t *weights, const int8_t *q, uint32_t token,
                         const tmac_matmul *m)
{
    uint32_t tile = c->kernel->layout->row_tile, groups = tmac_shape_groups(&c->shape);
    uint32_t first = m->tile_begin * tile, rows = (m->tile_end - m->tile_begin) * tile;
    int8_t padding = tmac_layout_padding(c->kernel->layout);
    for (uint32_t g = 0; g < groups; g++) {
        const int32_t *y = m->y + ((size_t)token * groups + g) * m->y_stride;
        size_t begin = (size_t)g * c->shape.group, end = begin + c->shape.group;
        if (end > c->shape.columns) end = c->shape.columns;
        for (uint32_t r = 0; r < rows; r++) {
            if (m->row_end && (r % tile < m->row_begin || r % tile >= m->row_end)) {
                if (y[r] != UNTOUCHED) return false;
                continue;
            }
            int32_t sum = 0;
            bool real = first + r < c->shape.rows;
            const int8_t *row = weights + (size_t)(real ? first + r : 0) * c->shape.columns;
            for (size_t k = begin; k < end; k++)
                sum += (real ? row[k] : padding) * q[k];
            if (y[r] != sum) return false;
        }
        for (size_t r = rows; r < m->y_stride; r++)
            if (y[r] != UNTOUCHED) return false;
    }
    return true;
}

static void pack(const test_case *c, const int8_t *weights, uint8_t *tiles, size_t tile_bytes)
{
    const tmac_layout *layout = c->kernel->layout;
    for (uint32_t t = 0; t < tmac_layout_tiles(layout, c->shape.rows); t++) {
        uint32_t first = t * layout->row_tile, rows = c->shape.rows - first;
        if (rows > layout->row_tile) rows = layout->row_tile;
        layout->pack_tile(&c->shape, weights + (size_t)first * c->shape.columns, rows,
                          tiles + t * tile_bytes);
    }
}

// Returns whether the case holds. Memory that cannot be had counts as holding nothing: false.
static bool try_case(const test_case *c, tmac_random *random)
{
    const tmac_kernel *kernel = c->kernel;
    size_t columns = c->shape.columns, tile_bytes = kernel->layout->tile_bytes(&c->shape);
    if (tile_bytes == 0) return true;
    uint32_t tiles = tmac_layout_tiles(kernel->layout, c->shape.rows);
    size_t stride = kernel->prepared_bytes(c->shape.columns, c->shape.group);
    size_t y_stride = tmac_round_up((size_t)tiles * kernel->layout->row_tile, 16) + 16;
    size_t y_count = c->tokens * (size_t)tmac_shape_groups(&c->shape) * y_stride;
    fence w = {0}, p = {0}, q = {0}, y = {0};
    int8_t *weights = malloc((size_t)c->shape.rows * columns);
    bool good = weights && fence_new(&w, tiles * tile_bytes, c->at_end) &&
                fence_new(&p, c->tokens * stride, c->at_end) &&
                fence_new(&q, c->tokens * columns, c->at_end) &&
                fence_new(&y, y_count * 4, c->at_end);
    if (good) {
        for (uint32_t r = 0; r < c->shape.rows; r++)
            for (uint32_t k = 0; k < columns; k++)
                weights[r * columns + k] = weight_of(kernel->layout, c->weights, r, k, random);
        for (uint32_t n = 0; n < c->tokens; n++)
            for (uint32_t k = 0; k < columns; k++)
                ((int8_t *)q.data)[n * columns + k] = input_of(c->inputs, k + n, random);
        pack(c, weights, w.data, tile_bytes);
        for (uint32_t n = 0; n < c->tokens; n++)
            for (uint32_t part = 0; part < c->parts; part++)
                kernel->prepare((const int8_t *)q.data + n * columns, c->shape.columns,
                                c->shape.group, p.data + n * stride, part, c->parts);
        tmac_matmul m = {.tiles = w.data,
                         .prepared = p.data,
                         .prepared_stride = stride,
                         .y = (int32_t *)(void *)y.data,
                         .y_stride = y_stride,
                         .shape = c->shape,
                         .tile_begin = c->tile_begin < tiles ? c->tile_begin : 0,
                         .tile_end = tiles,
                         .tokens = c->tokens};
        if (c->at_end) { // other than whole tiles
            const uint32_t spans = kernel->layout->row_tile / kernel->row_span;
            const uint32_t first = tmac_random_below(random, spans);
            m.row_begin = first * kernel->row_span;
            m.row_end =
                m.row_begin + (1 + tmac_random_below(random, spans - first)) * kernel->row_span;
        }
        kernel->run(&m);
        for (uint32_t n = 0; n < c->tokens && good; n++)
            good = equal_output(c, weights, (const int8_t *)q.data + n * columns, n, &m);
    }
    free(weights);
    fence_free(&w);
    fence_free(&p);
    fence_free(&q);
    fence_free(&y);
    return good;
}

// Does not return. No handler, no core file, nothing of the parent's is flushed or closed.
static void judge_in_child(const tmac_kernel *kernel, const tmac_shape *shapes, size_t count,
                           verdict *shared)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    tmac_random random = {0x7465726e617279};
    uint32_t number = 0;
    for (size_t s = 0; s < count; s++) {
        for (uint32_t pattern = 0; pattern < WEIGHT_PATTERNS * INPUT_PATTERNS;
             pattern++, number++) {
            // Large shapes are there for their accumulators: the extremes, and random on random.
            bool large = (uint64_t)shapes[s].rows * shapes[s].columns > 1u << 17;
            test_case c = {.kernel = kernel,
                           .shape = shapes[s],
                           .weights = pattern % WEIGHT_PATTERNS,
                           .inputs = pattern / WEIGHT_PATTERNS,
                           .tokens = number % 3 == 0 ? 1 : kernel->token_block + number % 3,
                           .tile_begin = number % 2,
                           .parts = number % 4 + 1,
                           .at_end = number % 2 == 0};
            if (large && !(c.inputs < 2 && c.weights < 2) &&
                pattern + 1 != WEIGHT_PATTERNS * INPUT_PATTERNS)
                continue;
            snprintf(
                shared->message, sizeof shared->message,
                "%ux%u group %u, %u tokens, weights %u, activations %u, tiles from %u, %u parts",
                c.shape.rows, c.shape.columns, c.shape.group, c.tokens, c.weights, c.inputs,
                c.tile_begin, c.parts);
            if (!try_case(&c, &random)) {
                shared->wrong = true;
                _exit(1);
            }
        }
    }
    shared->finished = true;
    _exit(0);
}

// A child at work on one candidate.
typedef struct examination {
    size_t candidate;
    pid_t child; // 0: none
    uint64_t deadline;
    verdict *shared; // a page of its own
} examination;

static tmac_status examine(examination *e, const tmac_kernel *kernel, const tmac_shape *shapes,
                           size_t count, uint32_t timeout_ms)
{
    memset(e->shared, 0, sizeof *e->shared);
    e->deadline = tmac_now_ns() + timeout_ms * (uint64_t)1000000;
    e->child = fork();
    if (e->child < 0) {
        e->child = 0;
        return tmac_fail(TMAC_IO, "cannot start a child process: %s", strerror(errno));
    }
    if (e->child == 0) judge_in_child(kernel, shapes, count, e->shared);
    return tmac_ok();
}

static void put_to_death(const examination *e)
{
    kill(e->child, SIGKILL);
    while (waitpid(e->child, NULL, 0) < 0 && errno == EINTR) {
    }
}

// Takes the result of an examination that is over, by itself or because its time is; false when it is not.
static bool conclude(examination *e, tmac_gate_result *result)
{
    int wait_status = 0;
    const pid_t got = waitpid(e->child, &wait_status, WNOHANG);
    memset(result, 0, sizeof *result);
    if (got == 0 || (got < 0 && errno == EINTR)) {
        if (tmac_now_ns() < e->deadline) return false;
        put_to_death(e);
        result->outcome = TMAC_OUTCOME_HANG;
    } else if (WIFSIGNALED(wait_status)) {
        result->outcome = TMAC_OUTCOME_CRASH;
        result->detail = (uint32_t)WTERMSIG(wait_status);
    } else if (e->shared->finished) {
        result->outcome = TMAC_OUTCOME_OK;
    } else {
        // Wrong, or it ended the process by itself: either way it did not do what it must.
        result->outcome = TMAC_OUTCOME_WRONG;
    }
    if (result->outcome != TMAC_OUTCOME_OK)
        snprintf(result->message, sizeof result->message, "%.159s", e->shared->message);
    e->child = 0;
    return true;
}

// As many examinations at once as there are processors: nothing is timed yet.
static uint32_t examiners(void)
{
    static tmac_cpu_list allowed;
    tmac_cpu_list_allowed(&allowed);
    return allowed.count < EXAMINATIONS ? allowed.count : EXAMINATIONS;
}

tmac_status tmac_gate(const tmac_kernel *const *candidates, size_t count, const tmac_shape *shapes,
                      size_t shape_count, uint32_t timeout_ms, tmac_gate_result *results)
{
    const uint32_t most = examiners();
    examination at_work[EXAMINATIONS] = {0};
    uint8_t *pages =
        mmap(NULL, (size_t)most * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory shared with a child");
    tmac_status status = tmac_ok();
    size_t begun = 0, concluded = 0;
    while (concluded < count && status.code == TMAC_OK) {
        const size_t before = concluded;
        for (uint32_t i = 0; i < most && status.code == TMAC_OK; i++) {
            examination *e = &at_work[i];
            if (e->child) concluded += conclude(e, &results[e->candidate]);
            if (e->child || begun == count) continue;
            e->shared = (verdict *)(void *)(pages + (size_t)i * PAGE);
            e->candidate = begun++;
            status = examine(e, candidates[e->candidate], shapes, shape_count, timeout_ms);
        }
        if (concluded == before) nanosleep(&(struct timespec){0, 500000}, NULL);
    }
    for (uint32_t i = 0; i < most; i++)
        if (at_work[i].child) put_to_death(&at_work[i]);
    munmap(pages, (size_t)most * PAGE);
    return status;
}

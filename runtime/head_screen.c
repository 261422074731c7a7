// Screening: the largest `top` logits of the stored head, without reading most of it.
//
// A copy of the head at 4 to 8 bits a weight gives every row a score and a bound on how far the stored head's logit
// can be from it. Let T be the top-th largest of score - bound. At least `top` rows have logits >= T, so a row with
// score + bound < T has `top` rows strictly above it: it is not among the first `top`, whatever ties are decided by. All
// others are computed with the stored head, by the function that computes all of it, to the same bits. Of these the first
// `top` stay, ties going to the lowest id; everything else becomes minus infinity. The result is thus the stored head's
// first `top` and nothing else, whatever the width of the copy.
//
// The bound. For one row: w the stored weights, v the rounded ones (codes times scales, exact reals), e = |w - v| and
// n >= |w|, |v|, in Euclidean norms, both bounded from above at packing. For the vector: x, and y = s1 q1 + s2 q2, two
// int8 vectors, the second made of what the first leaves over: 15 bits, so that rounding x hardly costs anything. With
// u = 2^-24, and g(m) = m u / (1 - m u) the usual bound of m roundings, K columns, G scale groups:
//
//   |w.x - v.y| <= |(w - v).x| + |v.(x - y)| <= e |x| + n |x - y|                                (Cauchy-Schwarz)
//   logit   a product passes through at most ceil(K / 16) fused steps and 4 additions:
//           |logit - w.x| <= g(K/16 + 5) sum |w x| <= g(K/16 + 5) n |x|
//   score   for each of the two vectors the integer sum of a group is exact; it may round as a float, then passes
//           through at most G fused steps and one product; the two are added and rounded once more:
//           |score - v.y| <= g(G + 4) n (s1 |q1| + s2 |q2|)
//
// So |logit - score| <= e X + n D with X = |x| and D = |x - y| + g(K/16 + G + 9) (X + s1 |q1| + s2 |q2|). g(m) is at most
// 1.01 m u here, as m < 2^17. What underflow can add, K + G times 2^-149, is below TINY. The bound itself is computed in
// double; SLACK covers its roundings. Where numbers come near the float range, so that a sum could overflow, or are not
// finite, nothing is proven and the whole head is computed.
//
// The width. With b bits the error of rounding is about 0.023 * 2^(6 - b) of a weight's standard deviation. It moves the
// bound by sqrt(columns) times that, in standard deviations of the logits: by 1.2 with 6 bits and 2560 columns, by 2.6
// with 4 bits and 768. A trained model's winner lies 4 to 6 of them above the mean, and rows within twice the bound of it
// are computed again: a wide head needs 6 bits, where 4 leave most rows, and a narrow one reads a third less with 4.
// Between them tmac-tune measures; tmac_screen_rule is for who has not.
#include <math.h>
#include <string.h>

#include "runtime/head.h"
#include "runtime/model_private.h"

// Where more than this share of the rows survive, the whole head streams faster than its rows are picked.
enum { FALLBACK_SHARE = 8 };

static const double UNIT = 0x1p-24, SLACK = 1.000001, TINY = 1e-37;

// One vector's part of the bound.
typedef struct reach {
    double x, d; // X and D
    bool proven;
} reach;

typedef struct screening {
    tmac_model *model;
    uint32_t first, tokens, top;
    reach reach[TMAC_SCREEN_TOKENS];
    // of the token whose rows are chosen:
    uint32_t token;
    double threshold;
    uint32_t survivors;
} screening;

uint32_t tmac_screen_rule(uint32_t columns)
{
    return columns <= 1024 ? 5 : 6;
}

static double bound_of(const reach *vector, const tmac_head_loss *loss)
{
    return ((double)loss->error * vector->x + (double)loss->norm * vector->d) * SLACK + TINY;
}

// Makes the two int8 vectors of a token and its part of the bound.
static reach prepare_vector(const tmac_model *model, const float *x, uint32_t slot,
                            float *remainder)
{
    const tmac_head *head = &model->head;
    const tmac_head_shape *shape = &head->shape;
    const uint32_t columns = shape->columns;
    const int8_t *q1 = head->codes + (size_t)(2 * slot) * tmac_head_padded(shape);
    const int8_t *q2 = q1 + tmac_head_padded(shape);
    tmac_head_prepare(model, x, 2 * slot);
    const float s1 = head->scales[2 * slot];
    for (uint32_t i = 0; i < columns; i++)
        remainder[i] = x[i] - (float)q1[i] * s1;
    tmac_head_prepare(model, remainder, 2 * slot + 1);
    const double first = (double)s1, second = (double)head->scales[2 * slot + 1];
    double squares = 0, left = 0, large = 0, small = 0;
    for (uint32_t i = 0; i < columns; i++) {
        const double value = (double)x[i], a = first * q1[i], b = second * q2[i];
        const double difference = value - a - b;
        squares += value * value;
        left += difference * difference;
        large += a * a;
        small += b * b;
    }
    reach result = {.x = sqrt(squares)};
    const double steps = columns / 16.0 + shape->groups + 9.0;
    const double size = result.x + sqrt(large) + sqrt(small);
    result.d = sqrt(left) + 1.01 * steps * UNIT * size;
    // Sums of squares may be off by a factor of 1 + 2^-36 by their own roundings: SLACK covers that too. The difference
    // is exact to 2^-52 of x, far below the last term.
    result.proven = isfinite(size) && size * (double)head->largest_norm < 1e37;
    return result;
}

// Keeps the `top` largest values in a heap whose root is the least of them.
static void keep(double *heap, uint32_t top, double value)
{
    if (!(value > heap[0])) return;
    uint32_t at = 0;
    for (uint32_t child = 1; child < top; child = 2 * at + 1) {
        if (child + 1 < top && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= value) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = value;
}

static double *best_of(const screening *task, uint32_t worker, uint32_t token)
{
    return task->model->head.best + ((size_t)worker * TMAC_SCREEN_TOKENS + token) * TMAC_SCREEN_TOP;
}

// Scores of all rows into the logits, and each worker's best lower bounds.
static void score_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const screening *task = argument;
    tmac_model *model = task->model;
    const tmac_head *head = &model->head;
    const uint32_t vocab = model->source->vocab, step = TMAC_FLOAT_ROWS / TMAC_HEAD_ROWS;
    float *rows = head->rows + (size_t)worker * 2 * TMAC_SCREEN_TOKENS * TMAC_FLOAT_ROWS;
    for (uint32_t t = 0; t < task->tokens; t++)
        for (uint32_t i = 0; i < task->top; i++)
            best_of(task, worker, t)[i] = -INFINITY;
    uint64_t begin, end;
    tmac_share(tmac_head_tiles(&head->shape), worker, workers, &begin, &end);
    for (uint64_t tile = begin; tile < end; tile += step) {
        head->kernels->run(&(tmac_head_task){
            .shape = &head->shape,
            .tiles = head->tiles,
            .tile_begin = (uint32_t)tile,
            .tile_end = (uint32_t)(end - tile < step ? end : tile + step),
            .tokens = 2 * task->tokens,
            .codes = head->codes,
            .corrections = head->corrections,
            .scales = head->scales,
            .y = rows,
            .y_stride = TMAC_FLOAT_ROWS,
        });
        const uint32_t row = (uint32_t)tile * TMAC_HEAD_ROWS;
        const uint64_t last = end - tile < step ? end : tile + step;
        uint32_t count = (uint32_t)(last - tile) * TMAC_HEAD_ROWS;
        if (count > vocab - row) count = vocab - row;
        for (uint32_t t = 0; t < task->tokens; t++) {
            const float *large = rows + (size_t)(2 * t) * TMAC_FLOAT_ROWS;
            const float *small = large + TMAC_FLOAT_ROWS;
            float *score = model->logits + (size_t)(task->first + t) * vocab + row;
            double *best = best_of(task, worker, t);
            for (uint32_t r = 0; r < count; r++) {
                score[r] = large[r] + small[r];
                const double bound = bound_of(&task->reach[t], tmac_head_loss_of(head, row + r));
                keep(best, task->top, (double)score[r] - bound);
            }
        }
    }
}

// Lists the rows that can still be among the first `top`; all others are out of the race.
static void choose_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const screening *task = argument;
    const tmac_head *head = &task->model->head;
    const uint32_t vocab = task->model->source->vocab;
    float *score = task->model->logits + (size_t)(task->first + task->token) * vocab;
    uint64_t begin, end;
    tmac_share(vocab, worker, workers, &begin, &end);
    uint32_t count = 0;
    for (uint32_t row = (uint32_t)begin; row < end; row++) {
        const double bound = bound_of(&task->reach[task->token], tmac_head_loss_of(head, row));
        if ((double)score[row] + bound < task->threshold)
            score[row] = -INFINITY;
        else
            head->survivors[begin + count++] = row;
    }
    head->survivor_count[worker] = count;
}

static void recompute_phase(void *argument, uint32_t worker, uint32_t workers)
{
    const screening *task = argument;
    const uint32_t *rows = task->model->head.survivors;
    uint64_t begin, end;
    tmac_share(task->survivors, worker, workers, &begin, &end);
    for (uint64_t i = begin; i < end; i++)
        tmac_head_stored_rows(task->model, rows[i], rows[i] + 1, task->first + task->token, 1);
}

// The top-th largest lower bound, from those that the workers kept.
static double find_threshold(const screening *task, uint32_t workers)
{
    double *best = best_of(task, 0, task->token);
    for (uint32_t w = 1; w < workers; w++)
        for (uint32_t i = 0; i < task->top; i++)
            keep(best, task->top, best_of(task, w, task->token)[i]);
    return best[0];
}

// Moves the workers' lists together.
static uint32_t gather(const tmac_head *head, uint32_t vocab, uint32_t workers)
{
    uint32_t total = 0;
    for (uint32_t w = 0; w < workers; w++) {
        uint64_t begin, end;
        tmac_share(vocab, w, workers, &begin, &end);
        memmove(head->survivors + total, head->survivors + begin,
                head->survivor_count[w] * sizeof *head->survivors);
        total += head->survivor_count[w];
    }
    return total;
}

// Leaves the first `top` of these rows, ascending numbers, and makes the others minus infinity.
static void leave_first(const screening *task, const uint32_t *rows, uint32_t count)
{
    float *logit =
        task->model->logits + (size_t)(task->first + task->token) * task->model->source->vocab;
    double *largest = best_of(task, 0, task->token);
    for (uint32_t i = 0; i < task->top; i++)
        largest[i] = -INFINITY;
    for (uint32_t i = 0; i < count; i++)
        keep(largest, task->top, (double)logit[rows ? rows[i] : i]);
    const float last = (float)largest[0];
    uint32_t ties = task->top;
    for (uint32_t i = 0; i < count; i++)
        ties -= logit[rows ? rows[i] : i] > last;
    for (uint32_t i = 0; i < count; i++) {
        float *value = &logit[rows ? rows[i] : i];
        if (*value == last && ties > 0)
            ties--;
        else if (!(*value > last))
            *value = -INFINITY;
    }
}

static void finish_token(screening *task, uint32_t workers)
{
    tmac_model *model = task->model;
    const uint32_t vocab = model->source->vocab;
    model->profile.head_screened++;
    if (task->reach[task->token].proven) {
        task->threshold = find_threshold(task, workers);
        tmac_pool_run(model->pool, choose_phase, task);
        task->survivors = gather(&model->head, vocab, workers);
        if (task->survivors <= vocab / FALLBACK_SHARE || task->survivors <= 2 * task->top) {
            tmac_pool_run(model->pool, recompute_phase, task);
            model->profile.head_rows += task->survivors;
            leave_first(task, model->head.survivors, task->survivors);
            return;
        }
    }
    tmac_head_stored(model, task->first + task->token, 1);
    model->profile.head_fallbacks++;
    if (task->reach[task->token].proven) leave_first(task, NULL, vocab);
}

void tmac_head_screen(tmac_model *model, uint32_t tokens, uint32_t top)
{
    const uint32_t workers = tmac_pool_threads(model->pool);
    for (uint32_t first = 0; first < tokens; first += TMAC_SCREEN_TOKENS) {
        screening task = {.model = model, .first = first, .tokens = tokens - first, .top = top};
        if (task.tokens > TMAC_SCREEN_TOKENS) task.tokens = TMAC_SCREEN_TOKENS;
        for (uint32_t t = 0; t < task.tokens; t++)
            task.reach[t] =
                prepare_vector(model, model->normed + (size_t)(first + t) * model->widest, t,
                               model->scratch[0].values);
        tmac_pool_run(model->pool, score_phase, &task);
        for (task.token = 0; task.token < task.tokens; task.token++)
            finish_token(&task, workers);
    }
}

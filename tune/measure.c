// Rounds: contenders measured in turn, in a new random order each round, so that whatever the host does meanwhile falls
// on all of them alike.
//
// A contender is out when its median exceeds drop_ratio times the best after a few rounds; when it is in the slower half
// after 4, 8, 16, ... rounds (successive halving: half of the field, twice the samples); or when after rounds_min its
// interval (two standard errors of the median about it) lies wholly above the leader's. The sentinel stays to the end.
// It is over when nobody but leader and sentinel is left and these two are told apart, at rounds_max, or when time is
// up.
#include "tune/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { DROP_AFTER = 3, HALVE_FROM = 4, OVERDRAFT = 4, PASSES_MAX = 1 << 16 };

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t middle(const uint64_t *sorted, uint32_t count)
{
    uint64_t low = sorted[(count - 1) / 2], high = sorted[count / 2];
    return low + (high - low) / 2;
}

tmac_summary tmac_summarize(uint64_t *samples, uint32_t count)
{
    uint64_t away[TMAC_SAMPLES_MAX] = {0};
    qsort(samples, count, sizeof *samples, ascending);
    tmac_summary s = {.samples = count, .median_ns = middle(samples, count), .min_ns = samples[0]};
    // The smallest sample that at least 95 of 100 do not exceed.
    s.p95_ns = samples[(count * 95 + 99) / 100 - 1];
    for (uint32_t i = 0; i < count; i++)
        away[i] = samples[i] > s.median_ns ? samples[i] - s.median_ns : s.median_ns - samples[i];
    qsort(away, count, sizeof *away, ascending);
    s.mad_ns = middle(away, count);
    return s;
}

static tmac_db_figure figure_of(const tmac_contender *contender)
{
    uint64_t sorted[TMAC_SAMPLES_MAX];
    memcpy(sorted, contender->samples, contender->count * sizeof *sorted);
    tmac_summary s = tmac_summarize(sorted, contender->count);
    return (tmac_db_figure){.ns = (double)s.median_ns,
                            .error = 1.4826 * 1.2533 * (double)s.mad_ns / sqrt((double)s.samples)};
}

static void shuffle(uint32_t *order, uint32_t count, tmac_random *random)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = tmac_random_below(random, i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}

// As many passes as fill sample_ns, by the first contender's pace; the first pass of each is not counted. Where the
// rounds that nobody is spared would take more than the deadline and a part of what comes after it, *count is cut: the
// first contenders are measured, and later competitions keep most of their time; 0 when not even two fit, and then the
// rule stands.
static uint32_t warm_up(const tmac_contender *contenders, uint32_t *count,
                        const tmac_rounds *rounds)
{
    uint64_t once = rounds->sample(rounds->context, &contenders[0], 1);
    uint64_t least = once > rounds->sample_ns ? once : rounds->sample_ns;
    uint64_t now = rounds->now(rounds->context);
    if (now >= rounds->time_up_ns) return 0;
    uint64_t end = rounds->deadline_ns > now ? rounds->deadline_ns : now;
    if (end < rounds->time_up_ns) end += (rounds->time_up_ns - end) / OVERDRAFT;
    double fit = (double)(end - now) / ((double)least * DROP_AFTER);
    if (fit < *count) *count = (uint32_t)fit;
    if (*count < 2 && fit < 2) return 0;
    for (uint32_t i = 1; i < *count; i++)
        rounds->sample(rounds->context, &contenders[i], 1);
    once = rounds->sample(rounds->context, &contenders[0], 1);
    uint64_t passes = rounds->sample_ns / (once ? once : 1);
    return passes < 1 ? 1 : passes > PASSES_MAX ? PASSES_MAX : (uint32_t)passes;
}

static tmac_status drop(tmac_contender *c, const tmac_rounds *rounds, uint32_t passes)
{
    c->dropped = true;
    return rounds->finished ? rounds->finished(rounds->context, c, passes) : tmac_ok();
}

// The slower half of those that are left leaves, the sentinel excepted; two stay to be told apart.
static tmac_status halve(tmac_contender *contenders, uint32_t count, const tmac_rounds *rounds,
                         uint32_t passes)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++)
        left += !contenders[i].dropped;
    uint32_t target = (left + 1) / 2 > 2 ? (left + 1) / 2 : 2;
    while (left > target) {
        tmac_contender *slowest = NULL;
        double most = 0;
        for (uint32_t i = 0; i < count; i++) {
            if (contenders[i].dropped || contenders[i].sentinel) continue;
            double ns = figure_of(&contenders[i]).ns;
            if (slowest && ns <= most) continue;
            slowest = &contenders[i];
            most = ns;
        }
        if (!slowest) break;
        TMAC_TRY(drop(slowest, rounds, passes));
        left--;
    }
    return tmac_ok();
}

// After a round: drops who is out; returns how many are undecided besides the leader.
static tmac_status judge(tmac_contender *contenders, uint32_t count, uint32_t round,
                         const tmac_rounds *rounds, uint32_t passes, uint32_t *undecided)
{
    uint32_t leader = 0;
    tmac_db_figure best = {.ns = INFINITY};
    if (rounds->halve && round >= HALVE_FROM && (round & (round - 1)) == 0)
        TMAC_TRY(halve(contenders, count, rounds, passes));
    for (uint32_t i = 0; i < count; i++) {
        if (contenders[i].dropped) continue;
        tmac_db_figure f = figure_of(&contenders[i]);
        if (f.ns < best.ns) {
            best = f;
            leader = i;
        }
    }
    *undecided = 0;
    for (uint32_t i = 0; i < count; i++) {
        tmac_contender *c = &contenders[i];
        if (c->dropped || i == leader) continue;
        tmac_db_figure f = figure_of(c);
        bool behind = round >= rounds->rounds_min && tmac_db_faster(&best, &f);
        if (!behind && !(round >= DROP_AFTER && f.ns > rounds->drop_ratio * best.ns))
            ++*undecided;
        else if (!c->sentinel)
            TMAC_TRY(drop(c, rounds, passes));
    }
    return tmac_ok();
}

// Refills the bench when half of the layouts it was last filled for are out.
static tmac_status share_anew(const tmac_contender *contenders, uint32_t count,
                              uint32_t *layout_count, const tmac_rounds *rounds)
{
    const tmac_layout *layouts[TMAC_WORK_LAYOUTS];
    const tmac_kernel **left = calloc(count + 1, sizeof *left);
    if (!left) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u contenders", count);
    size_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!contenders[i].dropped) left[kept++] = contenders[i].kernel;
    tmac_status status = tmac_ok();
    uint32_t found = tmac_layouts_of(left, kept, layouts);
    if (*layout_count == 0) *layout_count = found;
    if (found * 2 <= *layout_count) {
        status = rounds->refill(rounds->context, left, kept);
        *layout_count = found;
    }
    free(left);
    return status;
}

tmac_status tmac_compete(tmac_contender *contenders, uint32_t count, const tmac_rounds *rounds)
{
    if (count == 0) return tmac_ok();
    uint32_t *order = malloc(count * sizeof *order);
    if (!order) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u contenders", count);
    uint32_t passes = warm_up(contenders, &count, rounds);
    for (uint32_t i = 0; i < count; i++)
        order[i] = i;
    if (passes == 0) {
        free(order);
        return tmac_ok();
    }
    uint32_t round = 0, undecided = 1, layouts = 0;
    uint32_t last = rounds->rounds_max < TMAC_SAMPLES_MAX ? rounds->rounds_max : TMAC_SAMPLES_MAX;
    tmac_status status =
        rounds->refill ? share_anew(contenders, count, &layouts, rounds) : tmac_ok();
    while (status.code == TMAC_OK && round < last &&
           (round < rounds->rounds_min || undecided > 0) &&
           (round < DROP_AFTER || rounds->now(rounds->context) < rounds->deadline_ns)) {
        shuffle(order, count, rounds->random);
        for (uint32_t i = 0; i < count; i++) {
            tmac_contender *c = &contenders[order[i]];
            if (!c->dropped) c->samples[c->count++] = rounds->sample(rounds->context, c, passes);
        }
        round++;
        status = judge(contenders, count, round, rounds, passes, &undecided);
        if (status.code == TMAC_OK && undecided > 0 && rounds->refill)
            status = share_anew(contenders, count, &layouts, rounds);
    }
    for (uint32_t i = 0; i < count && status.code == TMAC_OK; i++)
        if (!contenders[i].dropped && rounds->finished)
            status = rounds->finished(rounds->context, &contenders[i], passes);
    free(order);
    return status;
}

// -------------------------------------------------------------------------------------------------------- bandwidth

typedef struct stream {
    const uint64_t *words;
    size_t count;
    uint64_t sums[TMAC_POOL_MAX];
} stream;

static void touch_phase(void *argument, uint32_t worker, uint32_t workers)
{
    stream *s = argument;
    uint64_t begin, end;
    tmac_share(s->count, worker, workers, &begin, &end);
    memset((void *)(uintptr_t)(s->words + begin), 1, (end - begin) * sizeof *s->words);
}

static void read_phase(void *argument, uint32_t worker, uint32_t workers)
{
    stream *s = argument;
    uint64_t begin, end, sum = 0;
    tmac_share(s->count, worker, workers, &begin, &end);
    // One word a cache line: the line is what moves.
    for (uint64_t i = begin; i < end; i += 8)
        sum += s->words[i];
    s->sums[worker] += sum;
}

uint64_t tmac_measure_bandwidth(tmac_pool *pool, const tmac_host *host)
{
    size_t bytes = (size_t)host->l3_bytes * 2;
    if (bytes < (size_t)64 << 20) bytes = (size_t)64 << 20;
    if (bytes > (size_t)1 << 30) bytes = (size_t)1 << 30;
    if (host->memory_bytes && bytes > host->memory_bytes / 8) bytes = host->memory_bytes / 8;
    tmac_pages pages;
    stream *s = calloc(1, sizeof *s);
    if (!s) return 0;
    if (bytes < 4096 || tmac_pages_map(bytes, &pages).code != TMAC_OK) {
        free(s);
        return 0;
    }
    s->words = pages.data;
    s->count = bytes / sizeof *s->words;
    tmac_pool_run(pool, touch_phase, s);
    uint64_t times[5];
    for (int i = 0; i < 5; i++) {
        uint64_t start = tmac_now_ns();
        tmac_pool_run(pool, read_phase, s);
        times[i] = tmac_now_ns() - start;
    }
    tmac_summary summary = tmac_summarize(times, 5);
    tmac_pages_unmap(&pages);
    free(s);
    return summary.median_ns ? (uint64_t)((double)bytes * 1e9 / (double)summary.median_ns) : 0;
}

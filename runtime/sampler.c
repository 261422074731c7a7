// Choosing the next token, and judging one.
//
// Biases and penalties change a copy of the logits first. Greedy takes the largest. Otherwise, with weights
// e^((l - max) / temperature) in double:
//   top-k keeps the k most likely tokens; typical, of those, the ones whose surprise -ln p is nearest to its mean, the
//   fewest that have at least its share of weight; top-p, of those, the most likely, the fewest that have at least the
//   share p of their weight; min-p those of a weight of at least its part of the largest; then one is drawn with
//   probability in proportion to its weight.
// "More likely" means larger logit, then lower id, so that the choice is defined to the last bit. The order comes from
// a heap that is popped only as far as needed: the nucleus is small, the vocabulary is not. Nothing allocates after
// tmac_sampler_new.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "runtime/math.h"
#include "runtime/tmac.h"

typedef struct candidate {
    float logit;
    uint32_t id;
    double weight;
    double distance; // typical sampling's
} candidate;

struct tmac_sampler {
    uint32_t vocab;
    tmac_sampler_options options;
    tmac_random random;
    candidate *candidates; // vocab of them; NULL when greedy
    float *adjusted;       // the logits with biases and penalties; NULL where there are none
    tmac_logit_bias *biases;
    // The last tokens, a ring, and how often each token is among them; NULL without penalties.
    uint32_t *recent, *occurrences;
    uint32_t recent_count, recent_next;
};

enum { DEFAULT_WINDOW = 64, WINDOW_MAX = 1 << 24 };
#define PENALIZED 0x80000000u // above any count

static bool penalizes(const tmac_sampler_options *options)
{
    return (options->repetition != 0.0f && options->repetition != 1.0f) ||
           options->presence != 0.0f || options->frequency != 0.0f;
}

static tmac_status check_options(uint32_t vocab, const tmac_sampler_options *options)
{
    const struct {
        const char *name;
        float value, low, high;
    } ranges[] = {
        {"min-p", options->min_p, 0.0f, 1.0f},
        {"typical", options->typical, 0.0f, 1.0f},
        {"repetition penalty", options->repetition, 0.0f, 1000.0f},
        {"presence penalty", options->presence, -1000.0f, 1000.0f},
        {"frequency penalty", options->frequency, -1000.0f, 1000.0f},
    };
    if (vocab == 0) return tmac_fail(TMAC_USAGE, "a sampler needs a vocabulary");
    if (!(options->temperature >= 0.0f) || !isfinite(options->temperature))
        return tmac_fail(TMAC_USAGE, "temperature %g: must be 0 (greedy) or positive",
                         (double)options->temperature);
    if (!(options->top_p > 0.0f && options->top_p <= 1.0f))
        return tmac_fail(TMAC_USAGE, "top-p %g: must be above 0 and at most 1 (which turns it off)",
                         (double)options->top_p);
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return tmac_fail(TMAC_USAGE, "%s %g: must be between %g and %g", ranges[i].name,
                             (double)ranges[i].value, (double)ranges[i].low,
                             (double)ranges[i].high);
    if (options->window > WINDOW_MAX)
        return tmac_fail(TMAC_USAGE, "penalties over the last %u tokens: at most %d",
                         options->window, WINDOW_MAX);
    for (uint32_t i = 0; i < options->bias_count; i++)
        if (options->biases[i].token >= vocab || isnan(options->biases[i].bias) ||
            options->biases[i].bias == INFINITY)
            return tmac_fail(TMAC_USAGE, "a bias of %g for token %u: the vocabulary has %u tokens",
                             (double)options->biases[i].bias, options->biases[i].token, vocab);
    return tmac_ok();
}

static bool take_memory(tmac_sampler *made)
{
    const tmac_sampler_options *options = &made->options;
    if (options->temperature > 0.0f) {
        made->candidates = malloc(made->vocab * sizeof *made->candidates);
        if (!made->candidates) return false;
    }
    if (options->bias_count) {
        made->biases = malloc(options->bias_count * sizeof *made->biases);
        if (!made->biases) return false;
        memcpy(made->biases, options->biases, options->bias_count * sizeof *made->biases);
    }
    if (penalizes(options)) {
        made->recent = malloc(options->window * sizeof *made->recent);
        made->occurrences = calloc(made->vocab, sizeof *made->occurrences);
        if (!made->recent || !made->occurrences) return false;
    }
    if (!made->biases && !made->recent) return true;
    made->adjusted = malloc(made->vocab * sizeof *made->adjusted);
    return made->adjusted != NULL;
}

tmac_status tmac_sampler_new(uint32_t vocab, const tmac_sampler_options *options,
                             tmac_sampler **sampler)
{
    *sampler = NULL;
    TMAC_TRY(check_options(vocab, options));
    tmac_sampler *made = calloc(1, sizeof *made);
    if (made) {
        made->vocab = vocab;
        made->options = *options;
        if (made->options.window == 0) made->options.window = DEFAULT_WINDOW;
        made->random.state = options->seed;
    }
    if (!made || !take_memory(made)) {
        tmac_sampler_free(made);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a sampler of %u tokens", vocab);
    }
    made->options.biases = made->biases;
    *sampler = made;
    return tmac_ok();
}

void tmac_sampler_free(tmac_sampler *sampler)
{
    if (!sampler) return;
    free(sampler->candidates);
    free(sampler->adjusted);
    free(sampler->biases);
    free(sampler->recent);
    free(sampler->occurrences);
    free(sampler);
}

bool tmac_sampler_needs_all(const tmac_sampler *sampler)
{
    const tmac_sampler_options *options = &sampler->options;
    if (sampler->adjusted) return true;
    return options->temperature > 0.0f && options->top_k == 0;
}

// ------------------------------------------------------------------------------------------- biases and penalties

void tmac_sampler_accept(tmac_sampler *sampler, uint32_t token)
{
    if (!sampler->recent || token >= sampler->vocab) return;
    uint32_t *place = &sampler->recent[sampler->recent_next];
    if (sampler->recent_count == sampler->options.window)
        sampler->occurrences[*place]--;
    else
        sampler->recent_count++;
    *place = token;
    sampler->occurrences[token]++;
    sampler->recent_next = (sampler->recent_next + 1) % sampler->options.window;
}

void tmac_sampler_forget(tmac_sampler *sampler)
{
    for (uint32_t i = 0; i < sampler->recent_count; i++)
        sampler->occurrences[sampler->recent[i]] = 0;
    sampler->recent_count = sampler->recent_next = 0;
}

static void penalize(tmac_sampler *sampler, uint32_t token)
{
    const tmac_sampler_options *options = &sampler->options;
    float logit = sampler->adjusted[token];
    if (options->repetition != 0.0f)
        logit = logit > 0.0f ? logit / options->repetition : logit * options->repetition;
    logit -= options->presence + options->frequency * (float)sampler->occurrences[token];
    sampler->adjusted[token] = logit;
}

static const float *adjust(tmac_sampler *sampler, const float *logits)
{
    if (!sampler->adjusted) return logits;
    memcpy(sampler->adjusted, logits, sampler->vocab * sizeof *logits);
    for (uint32_t i = 0; i < sampler->options.bias_count; i++)
        sampler->adjusted[sampler->biases[i].token] += sampler->biases[i].bias;
    for (uint32_t i = 0; i < sampler->recent_count; i++) {
        // Once for each token, whatever its count: a mark says that it is done.
        const uint32_t token = sampler->recent[i];
        if (sampler->occurrences[token] & PENALIZED) continue;
        penalize(sampler, token);
        sampler->occurrences[token] |= PENALIZED;
    }
    for (uint32_t i = 0; i < sampler->recent_count; i++)
        sampler->occurrences[sampler->recent[i]] &= ~PENALIZED;
    return sampler->adjusted;
}

// The largest logit's lowest id. NaN is never larger.
static uint32_t largest(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i]))) best = i;
    return best;
}

static bool likelier(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static void sift(candidate *heap, uint32_t count, uint32_t at)
{
    const candidate moving = heap[at];
    for (uint32_t child; at < count / 2; at = child) {
        child = 2 * at + 1;
        if (child + 1 < count && likelier(&heap[child + 1], &heap[child])) child++;
        if (!likelier(&heap[child], &moving)) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

// Uniform in [0, 1), 53 bits.
static double draw_unit(tmac_random *random)
{
    return (double)(tmac_random_next(random) >> 11) * 0x1p-53;
}

static double weigh(const tmac_sampler *sampler, float logit, float max)
{
    return tmac_exp(((double)logit - (double)max) / (double)sampler->options.temperature);
}

// The first whose cumulated weight exceeds target.
static uint32_t draw_from(const candidate *from, uint32_t count, double target)
{
    double sum = 0.0;
    uint32_t last = from[0].id;
    for (uint32_t i = 0; i < count; i++) {
        sum += from[i].weight;
        if (from[i].weight > 0.0) last = from[i].id;
        if (sum > target) return from[i].id;
    }
    return last; // rounding of the sum
}

// The heap of a choice: candidates [0, left) are a heap, [left, count) are the likeliest, the likeliest at the very end.
typedef struct ranking {
    candidate *items;
    uint32_t count, left;
} ranking;

// The next likeliest moves behind the shrinking heap. False: there is none.
static bool rank_next(ranking *ranked)
{
    if (ranked->left == 0) return false;
    const candidate top = ranked->items[0];
    ranked->items[0] = ranked->items[--ranked->left];
    sift(ranked->items, ranked->left, 0);
    ranked->items[ranked->left] = top;
    return true;
}

// Only what has been ranked so far remains.
static void keep_ranked(ranking *ranked)
{
    ranked->count -= ranked->left;
    ranked->items += ranked->left;
    ranked->left = 0;
}

static double total_weight(const candidate *items, uint32_t count)
{
    double total = 0.0;
    for (uint32_t i = 0; i < count; i++)
        total += items[i].weight;
    return total;
}

// By distance of surprise from its mean, nearest first; then likelier first.
static int nearer(const void *left, const void *right)
{
    const candidate *a = left, *b = right;
    if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
    return likelier(a, b) ? -1 : 1;
}

// Keeps the typical ones of all candidates and makes them a heap again. -ln p = ln(total) - ln(weight).
static void keep_typical(const tmac_sampler *sampler, ranking *ranked)
{
    const double total = total_weight(ranked->items, ranked->count), log_total = tmac_log(total);
    double mean = 0.0, kept = 0.0;
    uint32_t possible = 0;
    for (uint32_t i = 0; i < ranked->count; i++) {
        candidate *one = &ranked->items[i];
        if (!(one->weight > 0.0)) continue;
        one->distance = log_total - tmac_log(one->weight);
        mean += one->weight / total * one->distance;
        ranked->items[possible++] = *one;
    }
    for (uint32_t i = 0; i < possible; i++)
        ranked->items[i].distance = fabs(ranked->items[i].distance - mean);
    qsort(ranked->items, possible, sizeof *ranked->items, nearer);
    uint32_t count = 0;
    while (count < possible && kept < (double)sampler->options.typical * total)
        kept += ranked->items[count++].weight;
    ranked->count = ranked->left = count;
    for (uint32_t i = count / 2; i-- > 0;)
        sift(ranked->items, count, i);
}

uint32_t tmac_sample(tmac_sampler *sampler, const float *given)
{
    const tmac_sampler_options *options = &sampler->options;
    const float *logits = adjust(sampler, given);
    const uint32_t best = largest(logits, sampler->vocab);
    const float max = logits[best];
    if (!sampler->candidates || !isfinite(max)) return best;

    ranking ranked = {sampler->candidates, 0, 0};
    const bool limited = options->top_k && options->top_k < sampler->vocab;
    const bool typical = options->typical > 0.0f && options->typical < 1.0f;
    for (uint32_t id = 0; id < sampler->vocab; id++) {
        if (isnan(logits[id])) continue;
        const double weight = limited ? 0.0 : weigh(sampler, logits[id], max);
        ranked.items[ranked.count++] = (candidate){logits[id], id, weight, 0.0};
    }
    const double unit = draw_unit(&sampler->random);
    double total = limited ? 0.0 : total_weight(ranked.items, ranked.count);
    if (!limited && !typical && options->top_p >= 1.0f && options->min_p == 0.0f)
        return draw_from(ranked.items, ranked.count, unit * total);

    ranked.left = ranked.count;
    for (uint32_t i = ranked.count / 2; i-- > 0;)
        sift(ranked.items, ranked.count, i);
    if (limited) {
        for (uint32_t kept = 0; kept < options->top_k && rank_next(&ranked); kept++) {
            candidate *top = &ranked.items[ranked.left];
            top->weight = weigh(sampler, top->logit, max);
            total += top->weight;
        }
        keep_ranked(&ranked);
    }
    if (typical) {
        keep_typical(sampler, &ranked);
        total = total_weight(ranked.items, ranked.count);
    }
    double nucleus = 0.0;
    const double wanted = (double)options->top_p * total;
    uint32_t end = ranked.count; // candidates [end, count) are in the nucleus
    while (end > 0 && nucleus < wanted) {
        if (ranked.left == end && !rank_next(&ranked)) break;
        // The likeliest weighs 1, and the others less and less.
        if (end < ranked.count && ranked.items[end - 1].weight < (double)options->min_p) break;
        nucleus += ranked.items[--end].weight;
    }
    return draw_from(ranked.items + end, ranked.count - end, unit * nucleus);
}

double tmac_negative_log_likelihood(const float *logits, uint32_t vocab, uint32_t token)
{
    const double max = (double)logits[largest(logits, vocab)];
    double sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += tmac_exp((double)logits[i] - max);
    return tmac_log(sum) - ((double)logits[token] - max);
}

void tmac_likeliest(const float *logits, uint32_t vocab, uint32_t count,
                    tmac_token_probability *likeliest)
{
    uint32_t filled = 0;
    for (uint32_t id = 0; id < vocab && count; id++) {
        if (filled == count && !(logits[id] > logits[likeliest[count - 1].token])) continue;
        if (isnan(logits[id])) continue;
        uint32_t at = filled < count ? filled++ : count - 1;
        for (; at && logits[id] > logits[likeliest[at - 1].token]; at--)
            likeliest[at] = likeliest[at - 1];
        likeliest[at].token = id;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i >= filled) likeliest[i].token = 0;
        likeliest[i].log_probability =
            -tmac_negative_log_likelihood(logits, vocab, likeliest[i].token);
    }
}

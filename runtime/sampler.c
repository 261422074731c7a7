// Choosing the next token, and judging one.
//
// Greedy takes the largest logit. Otherwise, with weights e^((l - max) / temperature) in double:
//   top-k keeps the k most likely tokens; top-p keeps, of those, the fewest that have at least the share p of their
//   weight; then one is drawn with probability in proportion to its weight.
// "More likely" means larger logit, then lower id, so that the choice is defined to the last bit. The order comes from
// a heap that is popped only as far as needed: the nucleus is small, the vocabulary is not. Nothing allocates after
// tmac_sampler_new.
#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "runtime/math.h"
#include "runtime/tmac.h"

typedef struct candidate {
    float logit;
    uint32_t id;
    double weight;
} candidate;

struct tmac_sampler {
    uint32_t vocab;
    tmac_sampler_options options;
    tmac_random random;
    candidate *candidates; // vocab of them; NULL when greedy
};

tmac_status tmac_sampler_new(uint32_t vocab, const tmac_sampler_options *options,
                             tmac_sampler **sampler)
{
    *sampler = NULL;
    if (vocab == 0) return tmac_fail(TMAC_USAGE, "a sampler needs a vocabulary");
    if (!(options->temperature >= 0.0f) || !isfinite(options->temperature))
        return tmac_fail(TMAC_USAGE, "temperature %g: must be 0 (greedy) or positive",
                         (double)options->temperature);
    if (!(options->top_p > 0.0f && options->top_p <= 1.0f))
        return tmac_fail(TMAC_USAGE, "top-p %g: must be above 0 and at most 1 (which turns it off)",
                         (double)options->top_p);
    tmac_sampler *made = calloc(1, sizeof *made);
    if (made && options->temperature > 0.0f)
        made->candidates = malloc(vocab * sizeof *made->candidates);
    if (!made || (options->temperature > 0.0f && !made->candidates)) {
        free(made);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for a sampler of %u tokens", vocab);
    }
    made->vocab = vocab;
    made->options = *options;
    made->random.state = options->seed;
    *sampler = made;
    return tmac_ok();
}

void tmac_sampler_free(tmac_sampler *sampler)
{
    if (!sampler) return;
    free(sampler->candidates);
    free(sampler);
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

uint32_t tmac_sample(tmac_sampler *sampler, const float *logits)
{
    const uint32_t best = largest(logits, sampler->vocab);
    const float max = logits[best];
    if (!sampler->candidates || !isfinite(max)) return best;

    candidate *heap = sampler->candidates;
    uint32_t count = 0;
    const uint32_t top_k = sampler->options.top_k;
    const bool limited = top_k && top_k < sampler->vocab;
    double total = 0.0;
    for (uint32_t id = 0; id < sampler->vocab; id++) {
        if (isnan(logits[id])) continue;
        const double weight = limited ? 0.0 : weigh(sampler, logits[id], max);
        heap[count++] = (candidate){logits[id], id, weight};
        total += weight;
    }
    const double unit = draw_unit(&sampler->random);
    if (!limited && sampler->options.top_p >= 1.0f) return draw_from(heap, count, unit * total);

    for (uint32_t i = count / 2; i-- > 0;)
        sift(heap, count, i);
    // Popped candidates gather behind the shrinking heap, the likeliest at the very end.
    uint32_t left = count;
    if (limited) {
        total = 0.0;
        for (uint32_t kept = 0; kept < top_k && left; kept++) {
            candidate top = heap[0];
            heap[0] = heap[--left];
            sift(heap, left, 0);
            top.weight = weigh(sampler, top.logit, max);
            total += top.weight;
            heap[left] = top;
        }
    }
    double nucleus = 0.0;
    const double wanted = (double)sampler->options.top_p * total;
    uint32_t end = count; // candidates [end, count) are in the nucleus
    while (end > (limited ? left : 0) && nucleus < wanted) {
        if (!limited) {
            const candidate top = heap[0];
            heap[0] = heap[--left];
            sift(heap, left, 0);
            heap[left] = top;
        }
        nucleus += heap[--end].weight;
    }
    return draw_from(heap + end, count - end, unit * nucleus);
}

double tmac_negative_log_likelihood(const float *logits, uint32_t vocab, uint32_t token)
{
    const double max = (double)logits[largest(logits, vocab)];
    double sum = 0.0;
    for (uint32_t i = 0; i < vocab; i++)
        sum += tmac_exp((double)logits[i] - max);
    return tmac_log(sum) - ((double)logits[token] - max);
}

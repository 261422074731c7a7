// Spot checks: two kernels against each other on one input set, as the tuner measures them, for a fraction of a second.
//
// Other hosts are faster or slower than this one, so a claimed time is no claim about this host; that one kernel is
// faster than another is. The claimed kernel runs against the one that would run without the claim. A tenth is
// allowed for what differs between hosts on which the same kernel wins by little.
#include "tune/spot.h"

#include <math.h>

#include "base/clock.h"
#include "tune/measurer.h"

enum { ROUNDS = 9, PATIENCE_MS = 1000 };

static const uint64_t sample_ns = 4000000, claim_ns = 1500000000;
static const double allowance = 1.1;

// Weights that stream are met again after so many bytes: more than the last cache holds, where that is a sensible size.
static uint32_t copies_that_stream(const tmac_host *host, const tmac_input_set *set)
{
    static const uint64_t most = 256u << 20;
    const uint64_t wanted = host->l3_bytes && host->l3_bytes * 2 < most ? host->l3_bytes * 2 : most;
    uint64_t weights = 0;
    for (uint32_t i = 0; i < set->matrices; i++)
        weights += (uint64_t)set->rows[i] * set->columns;
    const uint64_t bytes = weights / 4 + 1; // two bits a weight
    return (uint32_t)(wanted / bytes + 1);
}

static tmac_status take_samples(void *context, const tmac_finished *finished)
{
    tmac_spot *spot = context;
    uint64_t samples[TMAC_SAMPLES_MAX];
    if (finished->count == 0 || finished->passes == 0) return tmac_ok();
    for (uint32_t i = 0; i < finished->count; i++)
        samples[i] = finished->samples[i];
    const tmac_summary summary = tmac_summarize(samples, finished->count);
    const double ns = (double)summary.median_ns / finished->passes;
    const double error =
        1.4826 * 1.2533 * (double)summary.mad_ns / finished->passes / sqrt(summary.samples);
    *(finished->candidate == 0 ? &spot->incumbent_ns : &spot->claimed_ns) = ns;
    *(finished->candidate == 0 ? &spot->incumbent_error : &spot->claimed_error) = error;
    return tmac_ok();
}

static void no_tick(void *context)
{
    (void)context;
}

static tmac_status check_one(const tmac_host *host, tmac_spot *spot)
{
    const tmac_kernel *const kernels[] = {spot->incumbent, spot->claimed};
    tmac_work work = {.count = 1, .sets = {spot->set}};
    work.calls[0] = spot->set.residency == TMAC_STREAMED ? copies_that_stream(host, &spot->set) : 1;
    tmac_measurer measurer = {.work = &work,
                              .host = host,
                              .candidates = kernels,
                              .threads = spot->threads,
                              .patience_ms = PATIENCE_MS};
    const uint64_t now = tmac_now_ns();
    const tmac_job job = {.sentinel = true,
                          .drop_ratio = 1e9, // both stay to the end
                          .rounds_min = 3,
                          .rounds_max = ROUNDS,
                          .sample_ns = sample_ns,
                          .deadline_ns = now + claim_ns,
                          .time_up_ns = now + claim_ns,
                          .seed = 1,
                          .count = 2,
                          .contenders = {0, 1}};
    const tmac_job_events events = {take_samples, no_tick, spot};
    tmac_loss loss;
    TMAC_TRY(tmac_measurer_start(&measurer));
    tmac_status status = tmac_measurer_run(&measurer, &job, &events, &loss);
    tmac_measurer_stop(&measurer);
    if (status.code != TMAC_OK) return status;
    if (loss.lost) {
        // A failure of the incumbent, or between kernels, says nothing about the claim.
        spot->timed = loss.candidate == 1;
        if (spot->timed) spot->outcome = loss.result.outcome;
        spot->refuted = spot->timed;
        return tmac_ok();
    }
    spot->timed = spot->claimed_ns > 0 && spot->incumbent_ns > 0;
    spot->refuted = spot->timed && spot->claimed_ns - 2 * spot->claimed_error >
                                       allowance * (spot->incumbent_ns + 2 * spot->incumbent_error);
    return tmac_ok();
}

tmac_status tmac_spot_check(const tmac_host *host, tmac_spot *spots, size_t count, double seconds)
{
    const uint64_t begin = tmac_now_ns();
    for (size_t i = 0; i < count; i++) {
        spots[i].timed = spots[i].refuted = false;
        spots[i].outcome = TMAC_OUTCOME_OK;
        spots[i].claimed_ns = spots[i].incumbent_ns = 0;
        if ((double)(tmac_now_ns() - begin) / 1e9 >= seconds) continue;
        TMAC_TRY(check_one(host, &spots[i]));
    }
    return tmac_ok();
}

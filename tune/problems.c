// The problems of a session, in order, and the time each may take.
//
// First N = 1 of every input set, then the larger buckets, which only the layouts within a quarter of the best at N = 1
// enter: whole batches of prompts first, because most tokens of prompts come in them. A problem's budget is its share, of
// what is left, of the time that a model spends in it: calls per token x weights x workload. Where the rounds that nobody
// is spared do not fit, fewer kernels enter (measure.c), so that all problems get some. Every trial is a record, committed
// when it is finished. What is there already is not measured again, so that a session that was killed goes on where it
// stopped.
//
// What was measured while others used the processors is stored as noisy, and measured again in a second walk if time is
// left; the database never lets it replace what was measured in quiet.
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tune/replay.h"
#include "tune/session.h"

enum { WATCH_NEIGHBOUR_MS = 250 };

static const uint32_t bucket_order[TMAC_BUCKETS] = {0, 5, 4, 3, 2, 1};

double tmac_problem_share(const tmac_tuning *t, uint32_t set, uint32_t bucket)
{
    const tmac_work *work = t->work;
    double weights = 0;
    for (uint32_t i = 0; i < work->sets[set].matrices; i++)
        weights += (double)work->sets[set].rows[i] * work->sets[set].columns;
    return weights * work->calls[set] * t->bucket_share[bucket];
}

tmac_status tmac_take_out_measured(const tmac_tuning *t, uint32_t set, uint32_t bucket,
                                   uint16_t *contenders, uint32_t *count, bool *sentinel,
                                   uint32_t *reused)
{
    tmac_db_figure *figures;
    size_t figure_count;
    TMAC_TRY(tmac_db_figures(t->db, &t->host, &t->work->sets[set], bucket, t->threads, &figures,
                             &figure_count));
    uint32_t kept = 0, missing = 0;
    for (uint32_t i = 0; i < *count; i++) {
        bool measured = false;
        for (size_t f = 0; f < figure_count && !measured; f++)
            measured = !t->rematch[contenders[i]] &&
                       figures[f].kernel == t->candidates[contenders[i]] &&
                       figures[f].outcome == TMAC_OUTCOME_OK && figures[f].rigor >= t->rigor;
        *reused += measured;
        missing += !measured;
        if (!measured || (*sentinel && i == 0)) contenders[kept++] = contenders[i];
    }
    free(figures);
    *count = missing ? kept : 0;
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------------ noise

// Judges the time since the problem began. The first noise of a problem names who makes it.
static tmac_status watch_noise(tmac_tuning *t, bool *noisy)
{
    *noisy = false;
    if (t->options->replay) return tmac_ok();
    double foreign = tmac_sentinel_foreign(&t->sentinel, t->problem_started);
    tmac_tune_report *report = t->report;
    if (foreign <= t->sentinel.tolerated) return tmac_ok();
    *noisy = true;
    if (foreign * 100 > report->foreign_hundredths)
        report->foreign_hundredths = (uint32_t)(foreign * 100);
    if (!t->problem_noisy) {
        tmac_neighbour neighbour;
        if (tmac_find_neighbour(t->measurer.child, WATCH_NEIGHBOUR_MS, &neighbour))
            snprintf(report->neighbour, sizeof report->neighbour, "%s (process %d)", neighbour.name,
                     (int)neighbour.pid);
        t->problem_noisy = true;
    }
    if (!t->options->require_quiet) return tmac_ok();
    return tmac_fail(
        TMAC_BUSY,
        "the host is not quiet: %s used %.1f processors meanwhile; nothing doubtful was "
        "stored; run again when it is quiet, or without --require-quiet",
        report->neighbour[0] ? report->neighbour : "somebody else", foreign);
}

// -------------------------------------------------------------------------------------------------------- a problem

static tmac_status store_trial(void *context, const tmac_finished *f)
{
    tmac_tuning *t = context;
    bool noisy;
    uint64_t sorted[TMAC_SAMPLES_MAX];
    memcpy(sorted, f->samples, f->count * sizeof *sorted);
    tmac_summary summary = tmac_summarize(sorted, f->count);
    TMAC_TRY(watch_noise(t, &noisy));
    tmac_db_trial trial = {.host = t->host_name,
                           .problem = t->problem_name,
                           .run = t->report->run,
                           .rigor = noisy ? TMAC_RIGOR_NOISY : t->rigor,
                           .outcome = TMAC_OUTCOME_OK,
                           .passes = f->passes,
                           .samples = summary.samples,
                           .median_ns = summary.median_ns,
                           .mad_ns = summary.mad_ns,
                           .min_ns = summary.min_ns,
                           .p95_ns = summary.p95_ns};
    TMAC_TRY(tmac_db_put_variant(t->db, t->candidates[f->candidate], &trial.variant));
    TMAC_TRY(tmac_db_put_trial(t->db, &trial));
    if (t->report->measured < t->noise_room && summary.median_ns)
        t->noise[t->report->measured] = (uint32_t)(1000 * summary.mad_ns / summary.median_ns);
    t->report->measured++;
    t->report->noisy_trials += noisy;
    return tmac_ok();
}

// The bar counts milliseconds of the budget.
static void tick(void *context)
{
    tmac_tuning *t = context;
    uint64_t now = tmac_now_ns(), ms = (now - t->ticked) / 1000000;
    if (!t->options->progress || ms == 0) return;
    t->ticked += ms * 1000000;
    tmac_progress_advance(&t->progress, ms);
}

// The measuring process ended over a candidate: that one is recorded as failed, and another process started, the
// database being closed meanwhile.
static tmac_status recover(tmac_tuning *t, const tmac_loss *loss)
{
    if (loss->candidate >= t->candidate_count)
        return tmac_fail(TMAC_INTERNAL,
                         "the measuring process ended (%s %u) while no kernel ran: is there too "
                         "little memory?",
                         tmac_outcome_name(loss->result.outcome), loss->result.detail);
    t->out[loss->candidate] = true;
    tmac_gate_result result = loss->result;
    snprintf(result.message, sizeof result.message, "%ux%u, %u tokens, while being timed",
             t->work->sets[t->set].rows[0], t->work->sets[t->set].columns,
             tmac_bucket_typical(t->bucket));
    TMAC_TRY(tmac_record_failure(t, t->candidates[loss->candidate], &result));
    tmac_tuning_close(t);
    TMAC_TRY(tmac_measurer_start(&t->measurer));
    tmac_sentinel_child(&t->sentinel, t->measurer.child);
    return tmac_tuning_open(t, TMAC_DB_WRITE);
}

// One competition; *again when a contender was lost and the others are to go on.
static tmac_status attempt(tmac_tuning *t, double of, uint16_t *contenders, bool *again)
{
    const tmac_input_set *set = &t->work->sets[t->set];
    const tmac_spending *spending = tmac_spending_of(t->rigor);
    uint64_t now = tmac_tuning_now(t);
    tmac_loss loss = {.lost = false};
    tmac_job *job = calloc(1, sizeof *job);
    if (!job) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a job");
    *job =
        (tmac_job){.set = t->set,
                   .bucket = t->bucket,
                   .halve = spending->halve,
                   .drop_ratio = spending->drop_ratio,
                   .rounds_min = spending->rounds_min,
                   .rounds_max = spending->rounds_max,
                   .sample_ns = spending->sample_ns,
                   .deadline_ns = now + (uint64_t)((double)(t->deadline - now) * (of < 1 ? of : 1)),
                   .time_up_ns = t->deadline,
                   .seed = tmac_random_next(&t->random)};
    const tmac_job_events events = {store_trial, tick, t};
    tmac_status status =
        tmac_contenders_of(t, t->set, t->bucket, contenders, &job->count, &job->sentinel);
    uint32_t reused = 0;
    if (status.code == TMAC_OK)
        status = tmac_take_out_measured(t, t->set, t->bucket, contenders, &job->count,
                                        &job->sentinel, &reused);
    if (!*again) t->report->reused += reused;
    *again = false;
    if (status.code == TMAC_OK && job->count > 0) {
        memcpy(job->contenders, contenders, job->count * sizeof *contenders);
        status = tmac_db_put_problem(t->db, set, t->bucket, t->threads, &t->problem_name);
        t->problem_started = tmac_now_ns();
        const uint32_t before = t->report->measured;
        if (status.code == TMAC_OK)
            status = t->options->replay
                         ? tmac_replay_run(t->options->replay, t->candidates, job, &events)
                         : tmac_measurer_run(&t->measurer, job, &events, &loss);
        *again = status.code == TMAC_OK && loss.lost;
        // Who did not get a turn decides nothing, and may in another session.
        if (!*again && t->report->measured - before < job->count) t->report->complete = false;
        if (*again) status = recover(t, &loss);
    }
    free(job);
    return status;
}

tmac_status tmac_measure_problem(tmac_tuning *t, uint32_t set_index, uint32_t bucket, double of,
                                 uint16_t *contenders)
{
    const tmac_input_set *set = &t->work->sets[set_index];
    char label[48];
    snprintf(label, sizeof label, "%ux%u, %s tokens", set->rows[0], set->columns,
             tmac_bucket_name(bucket));
    if (t->options->progress) tmac_progress_relabel(&t->progress, label);
    t->set = set_index;
    t->bucket = bucket;
    t->problem_noisy = false;
    bool again = false;
    tmac_status status = tmac_ok();
    do {
        if (tmac_tuning_now(t) >= t->deadline) {
            t->report->complete = false;
            break;
        }
        status = attempt(t, of, contenders, &again);
    } while (status.code == TMAC_OK && again);
    return status;
}

tmac_status tmac_measure_all(tmac_tuning *t)
{
    size_t room = t->candidate_count + 1;
    uint16_t *contenders = calloc(room, sizeof *contenders);
    bool *noisy = calloc((size_t)TMAC_BUCKETS * TMAC_PLAN_ENTRIES, sizeof *noisy);
    tmac_status status = tmac_ok();
    if (!contenders || !noisy)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %zu candidates", room);
    t->report->complete = true;
    for (int walk = 0; walk < 2 && status.code == TMAC_OK; walk++) {
        t->share_left = 0;
        for (uint32_t bucket = 0; bucket < TMAC_BUCKETS; bucket++)
            for (uint32_t i = 0; i < t->work->count; i++)
                if (walk == 0 || noisy[bucket * TMAC_PLAN_ENTRIES + i])
                    t->share_left += tmac_problem_share(t, i, bucket);
        for (uint32_t next = 0; next < TMAC_BUCKETS; next++)
            for (uint32_t i = 0; i < t->work->count && status.code == TMAC_OK; i++) {
                uint32_t bucket = bucket_order[next];
                bool *mark = &noisy[bucket * TMAC_PLAN_ENTRIES + i];
                if (walk == 1 && !*mark) continue;
                double share = tmac_problem_share(t, i, bucket), of = share / t->share_left;
                t->share_left -= share;
                status = tmac_measure_problem(t, i, bucket, of, contenders);
                *mark = t->problem_noisy;
            }
    }
    free(contenders);
    free(noisy);
    return status;
}

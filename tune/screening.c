// The width of the copy that screens a head: fewer bits are fewer bytes to read and more rows to compute again, and where
// the balance lies depends on the weights, the memory and the caches (runtime/head_screen.c). So each width is tried on
// the model itself, while it generates greedily, which is what a screened head is for.
//
// A child opens the model, makes one copy of the head after the other, the likeliest first, as many as the time allows,
// and tells what it has through shared memory. All widths generate the same tokens, so that the medians compare the same
// work. A width that would read more than another one did, even if it left no more rows than a wider one, is not tried.
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/tmac.h"
#include "tune/judge.h"

enum {
    SAMPLES_MIN = 8,
    SAMPLES_MAX = 48,
    SMALL_HEAD = 4 << 20, // bytes as stored: below that a head costs little, however it is made
    GRACE_SECONDS = 60,   // that a child may take longer before it is killed
};

static uint32_t argmax(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

// Fills in what one token's head takes as it is. False when it does not work.
static bool time_head(tmac_model *model, uint64_t deadline, tmac_tune_screening *result)
{
    const float *logits;
    uint64_t ns[SAMPLES_MAX];
    tmac_profile profile;
    tmac_session *session;
    uint32_t token = 1 % tmac_model_vocab(model), capacity = tmac_model_context(model), n = 0;
    if (capacity > SAMPLES_MAX + 1) capacity = SAMPLES_MAX + 1;
    if (tmac_session_new(model, capacity, TMAC_KV_F16, &session).code != TMAC_OK) return false;
    uint64_t rows = 0;
    for (uint32_t at = 0; at < capacity; at++) {
        const tmac_batch_item item = {session, token, at, true};
        if (tmac_decode_top(model, &item, 1, 1, &logits).code != TMAC_OK) return false;
        token = argmax(logits, tmac_model_vocab(model));
        tmac_model_profile(model, &profile, true);
        if (at == 0) continue; // the first finds nothing in the caches
        ns[n++] = profile.ns[TMAC_PART_HEAD];
        rows += profile.head_rows + profile.head_fallbacks * tmac_model_vocab(model);
        if (n >= SAMPLES_MIN && tmac_now_ns() > deadline) break;
    }
    tmac_session_free(session);
    if (n == 0) return false;
    const tmac_summary summary = tmac_summarize(ns, n);
    *result =
        (tmac_tune_screening){.samples = n,
                              .ns = (double)summary.median_ns,
                              .error = 1.4826 * 1.2533 * (double)summary.mad_ns / sqrt((double)n),
                              .rows = (double)rows / n};
    return true;
}

// Whether a width reads less than each of those that were tried, as far as can be said without trying.
static bool worth_trying(const tmac_source *source, const tmac_tune_screening *found, uint32_t bits)
{
    const tmac_matrix *head = &source->head;
    const double weights = (double)head->rows * head->columns;
    const double row_bytes = (double)head->columns * (head->number == TMAC_F32 ? 4 : 2);
    double least = INFINITY, rows = 0; // a narrower copy leaves no fewer rows
    for (uint32_t b = 4; b < TMAC_TUNE_WIDTHS; b++) {
        if (found[b].samples == 0) continue;
        least = fmin(least, weights * b / 8 + found[b].rows * row_bytes);
        if (b > bits) rows = fmax(rows, found[b].rows);
    }
    return weights * bits / 8 + rows * row_bytes < least;
}

// Does not return. A width that time does not allow is not tried. found[0] is the stored head's.
static void try_widths(const tmac_tuning *t, const tmac_plan *plan, double seconds,
                       tmac_tune_screening found[TMAC_TUNE_WIDTHS])
{
    static const uint32_t widths[] = {6, 5, 4, 8};
    enum { WIDTHS = sizeof widths / sizeof widths[0] };
    const tmac_source *source = t->options->source;
    tmac_pool *pool;
    tmac_model *model;
    tmac_tune_screening result;
    if (tmac_measurer_pool(t->threads, t->options->cpus, &pool).code != TMAC_OK) _exit(1);
    const tmac_model_options options = {
        .pool = pool, .plan = plan, .isa = t->isa, .batch_capacity = 1};
    if (tmac_model_new(source, &options, &model).code != TMAC_OK) _exit(1);
    if (!time_head(model, 0, &result)) _exit(1);
    found[0] = result;
    const uint64_t began = tmac_now_ns(), deadline = began + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < WIDTHS; i++) {
        const uint64_t now = tmac_now_ns();
        if (i > 0 && now + (now - began) / i > deadline) break;
        if (tmac_spending_of(t->rigor)->prune && !worth_trying(source, found, widths[i])) continue;
        if (tmac_model_screen_with(model, widths[i]).code != TMAC_OK ||
            !time_head(model, now + (deadline > now ? (deadline - now) / (WIDTHS - i) : 0),
                       &result))
            _exit(1);
        found[widths[i]] = result;
    }
    _exit(0);
}

static tmac_status conclude(tmac_tuning *t, const tmac_tune_screening found[TMAC_TUNE_WIDTHS],
                            bool quiet)
{
    tmac_tune_report *report = t->report;
    tmac_db_screening screening = {.host = t->host_name,
                                   .run = report->run,
                                   .measured = tmac_unix_ns(),
                                   .head = &t->options->source->head,
                                   .threads = t->threads};
    uint32_t count = 0;
    for (uint32_t bits = 1; bits < TMAC_TUNE_WIDTHS; bits++) {
        if (found[bits].samples == 0) continue;
        count++;
        screening.ns[bits] = (uint64_t)found[bits].ns;
        if (screening.bits == 0 || found[bits].ns < found[screening.bits].ns) screening.bits = bits;
    }
    if (count == 0) return tmac_ok();
    memcpy(report->screenings, found, sizeof report->screenings);
    report->screen_bits = screening.bits;
    return quiet ? tmac_db_put_screening(t->db, &screening) : tmac_ok();
}

tmac_status tmac_screen_widths(tmac_tuning *t, double seconds)
{
    if (seconds <= 0 || t->work->head_bytes < SMALL_HEAD || t->options->decode < 0)
        return tmac_ok();
    tmac_plan plan;
    TMAC_TRY(
        tmac_db_plan(t->db, &t->host, t->work->sets, t->work->count, t->threads, t->isa, &plan));
    const size_t bytes = TMAC_TUNE_WIDTHS * sizeof(tmac_tune_screening);
    tmac_tune_screening *shared =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return tmac_ok();
    tmac_db_close(t->db); // no handle crosses a fork
    t->db = NULL;
    const uint64_t last = tmac_now_ns() + (uint64_t)((seconds + GRACE_SECONDS) * 1e9);
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        try_widths(t, &plan, seconds, shared);
    }
    double foreign = 0;
    if (child > 0) foreign = tmac_wait_for_child(&t->sentinel, child, last);
    tmac_status status = tmac_db_open(t->options->db, TMAC_DB_WRITE, &t->db);
    if (status.code == TMAC_OK) status = conclude(t, shared, foreign <= t->sentinel.tolerated);
    munmap(shared, bytes);
    return status;
}

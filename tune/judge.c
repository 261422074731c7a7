// End to end: whole plans, each a model of its own over one file, take turns at generating tokens and at reading
// prompts.
//
// Like all measuring this runs in a child. It tells through shared memory what it has; when it dies nothing is judged.
// Plans are compared by what they can change, the time outside the head, and told in tokens a second. The plan that the
// trials give stays unless another is faster by more than the noise; the joint plan is taken unless another is: one
// packed copy of the model then serves several numbers of threads.
#include "tune/judge.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "runtime/tmac.h"

enum {
    DECODE_TOKENS = 4, // in a sample
    ROUNDS_MIN = 5,
    ROUNDS_MAX = TMAC_SAMPLES_MAX,
    PROMPT_TOKENS = 128, // a whole batch: the bucket that the workload counts as a prompt
    PROMPTS_MAX = 5,
};

typedef struct contest {
    tmac_model *model;
    tmac_session *session;
    uint32_t decodes, prompts;
    uint64_t total[ROUNDS_MAX], matrix[ROUNDS_MAX], prompt[PROMPTS_MAX];
} contest;

typedef struct verdict {
    uint32_t plans; // 0: not there yet
    struct {
        uint32_t decodes, prompts;
        tmac_summary total, matrix, prompt; // of a sample
    } of[TMAC_TUNE_PLANS];
} verdict;

// ------------------------------------------------------------------------------------------------------------ child

static bool run_tokens(contest *c, uint32_t count, bool one_by_one)
{
    tmac_batch_item items[PROMPT_TOKENS];
    const float *logits;
    uint32_t vocab = tmac_model_vocab(c->model), step = one_by_one ? 1 : count;
    for (uint32_t done = 0; done < count; done += step) {
        uint32_t at = tmac_session_length(c->session);
        for (uint32_t i = 0; i < step; i++)
            items[i] =
                (tmac_batch_item){c->session, (at * 31 + i * 7 + 1) % vocab, at + i, i + 1 == step};
        if (tmac_decode(c->model, items, step, &logits).code != TMAC_OK) return false;
    }
    return true;
}

static bool time_decode(contest *c, uint32_t start)
{
    tmac_profile profile;
    tmac_session_truncate(c->session, start);
    tmac_model_profile(c->model, &profile, true);
    uint64_t began = tmac_now_ns();
    if (!run_tokens(c, DECODE_TOKENS, true)) return false;
    c->total[c->decodes] = tmac_now_ns() - began;
    tmac_model_profile(c->model, &profile, true);
    uint64_t head = profile.ns[TMAC_PART_HEAD];
    c->matrix[c->decodes] =
        head < c->total[c->decodes] ? c->total[c->decodes] - head : c->total[c->decodes];
    c->decodes++;
    return true;
}

static bool time_prompt(contest *c, uint32_t tokens)
{
    tmac_session_truncate(c->session, 0);
    uint64_t began = tmac_now_ns();
    if (!run_tokens(c, tokens, false)) return false;
    c->prompt[c->prompts++] = tmac_now_ns() - began;
    return true;
}

// Opens as many plans as a third of the time allows, two at least; returns how many.
static uint32_t open_plans(const tmac_tuning *t, const tmac_named_plan *plans, uint32_t count,
                           uint64_t deadline, tmac_pool *pool, uint32_t capacity, contest *contests)
{
    uint32_t opened = 0;
    uint64_t began = tmac_now_ns();
    while (opened < count) {
        uint64_t now = tmac_now_ns(), each = opened ? (now - began) / opened : 0;
        if (opened >= 2 && now + each + each / 2 > began + (deadline - began) / 2) break;
        const tmac_model_options options = {
            .pool = pool, .plan = &plans[opened].plan, .isa = t->isa, .batch_capacity = capacity};
        contest *c = &contests[opened];
        if (tmac_model_new(t->options->source, &options, &c->model).code != TMAC_OK) break;
        if (tmac_session_new(c->model, capacity + DECODE_TOKENS, TMAC_KV_F16, &c->session).code !=
                TMAC_OK ||
            !run_tokens(c, 1, true))
            break;
        opened++;
    }
    return opened;
}

static void summarize(contest *contests, uint32_t count, verdict *v)
{
    for (uint32_t i = 0; i < count; i++) {
        contest *c = &contests[i];
        v->of[i].decodes = c->decodes;
        v->of[i].prompts = c->prompts;
        v->of[i].total = tmac_summarize(c->total, c->decodes);
        v->of[i].matrix = tmac_summarize(c->matrix, c->decodes);
        if (c->prompts) v->of[i].prompt = tmac_summarize(c->prompt, c->prompts);
    }
    v->plans = count;
}

// Does not return. The random order of a round keeps what the host does meanwhile from favouring a plan.
static void contend(const tmac_tuning *t, const tmac_named_plan *plans, uint32_t count,
                    uint64_t deadline, verdict *shared)
{
    static contest contests[TMAC_TUNE_PLANS];
    static verdict v;
    tmac_pool *pool;
    tmac_random random = {t->options->seed};
    uint32_t capacity = t->options->source->context;
    if (capacity > PROMPT_TOKENS + DECODE_TOKENS) capacity = PROMPT_TOKENS + DECODE_TOKENS;
    if (capacity <= DECODE_TOKENS ||
        tmac_measurer_pool(t->threads, t->options->cpus, &pool).code != TMAC_OK)
        _exit(1);
    capacity -= DECODE_TOKENS;
    uint32_t opened = open_plans(t, plans, count, deadline, pool, capacity, contests);
    if (opened < 2) _exit(1);
    bool prompts = t->options->prefill > 0 || t->options->decode <= 0;
    for (uint32_t round = 0; round < ROUNDS_MAX && (round < ROUNDS_MIN || tmac_now_ns() < deadline);
         round++) {
        bool prompt = prompts && round % 4 == 1 && contests[0].prompts < PROMPTS_MAX;
        uint32_t first = tmac_random_below(&random, opened);
        for (uint32_t i = 0; i < opened; i++) {
            contest *c = &contests[(first + (round % 2 ? i : opened - i)) % opened];
            if (prompt && !time_prompt(c, capacity)) _exit(1);
            if (!time_decode(c, tmac_session_length(c->session) < capacity
                                    ? tmac_session_length(c->session)
                                    : 1))
                _exit(1);
        }
    }
    summarize(contests, opened, &v);
    *shared = v;
    _exit(0);
}

// ----------------------------------------------------------------------------------------------------------- parent

double tmac_wait_for_child(tmac_sentinel *sentinel, pid_t child, uint64_t last)
{
    int ended;
    double foreign = 0;
    const struct timespec pause = {0, 100000000};
    uint64_t began = tmac_now_ns();
    tmac_sentinel_child(sentinel, child);
    for (;;) {
        // Read before asking whether it has ended: an ended child's time would count as somebody else's.
        double now = tmac_sentinel_foreign(sentinel, began);
        if (waitpid(child, &ended, WNOHANG) != 0) return foreign;
        foreign = now;
        if (tmac_now_ns() > last) kill(child, SIGKILL);
        nanosleep(&pause, NULL);
    }
}

// Half of the memory is what the plans' packed weights may take together.
static uint32_t that_fit(const tmac_tuning *t, uint32_t count)
{
    double bytes = 0;
    for (uint32_t i = 0; i < t->work->count; i++) {
        double weights = 0;
        for (uint32_t m = 0; m < t->work->sets[i].matrices; m++)
            weights += (double)t->work->sets[i].rows[m] * t->work->sets[i].columns;
        bytes += weights * t->work->calls[i] / 4;
    }
    while (count > 0 && t->host.memory_bytes && bytes * count > (double)t->host.memory_bytes / 2)
        count--;
    return count;
}

// The time of the workload by which plans are compared.
static tmac_db_figure cost_of(const tmac_tuning *t, const verdict *v, uint32_t plan,
                              uint32_t prompt_tokens)
{
    double decode = t->options->decode, prefill = t->options->prefill;
    if (decode <= 0 && prefill <= 0) decode = prefill = 1;
    const tmac_summary *m = &v->of[plan].matrix, *p = &v->of[plan].prompt;
    double ns = decode * (double)m->median_ns / DECODE_TOKENS;
    double error = decode * 1.4826 * 1.2533 * (double)m->mad_ns / DECODE_TOKENS / sqrt(m->samples);
    if (v->of[plan].prompts) {
        ns += prefill * (double)p->median_ns / prompt_tokens;
        error += prefill * 1.4826 * 1.2533 * (double)p->mad_ns / prompt_tokens / sqrt(p->samples);
    }
    return (tmac_db_figure){.ns = ns, .error = error};
}

static tmac_status conclude(tmac_tuning *t, const tmac_named_plan *plans, const verdict *v,
                            bool quiet)
{
    uint32_t tokens = t->options->source->context < PROMPT_TOKENS + DECODE_TOKENS
                          ? t->options->source->context - DECODE_TOKENS
                          : PROMPT_TOKENS;
    uint32_t best = 0;
    tmac_db_figure stay = cost_of(t, v, 0, tokens), best_cost = stay;
    for (uint32_t i = 1; i < v->plans; i++) {
        tmac_db_figure cost = cost_of(t, v, i, tokens);
        if (cost.ns >= best_cost.ns || !tmac_db_faster(&cost, &stay)) continue;
        best = i;
        best_cost = cost;
    }
    for (uint32_t i = 1; i < v->plans; i++) {
        tmac_db_figure cost = cost_of(t, v, i, tokens);
        if (strcmp(plans[i].name, TMAC_PLAN_JOINT) == 0 && !tmac_db_faster(&best_cost, &cost))
            best = i;
    }
    tmac_tune_report *report = t->report;
    report->judged = true;
    report->judgement_count = v->plans;
    for (uint32_t i = 0; i < v->plans; i++) {
        tmac_tune_judgement *j = &report->judgements[i];
        *j = (tmac_tune_judgement){
            .chosen = i == best && quiet,
            .samples = v->of[i].decodes,
            .decode_ns = (double)v->of[i].total.median_ns / DECODE_TOKENS,
            .decode_error = 1.4826 * 1.2533 * (double)v->of[i].total.mad_ns / DECODE_TOKENS /
                            sqrt(v->of[i].total.samples),
            .prefill_ns = v->of[i].prompts ? (double)v->of[i].prompt.median_ns / tokens : 0,
            .matrix_ns = (double)v->of[i].matrix.median_ns / DECODE_TOKENS};
        snprintf(j->name, sizeof j->name, "%s", plans[i].name);
    }
    if (!quiet) return tmac_ok();
    const tmac_db_judgement judgement = {.host = t->host_name,
                                         .run = report->run,
                                         .judged = tmac_unix_ns(),
                                         .trials = &plans[0].plan,
                                         .chosen = &plans[best].plan,
                                         .decode_ns = (uint64_t)report->judgements[best].decode_ns,
                                         .prefill_ns =
                                             (uint64_t)report->judgements[best].prefill_ns,
                                         .samples = v->of[best].decodes};
    return tmac_db_put_judgement(t->db, &judgement);
}

tmac_status tmac_judge_plans(tmac_tuning *t, double seconds)
{
    tmac_named_plan *plans = calloc(TMAC_TUNE_PLANS, sizeof *plans);
    if (!plans) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for the plans");
    uint32_t count = 0;
    tmac_status status = tmac_plans_to_judge(t, plans, &count);
    count = that_fit(t, count);
    verdict *shared = MAP_FAILED;
    if (status.code == TMAC_OK && count >= 2)
        shared =
            mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        free(plans);
        return status;
    }
    tmac_db_close(t->db); // no handle crosses a fork
    t->db = NULL;
    uint64_t began = tmac_now_ns(), deadline = began + (uint64_t)(seconds * 1e9);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        contend(t, plans, count, deadline, shared);
    }
    double foreign = 0;
    if (child > 0)
        foreign =
            tmac_wait_for_child(&t->sentinel, child, deadline + (deadline - began) + 60000000000u);
    status = tmac_db_open(t->options->db, TMAC_DB_WRITE, &t->db);
    if (status.code == TMAC_OK && shared->plans >= 2 && shared->plans <= count)
        status = conclude(t, plans, shared, foreign <= t->sentinel.tolerated);
    munmap(shared, sizeof *shared);
    free(plans);
    return status;
}

#include "tune/measurer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    POLL_MS = 50,
    FILLING_MS = 120000, // between candidates: packing and copying a working set
    NOBODY = UINT32_MAX
};

// What both processes see. The child writes, the parent reads.
struct tmac_shared {
    _Atomic uint64_t beat;
    _Atomic uint32_t candidate; // NOBODY: none runs
};

typedef enum reply_kind { REPLY_FINISHED = 1, REPLY_DONE, REPLY_BANDWIDTH } reply_kind;

typedef struct reply {
    reply_kind kind;
    tmac_finished finished;
    uint64_t bandwidth;
    tmac_status status;
} reply;

// ------------------------------------------------------------------------------------------------------------ child

typedef struct worker {
    const tmac_measurer *m;
    tmac_workbench bench;
    tmac_random random;
    const tmac_job *job;
    bool warm, streamed;
} worker;

// One message, whole: the sockets keep their boundaries.
static bool send_whole(int socket, const void *data, size_t bytes)
{
    ssize_t sent;
    do
        sent = send(socket, data, bytes, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)bytes;
}

static bool receive_whole(int socket, void *data, size_t bytes)
{
    ssize_t got;
    do
        got = recv(socket, data, bytes, 0);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)bytes;
}

static uint64_t bench_sample(void *context, const tmac_contender *contender, uint32_t passes)
{
    worker *w = context;
    const tmac_kernel *kernel = contender->kernel;
    atomic_store(&w->m->shared->candidate, contender->number);
    uint32_t copies =
        w->warm ? w->bench.layouts[tmac_workbench_layout(&w->bench, kernel)].copies : 0;
    for (uint32_t i = 0; i < copies; i++)
        tmac_workbench_pass(&w->bench, kernel);
    uint64_t start = tmac_now_ns();
    for (uint32_t i = 0; i < passes; i++)
        tmac_workbench_pass(&w->bench, kernel);
    uint64_t ns = tmac_now_ns() - start;
    atomic_store(&w->m->shared->candidate, NOBODY);
    return ns;
}

static uint64_t bench_now(void *context)
{
    (void)context;
    return tmac_now_ns();
}

// Half of the host's memory is enough for anything: where it is not, rotations are cut.
static tmac_status fill_bench(void *context, const tmac_kernel *const *kernels, size_t count)
{
    worker *w = context;
    const tmac_work *work = w->m->work;
    const tmac_input_set *set = &work->sets[w->job->set];
    tmac_traffic traffic = {work->sets, work->calls, work->count, work->head_bytes};
    uint64_t memory = w->m->host->memory_bytes;
    return tmac_workbench_fill(&w->bench, set, tmac_bucket_typical(w->job->bucket), kernels, count,
                               w->job->bucket == 0 && !w->streamed ? work->calls[w->job->set] : 1,
                               w->streamed ? &traffic : NULL,
                               memory ? (size_t)(memory / 2) : (size_t)1 << 30, &w->random);
}

static tmac_status hand_over(void *context, const tmac_contender *contender, uint32_t passes)
{
    worker *w = context;
    reply r = {.kind = REPLY_FINISHED,
               .finished = {contender->number, passes, contender->count, {0}}};
    memcpy(r.finished.samples, contender->samples, contender->count * sizeof r.finished.samples[0]);
    if (!send_whole(w->m->socket, &r, sizeof r)) _exit(0); // nobody listens any more
    return tmac_ok();
}

static tmac_status compete(worker *w)
{
    const tmac_job *job = w->job;
    tmac_contender *contenders = calloc(job->count + 1u, sizeof *contenders);
    const tmac_kernel **kernels = calloc(job->count + 1u, sizeof *kernels);
    tmac_status status = tmac_ok();
    if (!contenders || !kernels)
        status = tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for %u contenders", job->count);
    for (uint32_t i = 0; i < job->count && status.code == TMAC_OK; i++) {
        kernels[i] = w->m->candidates[job->contenders[i]];
        contenders[i] = (tmac_contender){.kernel = kernels[i],
                                         .number = job->contenders[i],
                                         .sentinel = job->sentinel && i == 0};
    }
    w->random.state = job->seed;
    w->streamed = job->bucket == 0 && w->m->work->sets[job->set].residency == TMAC_STREAMED;
    w->warm = job->bucket == 0 && !w->streamed;
    if (status.code == TMAC_OK) status = fill_bench(w, kernels, job->count);
    const tmac_rounds rounds = {.sample_ns = job->sample_ns,
                                .deadline_ns = job->deadline_ns,
                                .time_up_ns = job->time_up_ns,
                                .rounds_min = job->rounds_min,
                                .rounds_max = job->rounds_max,
                                .drop_ratio = job->drop_ratio,
                                .halve = job->halve,
                                .random = &w->random,
                                .sample = bench_sample,
                                .now = bench_now,
                                .finished = hand_over,
                                .refill = w->streamed ? fill_bench : NULL,
                                .context = w};
    if (status.code == TMAC_OK) status = tmac_compete(contenders, job->count, &rounds);
    free(contenders);
    free(kernels);
    return status;
}

// A job without contenders asks for the bandwidth. Does not return; ends when the parent does.
static void serve(const tmac_measurer *m)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP};
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++)
        signal(fatal[i], SIG_DFL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    static worker w;
    static tmac_job job;
    static reply r;
    w.m = m;
    w.job = &job;
    w.bench.beat = &m->shared->beat;
    if (tmac_measurer_pool(m->threads, m->cpus, &w.bench.pool).code != TMAC_OK) _exit(1);
    while (receive_whole(m->socket, &job, sizeof job)) {
        if (job.count == 0)
            r = (reply){.kind = REPLY_BANDWIDTH,
                        .bandwidth = tmac_measure_bandwidth(w.bench.pool, m->host)};
        else
            r = (reply){.kind = REPLY_DONE, .status = compete(&w)};
        if (!send_whole(m->socket, &r, sizeof r)) break;
    }
    _exit(0);
}

// ----------------------------------------------------------------------------------------------------------- parent

tmac_status tmac_measurer_pool(uint32_t threads, const tmac_cpu_list *cpus, tmac_pool **pool)
{
    TMAC_TRY(tmac_pool_new(threads, pool));
    return cpus ? tmac_pool_pin(*pool, cpus->cpu, cpus->count) : tmac_ok();
}

tmac_status tmac_measurer_start(tmac_measurer *m)
{
    int ends[2];
    m->shared =
        mmap(NULL, sizeof *m->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m->shared == MAP_FAILED) {
        m->shared = NULL;
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory shared with a child");
    }
    atomic_store(&m->shared->candidate, NOBODY);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        tmac_status status = tmac_fail(TMAC_IO, "cannot make a socket pair: %s", strerror(errno));
        tmac_measurer_stop(m);
        return status;
    }
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        // However the parent ends, this ends with it.
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(0);
        close(ends[0]);
        m->socket = ends[1];
        serve(m);
    }
    close(ends[1]);
    m->socket = ends[0];
    m->child = child;
    if (child > 0) return tmac_ok();
    m->child = 0;
    tmac_status status = tmac_fail(TMAC_IO, "cannot start a child process: %s", strerror(errno));
    close(ends[0]);
    munmap(m->shared, sizeof *m->shared);
    m->shared = NULL;
    return status;
}

static void reap(tmac_measurer *m, int *wait_status)
{
    while (waitpid(m->child, wait_status, 0) < 0 && errno == EINTR) {
    }
    close(m->socket);
    m->child = 0;
}

void tmac_measurer_stop(tmac_measurer *m)
{
    int ignored;
    if (m->child > 0) {
        kill(m->child, SIGKILL);
        reap(m, &ignored);
    }
    if (m->shared) munmap(m->shared, sizeof *m->shared);
    m->shared = NULL;
}

// The child is gone, or will be: says why, and of whom. `hung`: it was we who ended it.
static void bury(tmac_measurer *m, bool hung, tmac_loss *loss)
{
    int ended = 0;
    if (hung) kill(m->child, SIGKILL);
    loss->lost = true;
    loss->candidate = atomic_load(&m->shared->candidate);
    reap(m, &ended);
    tmac_gate_result *r = &loss->result;
    *r = (tmac_gate_result){.outcome = TMAC_OUTCOME_WRONG};
    if (hung) {
        r->outcome = TMAC_OUTCOME_HANG;
    } else if (WIFSIGNALED(ended)) {
        r->outcome = TMAC_OUTCOME_CRASH;
        r->detail = (uint32_t)WTERMSIG(ended);
    }
    munmap(m->shared, sizeof *m->shared);
    m->shared = NULL;
}

// The next reply; false when there is none to come. Time counts in turns of this loop, not by the clock: a program that
// was stopped and goes on has not been hanging.
static bool next_reply(tmac_measurer *m, const tmac_job_events *events, reply *r, bool *hung)
{
    uint64_t beat = atomic_load(&m->shared->beat);
    uint32_t still_ms = 0;
    for (;;) {
        struct pollfd wait = {.fd = m->socket, .events = POLLIN};
        int ready = poll(&wait, 1, POLL_MS);
        if (ready > 0) return receive_whole(m->socket, r, sizeof *r);
        if (ready < 0 && errno != EINTR) return false;
        if (events && events->tick) events->tick(events->context);
        uint64_t now = atomic_load(&m->shared->beat);
        still_ms = now == beat ? still_ms + POLL_MS : 0;
        beat = now;
        bool running = atomic_load(&m->shared->candidate) != NOBODY;
        if (still_ms > (running ? m->patience_ms : FILLING_MS)) {
            *hung = true;
            return false;
        }
    }
}

// What a child may say of a job: its memory may be damaged by what it ran.
static bool credible(const tmac_job *job, const tmac_finished *f)
{
    bool asked = false;
    for (uint32_t i = 0; i < job->count && !asked; i++)
        asked = job->contenders[i] == f->candidate;
    return asked && f->count > 0 && f->count <= TMAC_SAMPLES_MAX && f->passes > 0;
}

tmac_status tmac_measurer_run(tmac_measurer *m, const tmac_job *job, const tmac_job_events *events,
                              tmac_loss *loss)
{
    bool hung = false;
    *loss = (tmac_loss){.candidate = NOBODY};
    reply *r = calloc(1, sizeof *r);
    if (!r) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a result");
    tmac_status status = tmac_ok();
    bool done = false, alive = send_whole(m->socket, job, sizeof *job);
    while (alive && !done && status.code == TMAC_OK) {
        alive = next_reply(m, events, r, &hung);
        if (!alive) break;
        if (r->kind == REPLY_DONE) {
            done = true;
            status = r->status;
            if (status.code != TMAC_OK) status.message[sizeof status.message - 1] = '\0';
        } else if (r->kind == REPLY_FINISHED && credible(job, &r->finished)) {
            status = events->finished(events->context, &r->finished);
        } else {
            alive = false;
            hung = true; // it talks nonsense: ended by us, on account of who ran last
        }
    }
    free(r);
    if (!alive) bury(m, hung, loss);
    if (status.code != TMAC_OK) tmac_measurer_stop(m);
    return status;
}

tmac_status tmac_measurer_bandwidth(tmac_measurer *m, uint64_t *bandwidth)
{
    static const tmac_job ask;
    bool hung = false;
    *bandwidth = 0;
    reply *r = calloc(1, sizeof *r);
    if (!r) return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for a result");
    bool good = send_whole(m->socket, &ask, sizeof ask) && next_reply(m, NULL, r, &hung) &&
                r->kind == REPLY_BANDWIDTH;
    if (good) *bandwidth = r->bandwidth;
    free(r);
    if (good) return tmac_ok();
    tmac_measurer_stop(m);
    return tmac_fail(TMAC_INTERNAL, "the measuring process could not start its threads");
}

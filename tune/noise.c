#include "tune/noise.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/topology.h"

enum { MARK_EVERY_NS = 200000000, WINDOW_NS = 1000000000, PROCESSES_MAX = 4096, GROUPS_MAX = 64 };

uint32_t tmac_load_hundredths(void)
{
    FILE *file = fopen("/proc/loadavg", "re");
    unsigned whole = 0, hundredths = 0;
    if (!file) return 0;
    int read = fscanf(file, "%u.%2u", &whole, &hundredths);
    fclose(file);
    return read == 2 && whole < 1000000 ? whole * 100 + hundredths : 0;
}

static uint64_t tick_ns(void)
{
    long hertz = sysconf(_SC_CLK_TCK);
    return hertz > 0 ? 1000000000u / (uint64_t)hertz : 10000000u;
}

tmac_busy tmac_read_busy(void)
{
    // cpuN user nice system idle iowait irq softirq steal ...; guest time is part of user.
    static tmac_cpu_list mine;
    if (mine.count == 0) tmac_cpu_list_allowed(&mine);
    tmac_busy busy = {0, 0, 0};
    FILE *file = fopen("/proc/stat", "re");
    if (!file) return busy;
    char line[512];
    uint64_t total = 0, idle = 0, stolen = 0;
    while (fgets(line, sizeof line, file)) {
        unsigned cpu;
        uint64_t v[8];
        if (sscanf(line,
                   "cpu%u %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                   " %" SCNu64 " %" SCNu64,
                   &cpu, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) != 9)
            continue;
        bool allowed = false;
        for (uint32_t i = 0; i < mine.count && !allowed; i++)
            allowed = mine.cpu[i] == cpu;
        for (int i = 0; i < 8 && allowed; i++)
            total += v[i];
        idle += allowed ? v[3] + v[4] : 0;
        stolen += allowed ? v[7] : 0;
    }
    fclose(file);
    uint64_t ns = tick_ns();
    return (tmac_busy){total * ns, (total - idle - stolen) * ns, stolen * ns};
}

uint64_t tmac_throttle_events(void)
{
    uint64_t events = 0;
    for (unsigned cpu = 0; cpu < TMAC_CPUS_MAX; cpu++) {
        char path[96];
        snprintf(path, sizeof path,
                 "/sys/devices/system/cpu/cpu%u/thermal_throttle/core_throttle_count", cpu);
        FILE *file = fopen(path, "re");
        if (!file) break;
        uint64_t count;
        if (fscanf(file, "%" SCNu64, &count) == 1) events += count;
        fclose(file);
    }
    return events;
}

uint64_t tmac_unix_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

// --------------------------------------------------------------------------------------------------------- sentinel

static uint64_t processor_time(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) return 0;
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct tmac_mark read_mark(const tmac_sentinel *s)
{
    clockid_t clock;
    struct tmac_mark mark = {.at_ns = tmac_now_ns(),
                             .busy_ns = tmac_read_busy().busy_ns,
                             .own_ns = processor_time(CLOCK_PROCESS_CPUTIME_ID)};
    if (s->child > 0 && clock_getcpuclockid(s->child, &clock) == 0)
        mark.own_ns += processor_time(clock);
    return mark;
}

static void add_mark(tmac_sentinel *s, struct tmac_mark mark)
{
    if (s->count == TMAC_SENTINEL_MARKS) {
        memmove(s->marks, s->marks + 1, sizeof s->marks - sizeof s->marks[0]);
        s->count--;
    }
    s->marks[s->count++] = mark;
}

void tmac_sentinel_begin(tmac_sentinel *s, uint32_t threads, double tolerated)
{
    tmac_cpu_list allowed;
    tmac_cpu_list_allowed(&allowed);
    double idle = allowed.count > threads ? (double)(allowed.count - threads) : 0;
    *s = (tmac_sentinel){.tolerated = tolerated > 0 ? tolerated : 0.2 + 0.5 * idle};
    add_mark(s, read_mark(s));
}

// What a child used before it was ours, or what an ended one used, belongs to no interval: the marks begin anew.
void tmac_sentinel_child(tmac_sentinel *s, pid_t child)
{
    s->child = child;
    s->count = 0;
    add_mark(s, read_mark(s));
}

double tmac_sentinel_foreign(tmac_sentinel *s, uint64_t since_ns)
{
    struct tmac_mark now = read_mark(s);
    uint64_t window = now.at_ns > WINDOW_NS ? now.at_ns - WINDOW_NS : 0;
    if (since_ns > window) since_ns = window;
    const struct tmac_mark *from = &s->marks[0];
    for (uint32_t i = 1; i < s->count && s->marks[i].at_ns <= since_ns; i++)
        from = &s->marks[i];
    // Less than a tenth of a second says nothing: the ticks are too coarse.
    double elapsed = (double)(now.at_ns - from->at_ns), foreign = 0;
    if (elapsed > 1e8 && now.busy_ns > from->busy_ns && now.own_ns >= from->own_ns)
        foreign =
            ((double)(now.busy_ns - from->busy_ns) - (double)(now.own_ns - from->own_ns)) / elapsed;
    if (now.at_ns - s->marks[s->count - 1].at_ns > MARK_EVERY_NS) add_mark(s, now);
    return foreign > 0 ? foreign : 0;
}

// -------------------------------------------------------------------------------------------------------- neighbour

typedef struct process {
    pid_t pid;
    uint64_t ticks;
    char name[32];
} process;

static bool read_process(const char *digits, process *p)
{
    char path[64], text[512];
    if (strspn(digits, "0123456789") != strlen(digits)) return false;
    snprintf(path, sizeof path, "/proc/%.20s/stat", digits);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    size_t count = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[count] = '\0';
    // "pid (name) S ppid ...": the name may hold anything, parentheses too.
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close || close < open) return false;
    *close = '\0';
    snprintf(p->name, sizeof p->name, "%.31s", open + 1);
    p->pid = (pid_t)strtol(digits, NULL, 10);
    uint64_t user, kernel;
    if (sscanf(close + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
               &user, &kernel) != 2)
        return false;
    p->ticks = user + kernel;
    return true;
}

static uint32_t read_processes(process *list)
{
    DIR *folder = opendir("/proc");
    uint32_t count = 0;
    struct dirent *entry;
    while (folder && count < PROCESSES_MAX && (entry = readdir(folder)))
        count += read_process(entry->d_name, &list[count]);
    if (folder) closedir(folder);
    return count;
}

bool tmac_find_neighbour(pid_t child, uint32_t milliseconds, tmac_neighbour *neighbour)
{
    memset(neighbour, 0, sizeof *neighbour);
    process *before = calloc(2 * PROCESSES_MAX, sizeof *before);
    if (!before) return false;
    process *after = before + PROCESSES_MAX;
    tmac_neighbour group[GROUPS_MAX];
    uint32_t groups = 0;
    uint32_t count = read_processes(before);
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
    uint32_t count_after = read_processes(after);
    for (uint32_t i = 0, j = 0; i < count_after; i++) {
        if (after[i].pid == child || after[i].pid == getpid()) continue;
        // Both lists are in the order of /proc, which is by number; a process that is new began at zero.
        while (j < count && before[j].pid < after[i].pid)
            j++;
        uint64_t was = j < count && before[j].pid == after[i].pid ? before[j].ticks : 0;
        if (after[i].ticks < was) continue;
        double used = (double)((after[i].ticks - was) * tick_ns()) / (milliseconds * 1e6);
        if (used <= 0) continue;
        // Processes of one name count together: a build is one neighbour.
        uint32_t first = 0;
        while (first < groups && strcmp(group[first].name, after[i].name) != 0)
            first++;
        if (first == groups) {
            if (groups == GROUPS_MAX) continue;
            group[groups++] = (tmac_neighbour){.pid = after[i].pid};
            memcpy(group[first].name, after[i].name, sizeof group[first].name);
        }
        group[first].processors += used;
    }
    for (uint32_t i = 0; i < groups; i++)
        if (group[i].processors > neighbour->processors) *neighbour = group[i];
    free(before);
    return neighbour->processors >= 0.05;
}

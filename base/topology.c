// Linux describes processors in files, whatever the architecture:
//
//   devices/system/cpu/cpuN/topology/thread_siblings_list   the hardware threads of N's core
//   devices/system/cpu/cpuN/cpu_capacity                    Arm: relative speed, 1024 the fastest
//   devices/cpu_atom/cpus                                   x86 hybrids: the efficiency cores (CPUID leaf 0x1a)
//   devices/system/node/nodeN/cpulist                       the processors of a memory node
//
// The kernel has read CPUID on every core; a process would have to visit each to do the same.
#include "base/topology.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 256, FULL_CAPACITY = 1024 };

static bool contains(const tmac_cpu_list *list, uint32_t cpu)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (list->cpu[i] == cpu) return true;
    return false;
}

// A decimal number below TMAC_CPUS_MAX at *text, which moves behind it.
static bool take_number(const char **text, uint32_t *number)
{
    char *end;
    if (**text < '0' || **text > '9') return false;
    const unsigned long value = strtoul(*text, &end, 10);
    if (value >= TMAC_CPUS_MAX) return false;
    *number = (uint32_t)value;
    *text = end;
    return true;
}

tmac_status tmac_cpu_list_parse(const char *text, tmac_cpu_list *list)
{
    list->count = 0;
    for (const char *at = text;; at++) {
        uint32_t first, last, step = 1;
        bool good = take_number(&at, &first);
        last = first;
        if (good && *at == '-') good = (at++, take_number(&at, &last)) && last >= first;
        if (good && *at == ':') good = (at++, take_number(&at, &step)) && step > 0;
        if (!good || (*at && *at != ',' && *at != '\n'))
            return tmac_fail(TMAC_USAGE,
                             "'%.60s' is no list of processors: expected one like 0-3,8", text);
        for (uint32_t cpu = first; cpu <= last; cpu += step)
            if (!contains(list, cpu)) list->cpu[list->count++] = (uint16_t)cpu;
        if (*at != ',') return tmac_ok();
    }
}

void tmac_cpu_list_allowed(tmac_cpu_list *list)
{
    list->count = 0;
    cpu_set_t *mask = CPU_ALLOC(TMAC_CPUS_MAX);
    const size_t bytes = CPU_ALLOC_SIZE(TMAC_CPUS_MAX);
    if (mask && sched_getaffinity(0, bytes, mask) == 0)
        for (uint32_t cpu = 0; cpu < TMAC_CPUS_MAX; cpu++)
            if (CPU_ISSET_S(cpu, bytes, mask)) list->cpu[list->count++] = (uint16_t)cpu;
    CPU_FREE(mask);
    if (list->count == 0) list->cpu[list->count++] = 0;
}

static bool read_text(const char *root, const char *name, char *text, size_t room)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/sys/devices/%s", root, name);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const size_t bytes = fread(text, 1, room - 1, file);
    fclose(file);
    text[bytes] = '\0';
    return bytes > 0;
}

static bool read_list(const char *root, const char *name, tmac_cpu_list *list)
{
    char text[16384];
    return read_text(root, name, text, sizeof text) &&
           tmac_cpu_list_parse(text, list).code == TMAC_OK;
}

static void read_cpu(const char *root, tmac_cpu *cpu, tmac_cpu_list *scratch)
{
    char name[128], text[64];
    snprintf(name, sizeof name, "system/cpu/cpu%u/topology/thread_siblings_list", cpu->cpu);
    cpu->core = cpu->cpu;
    if (read_list(root, name, scratch))
        for (uint32_t i = 0; i < scratch->count; i++)
            if (scratch->cpu[i] < cpu->core) cpu->core = scratch->cpu[i];
    snprintf(name, sizeof name, "system/cpu/cpu%u/cpu_capacity", cpu->cpu);
    cpu->capacity = FULL_CAPACITY;
    if (read_text(root, name, text, sizeof text)) {
        const unsigned long value = strtoul(text, NULL, 10);
        if (value > 0 && value <= FULL_CAPACITY) cpu->capacity = (uint16_t)value;
    }
}

// Position among the hardware threads of its core that are allowed.
static uint32_t thread_of_core(const tmac_topology *t, const tmac_cpu *cpu)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < t->count; i++)
        before += t->processors[i].core == cpu->core && t->processors[i].cpu < cpu->cpu;
    return before;
}

// The order of workers, as one number.
static uint64_t rank(const tmac_topology *t, const tmac_cpu *cpu)
{
    const uint64_t slow = (uint64_t)cpu->small << 12 | (uint64_t)(FULL_CAPACITY - cpu->capacity);
    return (uint64_t)thread_of_core(t, cpu) << 48 | slow << 32 | (uint64_t)cpu->node << 16 |
           cpu->cpu;
}

static void order(tmac_topology *t)
{
    for (uint32_t i = 1; i < t->count; i++) // few, and nearly in order already
        for (uint32_t j = i; j > 0; j--) {
            tmac_cpu *a = &t->processors[j - 1], *b = &t->processors[j];
            if (rank(t, a) <= rank(t, b)) break;
            const tmac_cpu swapped = *a;
            *a = *b;
            *b = swapped;
        }
}

tmac_status tmac_topology_read(const char *root, const tmac_cpu_list *allowed,
                               tmac_topology *topology)
{
    memset(topology, 0, sizeof *topology);
    tmac_cpu_list *list = calloc(1, sizeof *list);
    topology->processors = calloc(allowed->count + (size_t)1, sizeof *topology->processors);
    if (!list || !topology->processors) {
        free(list);
        tmac_topology_free(topology);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "out of memory for %u processors", allowed->count);
    }
    tmac_cpu *cpus = topology->processors;
    topology->count = allowed->count;
    for (uint32_t i = 0; i < allowed->count; i++) {
        cpus[i].cpu = allowed->cpu[i];
        read_cpu(root, &cpus[i], list);
    }
    if (read_list(root, "cpu_atom/cpus", list))
        for (uint32_t i = 0; i < topology->count; i++)
            cpus[i].small = contains(list, cpus[i].cpu);
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        char name[64];
        snprintf(name, sizeof name, "system/node/node%u/cpulist", node);
        if (!read_list(root, name, list)) continue;
        bool used = false;
        for (uint32_t i = 0; i < topology->count; i++)
            if (contains(list, cpus[i].cpu)) cpus[i].node = (uint16_t)node, used = true;
        topology->nodes += used;
    }
    if (topology->nodes == 0) topology->nodes = 1;
    for (uint32_t i = 0; i < topology->count; i++) {
        topology->cores += thread_of_core(topology, &cpus[i]) == 0;
        topology->mixed |= cpus[i].small != cpus[0].small || cpus[i].capacity != cpus[0].capacity;
    }
    order(topology);
    free(list);
    return tmac_ok();
}

void tmac_topology_free(tmac_topology *topology)
{
    free(topology->processors);
    memset(topology, 0, sizeof *topology);
}

uint32_t tmac_topology_threads(const tmac_topology *topology, uint32_t limit)
{
    uint32_t threads = topology->cores ? topology->cores : 1;
    return limit && limit < threads ? limit : threads;
}

uint32_t tmac_default_threads(uint32_t limit)
{
    uint32_t threads = 1;
    tmac_topology topology;
    tmac_cpu_list *allowed = calloc(1, sizeof *allowed);
    if (!allowed) return threads;
    tmac_cpu_list_allowed(allowed);
    if (tmac_topology_read("", allowed, &topology).code == TMAC_OK) {
        threads = tmac_topology_threads(&topology, limit);
        tmac_topology_free(&topology);
    }
    free(allowed);
    return threads;
}

// -------------------------------------------------------------------------------------------------------- memory nodes

bool tmac_thread_tie(const uint16_t *cpus, uint32_t count)
{
    const size_t bytes = CPU_ALLOC_SIZE(TMAC_CPUS_MAX);
    cpu_set_t *mask = CPU_ALLOC(TMAC_CPUS_MAX);
    if (!mask) return false;
    CPU_ZERO_S(bytes, mask);
    for (uint32_t i = 0; i < count; i++)
        CPU_SET_S(cpus[i], bytes, mask); // no effect on those beyond the mask
    const bool tied = sched_setaffinity(0, bytes, mask) == 0;
    CPU_FREE(mask);
    return tied;
}

static void tie_phase(void *argument, uint32_t worker, uint32_t workers)
{
    (void)workers;
    const tmac_topology *topology = argument;
    const tmac_cpu *cpus = topology->processors;
    const uint16_t node = cpus[worker % topology->count].node;
    tmac_cpu_list near = {0};
    for (uint32_t i = 0; i < topology->count; i++)
        if (cpus[i].node == node) near.cpu[near.count++] = cpus[i].cpu;
    tmac_thread_tie(near.cpu, near.count);
}

void tmac_topology_tie(const tmac_topology *topology, tmac_pool *pool)
{
    const uint32_t threads = tmac_pool_threads(pool);
    bool several = false;
    for (uint32_t i = 1; i < threads && i < topology->count; i++)
        several |= topology->processors[i].node != topology->processors[0].node;
    if (several) tmac_pool_run(pool, tie_phase, (void *)topology);
}

uint32_t tmac_this_node(void)
{
    unsigned cpu, node;
    return getcpu(&cpu, &node) == 0 ? node : 0;
}

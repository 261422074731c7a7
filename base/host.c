#include "base/host.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cpuid.h"
#include "base/midr.h"

// The first line of a small file without its newline; false when it cannot be read.
static bool read_line(const char *path, char *line, size_t room)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool read = fgets(line, (int)room, file) != NULL;
    fclose(file);
    if (read) line[strcspn(line, "\n")] = '\0';
    return read;
}

// ----------------------------------------------------------------------------------------------------------- names

// Copies a name for people: printable ASCII, no blanks at the ends, no runs of blanks.
static void copy_name(char *to, size_t room, const char *from, size_t count)
{
    size_t used = 0;
    for (size_t i = 0; i < count && from[i] && used + 1 < room; i++) {
        const char c = isprint((unsigned char)from[i]) ? from[i] : '?';
        if (c == ' ' && (used == 0 || to[used - 1] == ' ')) continue;
        to[used++] = c;
    }
    while (used && to[used - 1] == ' ')
        used--;
    to[used] = '\0';
}

// The text that `count` <= 12 registers hold, four bytes each.
static void copy_registers(char *to, size_t room, const uint32_t *registers, size_t count)
{
    char text[48] = "";
    memcpy(text, registers, count * sizeof *registers);
    copy_name(to, room, text, count * sizeof *registers);
}

static void probe_cpuid(tmac_host *host)
{
    const tmac_cpuid_leaf zero = tmac_cpuid(0, 0), one = tmac_cpuid(1, 0);
    const uint32_t vendor[3] = {zero.ebx, zero.edx, zero.ecx};
    copy_registers(host->vendor, sizeof host->vendor, vendor, 3);

    host->family = one.eax >> 8 & 15;
    host->model = one.eax >> 4 & 15;
    host->stepping = one.eax & 15;
    if (host->family == 6 || host->family == 15) host->model |= one.eax >> 12 & 0xf0;
    if (host->family == 15) host->family += one.eax >> 20 & 255;

    uint32_t brand[12];
    for (uint32_t i = 0; i < 3; i++) {
        const tmac_cpuid_leaf leaf = tmac_cpuid(0x80000002u + i, 0);
        const uint32_t registers[4] = {leaf.eax, leaf.ebx, leaf.ecx, leaf.edx};
        memcpy(brand + 4 * (size_t)i, registers, sizeof registers);
    }
    copy_registers(host->cpu_name, sizeof host->cpu_name, brand, 12);

    if (one.ecx >> 31) {
        const tmac_cpuid_leaf leaf = tmac_cpuid_raw(0x40000000u, 0);
        const uint32_t name[3] = {leaf.ebx, leaf.ecx, leaf.edx};
        copy_registers(host->hypervisor, sizeof host->hypervisor, name, 3);
    }
}

// Arm's counterpart of CPUID: the part number stands for the model, variant and revision (r1p2) for the stepping.
static void probe_midr(tmac_host *host)
{
    const uint64_t value = tmac_midr_read();
    if (value == 0) return;
    const tmac_midr midr = tmac_midr_decode(value);
    snprintf(host->vendor, sizeof host->vendor, "%s", midr.implementer);
    host->family = 8; // Armv8 and later
    host->model = midr.part;
    host->stepping = midr.variant << 4 | midr.revision;
    snprintf(host->cpu_name, sizeof host->cpu_name, "%s %s r%up%u",
             midr.implementer[0] ? midr.implementer : "Arm processor",
             midr.design[0] ? midr.design : "of unknown design", midr.variant, midr.revision);
}

static void probe_cpuinfo(tmac_host *host)
{
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) return;
    char line[4096];
    while (fgets(line, sizeof line, file)) {
        const char *value = strchr(line, ':');
        if (!value) break; // the end of the first processor
        const size_t length = strcspn(++value, "\n");
        if (strncmp(line, "microcode", 9) == 0)
            copy_name(host->microcode, sizeof host->microcode, value, length);
        if (strncmp(line, "model name", 10) == 0 && !host->cpu_name[0])
            copy_name(host->cpu_name, sizeof host->cpu_name, value, length);
    }
    fclose(file);
}

// ---------------------------------------------------------------------------------------------------------- caches

static void note_cache(tmac_host *host, unsigned level, uint64_t bytes)
{
    if (level == 1) host->l1d_bytes = bytes;
    if (level == 2) host->l2_bytes = bytes;
    if (level == 3) host->l3_bytes = bytes;
}

static void caches_from_sysfs(tmac_host *host, unsigned cpu)
{
    for (unsigned index = 0; index < 16; index++) {
        char path[128], type[32] = "", level[32] = "", size[32] = "";
        const char *const names[3] = {"type", "level", "size"};
        char *const lines[3] = {type, level, size};
        for (int i = 0; i < 3; i++) {
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/cache/index%u/%s", cpu,
                     index, names[i]);
            if (!read_line(path, lines[i], 32)) return;
        }
        if (strcmp(type, "Instruction") == 0) continue;
        char *unit;
        uint64_t bytes = strtoull(size, &unit, 10);
        bytes <<= *unit == 'K' ? 10 : *unit == 'M' ? 20 : *unit == 'G' ? 30 : 0;
        note_cache(host, (unsigned)strtoul(level, NULL, 10), bytes);
    }
}

// Intel's leaf 4 and AMD's 0x8000001d have one format.
static void caches_from_cpuid(tmac_host *host, uint32_t leaf)
{
    for (uint32_t i = 0; i < 16; i++) {
        const tmac_cpuid_leaf cache = tmac_cpuid(leaf, i);
        const uint32_t type = cache.eax & 31; // 0 ends, 1 data, 2 instruction, 3 unified
        if (type == 0) return;
        if (type == 2) continue;
        const uint64_t ways = (cache.ebx >> 22) + 1, partitions = (cache.ebx >> 12 & 1023) + 1;
        const uint64_t line = (cache.ebx & 4095) + 1, lines = (uint64_t)cache.ecx + 1;
        note_cache(host, cache.eax >> 5 & 7, ways * partitions * line * lines);
    }
}

// ------------------------------------------------------------------------------------------------------ processors

// How many processors this process may run on, and the first of them.
static uint32_t count_allowed(unsigned *first)
{
    *first = 0;
    // The kernel refuses a mask shorter than its own: grow until it fits.
    for (size_t cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
        cpu_set_t *mask = CPU_ALLOC(cpus);
        if (!mask) break;
        const size_t bytes = CPU_ALLOC_SIZE(cpus);
        uint32_t count = 0;
        if (sched_getaffinity(0, bytes, mask) == 0) {
            count = (uint32_t)CPU_COUNT_S(bytes, mask);
            while (count && !CPU_ISSET_S(*first, bytes, mask))
                ++*first;
        }
        CPU_FREE(mask);
        if (count) return count;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

// Processors a quota of `quota` in every `period` is worth, rounded up; 0: no limit.
static uint32_t quota_processors(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) return 0;
    const long long whole = quota / period + (quota % period != 0);
    return whole < UINT32_MAX ? (uint32_t)whole : 0;
}

static uint32_t smaller_limit(uint32_t a, uint32_t b)
{
    if (a == 0 || b == 0) return a + b;
    return a < b ? a : b;
}

// The limit of one control group and all those above it: every one of them binds. `path` is cut on the way up.
static uint32_t group_limit(bool unified, char *path)
{
    uint32_t limit = 0;
    for (;;) {
        char name[4352], line[64];
        long long quota = 0, period = 0;
        if (unified) {
            snprintf(name, sizeof name, "/sys/fs/cgroup%s/cpu.max", path);
            if (read_line(name, line, sizeof line) &&
                sscanf(line, "%lld %lld", &quota, &period) == 2)
                limit = smaller_limit(limit, quota_processors(quota, period));
        } else {
            snprintf(name, sizeof name, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", path);
            if (read_line(name, line, sizeof line)) quota = atoll(line);
            snprintf(name, sizeof name, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", path);
            if (read_line(name, line, sizeof line)) period = atoll(line);
            limit = smaller_limit(limit, quota_processors(quota, period));
        }
        char *slash = strrchr(path, '/');
        if (!slash) return limit;
        *slash = '\0';
    }
}

// The CPU quota of this process's control groups, version 2 and version 1; 0: none.
static uint32_t quota_limit(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return 0;
    uint32_t limit = 0;
    char line[4200];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        const bool unified = controllers[0] == '\0';
        bool cpu = false;
        for (char *rest = controllers, *word; (word = strsep(&rest, ","));)
            cpu |= strcmp(word, "cpu") == 0;
        if (strcmp(path, "/") == 0) path[0] = '\0';
        if (unified || cpu) limit = smaller_limit(limit, group_limit(unified, path));
    }
    fclose(file);
    return limit;
}

void tmac_host_probe(tmac_host *host)
{
    memset(host, 0, sizeof *host);
    probe_cpuid(host);
    probe_midr(host);
    probe_cpuinfo(host);

    struct utsname system;
    if (uname(&system) == 0)
        copy_name(host->kernel, sizeof host->kernel, system.release, sizeof system.release);

    unsigned first;
    const uint32_t allowed = count_allowed(&first);
    host->logical_cpus = smaller_limit(allowed, quota_limit());

    caches_from_sysfs(host, first);
    if (!host->l1d_bytes) caches_from_cpuid(host, 4);
    if (!host->l1d_bytes) caches_from_cpuid(host, 0x8000001du);

    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) host->memory_bytes = (uint64_t)pages * (uint64_t)page;
    host->isa = tmac_isa_verified();
}

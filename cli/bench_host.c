// What this host can do at most: the figures that speeds are quoted against.
//
// Bandwidth is a sequential read by all workers, each its own part of the memory, which it also touched first. The
// prefetch distance moves the figure by a fifth, so the best of a few counts; the median of passes keeps one
// disturbed pass from counting. A peak repeats one instruction on registers only, with enough independent accumulators
// to hide its latency; it is written in assembly because a compiler would remove it.
#include "cli/bench.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/host.h"
#include "base/memory.h"
#include "base/topology.h"

enum { PASSES = 5, BLOCK = 512, PEAK_ROUNDS = 5 };

// ---------------------------------------------------------------------------------------------------------- reading

typedef uint64_t eight_words __attribute__((vector_size(64)));

// `count` bytes, a multiple of BLOCK. The vectors compile to whatever registers the caller's instruction set has.
__attribute__((always_inline)) static inline uint64_t sum_bytes(const uint8_t *bytes, size_t count,
                                                                size_t ahead)
{
    eight_words sums[BLOCK / 64] = {{0}};
    for (size_t i = 0; i < count; i += BLOCK)
        for (size_t j = 0; j < BLOCK / 64; j++) {
            __builtin_prefetch(bytes + i + j * 64 + ahead, 0, 3);
            sums[j] += *(const eight_words *)(bytes + i + j * 64);
        }
    uint64_t sum = 0;
    for (size_t j = 0; j < BLOCK / 64; j++)
        for (int lane = 0; lane < 8; lane++)
            sum += sums[j][lane];
    return sum;
}

typedef uint64_t (*reader)(const uint8_t *bytes, size_t count, size_t ahead);

static uint64_t read_baseline(const uint8_t *bytes, size_t count, size_t ahead)
{
    return sum_bytes(bytes, count, ahead);
}

#if defined __x86_64__
__attribute__((target("avx2"))) static uint64_t read_avx2(const uint8_t *bytes, size_t count,
                                                          size_t ahead)
{
    return sum_bytes(bytes, count, ahead);
}

__attribute__((target("avx512f"))) static uint64_t read_avx512(const uint8_t *bytes, size_t count,
                                                               size_t ahead)
{
    return sum_bytes(bytes, count, ahead);
}
#endif

static reader widest_reader(void)
{
#if defined __x86_64__
    if (tmac_isa_has(tmac_isa_verified(), TMAC_ISA_AVX512VNNI)) return read_avx512;
    if (tmac_isa_has(tmac_isa_verified(), TMAC_ISA_AVX2)) return read_avx2;
#endif
    return read_baseline;
}

typedef struct reading {
    reader read;
    uint8_t *bytes;
    uint64_t blocks;
    size_t ahead;
    volatile uint64_t sink[TMAC_POOL_MAX]; // what was read is used, as far as a compiler knows
} reading;

static void touch_phase(void *argument, uint32_t worker, uint32_t workers)
{
    reading *r = argument;
    uint64_t begin, end;
    tmac_share(r->blocks, worker, workers, &begin, &end);
    memset(r->bytes + begin * BLOCK, 1, (size_t)(end - begin) * BLOCK);
}

static void read_phase(void *argument, uint32_t worker, uint32_t workers)
{
    reading *r = argument;
    uint64_t begin, end;
    tmac_share(r->blocks, worker, workers, &begin, &end);
    r->sink[worker] = r->read(r->bytes + begin * BLOCK, (size_t)(end - begin) * BLOCK, r->ahead);
}

tmac_status tmac_bench_bandwidth(tmac_pool *pool, size_t working_set, double *bytes_per_second)
{
    *bytes_per_second = 0;
    tmac_pages pages;
    TMAC_TRY(tmac_pages_map(working_set, &pages));
    reading *r = calloc(1, sizeof *r);
    if (!r) {
        tmac_pages_unmap(&pages);
        return tmac_fail(TMAC_OUT_OF_MEMORY, "no memory for measuring bandwidth");
    }
    *r = (reading){.read = widest_reader(), .bytes = pages.data, .blocks = working_set / BLOCK};
    tmac_pool_run(pool, touch_phase, r);
    for (r->ahead = 512; r->ahead <= 4096; r->ahead *= 2) {
        uint64_t times[PASSES];
        for (int pass = 0; pass < PASSES; pass++) {
            const uint64_t start = tmac_now_ns();
            tmac_pool_run(pool, read_phase, r);
            times[pass] = tmac_now_ns() - start + 1;
        }
        const double rate =
            (double)r->blocks * BLOCK * 1e9 / (double)tmac_bench_median(times, PASSES);
        if (rate > *bytes_per_second) *bytes_per_second = rate;
    }
    free(r);
    tmac_pages_unmap(&pages);
    return tmac_ok();
}

// ------------------------------------------------------------------------------------------------------------ peaks

// One loop of `rounds` rounds over ten accumulators.
typedef struct peak {
    const char *name, *unit;
    tmac_isa isa;
    double per_round; // multiply-accumulates or lookups
    void (*run)(uint64_t rounds);
} peak;

#if defined __x86_64__
// clang-format off
#define TEN_TIMES(ONE) ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9)
// clang-format on
#define DOT(n)     "vpdpbusd %%zmm10, %%zmm10, %%zmm" #n "\n"
#define PERMUTE(n) "vpermi2b %%zmm10, %%zmm10, %%zmm" #n "\n"
// The sum of products needs three instructions without a dot product; the products have a register of their own.
#define MULTIPLY_ADD(n)                                                                            \
    "vpmaddubsw %%ymm10, %%ymm10, %%ymm11\n vpmaddwd %%ymm12, %%ymm11, %%ymm11\n"                  \
    "vpaddd %%ymm11, %%ymm" #n ", %%ymm" #n "\n"
#define CLOBBERED(r)                                                                               \
    r "0", r "1", r "2", r "3", r "4", r "5", r "6", r "7", r "8", r "9", r "10", r "11", r "12"

__attribute__((target("avx512f"))) static void run_dots(uint64_t rounds)
{
    for (uint64_t i = 0; i < rounds; i++)
        __asm__ volatile(TEN_TIMES(DOT)::: CLOBBERED("xmm"));
}

__attribute__((target("avx512f"))) static void run_permutes(uint64_t rounds)
{
    for (uint64_t i = 0; i < rounds; i++)
        __asm__ volatile(TEN_TIMES(PERMUTE)::: CLOBBERED("xmm"));
}

__attribute__((target("avx2"))) static void run_multiply_adds(uint64_t rounds)
{
    for (uint64_t i = 0; i < rounds; i++)
        __asm__ volatile(TEN_TIMES(MULTIPLY_ADD)::: CLOBBERED("xmm"));
}

// Sixteen rows of 16 sums, 64 products each: four tiles of sums from two tiles of either side, as a kernel blocks them.
// The process asked for the tiles' state when AMX was verified (base/isa.c). What the tiles hold does not matter.
__attribute__((target("amx-tile,amx-int8"))) static void run_tiles(uint64_t rounds)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        config.bytes[tile] = 64;
        config.rows[tile] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config));
    for (uint64_t i = 0; i < rounds; i++)
        __asm__ volatile("tdpbsud %tmm6, %tmm4, %tmm0\n tdpbsud %tmm7, %tmm4, %tmm1\n"
                         "tdpbsud %tmm6, %tmm5, %tmm2\n tdpbsud %tmm7, %tmm5, %tmm3\n");
    __asm__ volatile("tilerelease");
}

static const peak PEAKS[] = {
    {"avx2_peak", "GMAC/s", TMAC_ISA_AVX2, 10 * 32, run_multiply_adds},
    {"vnni_peak", "GMAC/s", TMAC_ISA_AVX512VNNI, 10 * 64, run_dots},
    {"vbmi_peak", "Glookup/s", TMAC_ISA_AVX512VBMI, 10 * 64, run_permutes},
    {"amx_peak", "GMAC/s", TMAC_ISA_AMX, 4 * 16 * 16 * 64, run_tiles},
};
enum { PEAK_COUNT = sizeof PEAKS / sizeof *PEAKS };
#else
static const peak *const PEAKS;
enum { PEAK_COUNT = 0 };
#endif

static double measure_peak(const peak *p)
{
    const uint64_t rounds = 2000000;
    uint64_t times[PEAK_ROUNDS];
    for (int i = 0; i < PEAK_ROUNDS; i++) {
        const uint64_t start = tmac_now_ns();
        p->run(rounds);
        times[i] = tmac_now_ns() - start + 1;
    }
    return p->per_round * (double)rounds / (double)tmac_bench_median(times, PEAK_ROUNDS);
}

// ----------------------------------------------------------------------------------------------------------- report

typedef struct report {
    json_t *figures; // NULL: text
    bool json;
} report;

static void note(const report *r, const char *name, double value, const char *unit)
{
    if (r->json)
        json_object_set_new(r->figures, name,
                            json_pack("{s:f, s:s}", "value", value, "unit", unit));
    else
        printf("%-12s %9.1f%s%s\n", name, value, *unit ? " " : "", unit);
    if (!r->json) fflush(stdout);
}

static tmac_status note_bandwidth(const report *r, uint32_t threads, size_t working_set)
{
    tmac_pool *pool;
    TMAC_TRY(tmac_pool_new(threads, &pool));
    double rate;
    tmac_status status = tmac_bench_bandwidth(pool, working_set, &rate);
    tmac_pool_free(pool);
    if (status.code != TMAC_OK) return status;
    char name[32];
    snprintf(name, sizeof name, "read_%ut", threads);
    note(r, name, rate / 1e9, "GB/s");
    return tmac_ok();
}

// Cores and their kinds, and memory nodes, of the processors this process may use.
static void note_topology(const report *r)
{
    tmac_topology topology;
    tmac_cpu_list *allowed = calloc(1, sizeof *allowed);
    if (!allowed) return;
    tmac_cpu_list_allowed(allowed);
    if (tmac_topology_read("", allowed, &topology).code == TMAC_OK) {
        uint32_t small = 0;
        uint16_t slowest = 1024;
        for (uint32_t i = 0; i < topology.count; i++) {
            small += topology.processors[i].small;
            if (topology.processors[i].capacity < slowest)
                slowest = topology.processors[i].capacity;
        }
        note(r, "processors", topology.count, "");
        note(r, "cores", topology.cores, topology.mixed ? "of several kinds" : "of one kind");
        if (small) note(r, "small_cores", small, "processors on efficiency cores");
        if (slowest < 1024) note(r, "slowest_core", slowest / 10.24, "% of the fastest");
        note(r, "memory_nodes", topology.nodes, "");
        tmac_topology_free(&topology);
    }
    free(allowed);
}

tmac_status tmac_bench_host(size_t working_set, bool json)
{
    tmac_host host;
    tmac_host_probe(&host);
    report r = {json ? json_object() : NULL, json};
    if (!json) {
        printf("# %s, %s, %u threads", host.cpu_name, host.hypervisor[0] ? host.hypervisor : "-",
               host.logical_cpus);
        for (int isa = 0; isa < TMAC_ISA_COUNT; isa++)
            if (tmac_isa_has(host.isa, (tmac_isa)isa)) printf(", %s", tmac_isa_name((tmac_isa)isa));
        putchar('\n');
    }
    note_topology(&r);
    note(&r, "l1d", (double)host.l1d_bytes / 1024, "KiB");
    note(&r, "l2", (double)host.l2_bytes / 1024, "KiB");
    note(&r, "l3", (double)host.l3_bytes / 1024, "KiB");
    tmac_status status = tmac_ok();
    for (uint32_t threads = 1; threads <= host.logical_cpus && status.code == TMAC_OK; threads++)
        status = note_bandwidth(&r, threads, working_set);
    for (int i = 0; i < PEAK_COUNT && status.code == TMAC_OK; i++)
        if (tmac_isa_has(host.isa, PEAKS[i].isa))
            note(&r, PEAKS[i].name, measure_peak(&PEAKS[i]), PEAKS[i].unit);
    if (status.code == TMAC_OK && json) {
        json_t *root = json_pack("{s:s, s:s, s:I, s:O}", "cpu_name", host.cpu_name, "hypervisor",
                                 host.hypervisor, "threads", (json_int_t)host.logical_cpus,
                                 "figures", r.figures);
        if (!root || json_dumpf(root, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF)
            status = tmac_fail(TMAC_IO, "cannot write the results");
        json_decref(root);
    }
    json_decref(r.figures);
    return status;
}

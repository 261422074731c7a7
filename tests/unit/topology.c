#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/topology.h"
#include "tests/unit/scratch.h"

static tmac_cpu_list parse(const char *text)
{
    tmac_cpu_list list;
    cr_assert_eq(tmac_cpu_list_parse(text, &list).code, TMAC_OK, "%s", text);
    return list;
}

static void put(const char *root, const char *name, const char *text)
{
    char command[600];
    snprintf(command, sizeof command, "f=%s/sys/devices/%s; mkdir -p ${f%%/*}; echo '%s' > $f",
             root, name, text);
    cr_assert_eq(system(command), 0);
}

static void expect_order(const tmac_topology *t, const uint16_t *cpus, uint32_t count)
{
    cr_assert_eq(t->count, count);
    for (uint32_t i = 0; i < count; i++)
        cr_assert_eq(t->processors[i].cpu, cpus[i], "place %u: %u, expected %u", i,
                     t->processors[i].cpu, cpus[i]);
}

Test(topology, lists)
{
    tmac_cpu_list list = parse("3,0-2,8-12:2\n");
    const uint16_t expected[] = {3, 0, 1, 2, 8, 10, 12};
    cr_assert_eq(list.count, 7);
    cr_assert_arr_eq(list.cpu, expected, sizeof expected);
    cr_assert_eq(parse("1,1,0-1").count, 2);
    cr_assert_eq(parse("4095").cpu[0], 4095);
    static const char *const BAD[] = {"",   ",",    "1,",    "a",  "3-1",
                                      "0-", "4096", "1-2:0", "-1", "1 2"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        cr_assert_eq(tmac_cpu_list_parse(BAD[i], &list).code, TMAC_USAGE, "'%s'", BAD[i]);
}

Test(topology, hardware_threads_and_nodes)
{
    char root[64], name[80];
    scratch_make("topology", root);
    for (int cpu = 0; cpu < 8; cpu++) { // four cores of two threads, two nodes
        snprintf(name, sizeof name, "system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        char siblings[16];
        snprintf(siblings, sizeof siblings, "%d,%d", cpu % 4, cpu % 4 + 4);
        put(root, name, siblings);
    }
    put(root, "system/node/node0/cpulist", "0,2,4,6");
    put(root, "system/node/node1/cpulist", "1,3,5,7");
    tmac_topology t;
    tmac_cpu_list allowed = parse("0-7");
    cr_assert_eq(tmac_topology_read(root, &allowed, &t).code, TMAC_OK);
    cr_assert(t.cores == 4 && t.nodes == 2 && !t.mixed);
    expect_order(&t, (const uint16_t[]){0, 2, 1, 3, 4, 6, 5, 7}, 8);
    cr_assert_eq(tmac_topology_threads(&t, 0), 4);
    cr_assert_eq(tmac_topology_threads(&t, 3), 3);
    tmac_topology_free(&t);

    allowed = parse("2,4,6"); // both threads of core 2 and one of core 0
    cr_assert_eq(tmac_topology_read(root, &allowed, &t).code, TMAC_OK);
    cr_assert(t.cores == 2 && t.nodes == 1);
    expect_order(&t, (const uint16_t[]){2, 4, 6}, 3);
    tmac_topology_free(&t);
    scratch_remove(root);
}

Test(topology, mixed_cores)
{
    char root[64];
    scratch_make("topology", root);
    put(root, "cpu_atom/cpus", "0-1");
    tmac_topology t;
    tmac_cpu_list allowed = parse("0-3");
    cr_assert_eq(tmac_topology_read(root, &allowed, &t).code, TMAC_OK);
    cr_assert(t.mixed && t.cores == 4 && t.nodes == 1);
    expect_order(&t, (const uint16_t[]){2, 3, 0, 1}, 4);
    tmac_topology_free(&t);
    scratch_remove(root);

    scratch_make("topology", root);
    put(root, "system/cpu/cpu0/cpu_capacity", "446");
    put(root, "system/cpu/cpu1/cpu_capacity", "1024");
    allowed = parse("0-1");
    cr_assert_eq(tmac_topology_read(root, &allowed, &t).code, TMAC_OK);
    cr_assert(t.mixed && t.processors[0].cpu == 1 && t.processors[1].capacity == 446);
    tmac_topology_free(&t);
    scratch_remove(root);
}

Test(topology, this_machine)
{
    tmac_cpu_list allowed;
    tmac_topology t;
    tmac_cpu_list_allowed(&allowed);
    cr_assert_geq(allowed.count, 1);
    cr_assert_eq(tmac_topology_read("", &allowed, &t).code, TMAC_OK);
    cr_assert(t.cores >= 1 && t.cores <= t.count && t.nodes >= 1);
    tmac_topology_free(&t);
}

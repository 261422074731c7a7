// Which processors there are: cores and their hardware threads, kinds of cores, memory nodes.
#ifndef TMAC_BASE_TOPOLOGY_H
#define TMAC_BASE_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "base/status.h"

enum { TMAC_CPUS_MAX = 4096 };

// A set of processors in the order in which workers take them.
typedef struct tmac_cpu_list {
    uint32_t count;
    uint16_t cpu[TMAC_CPUS_MAX];
} tmac_cpu_list;

// "0-3,8,10-14:2" as Linux writes and taskset(1) reads it, in that order; a processor named twice counts once.
// TMAC_USAGE when the text is anything else or names none.
tmac_status tmac_cpu_list_parse(const char *text, tmac_cpu_list *list);

typedef struct tmac_cpu {
    uint16_t cpu, core; // core: the lowest processor among its hardware threads
    uint16_t node;      // of memory
    uint16_t capacity;  // relative speed as the system tells it: 1024 is the fastest kind of core
    bool small;         // an efficiency core of a hybrid processor
} tmac_cpu;

typedef struct tmac_topology {
    uint32_t count; // processors this process may run on
    uint32_t cores, nodes;
    bool mixed;           // kinds of cores differ
    tmac_cpu *processors; // [count]: one of each core first, the fastest kind first, node by node
} tmac_topology;

// Reads what Linux tells about `allowed` below `root`, "" for this system; tests make their own. What cannot be read
// counts as uniform: a core each, one node. The caller frees it.
tmac_status tmac_topology_read(const char *root, const tmac_cpu_list *allowed,
                               tmac_topology *topology);
void tmac_topology_free(tmac_topology *topology);

// The processors this process may run on. At least one.
void tmac_cpu_list_allowed(tmac_cpu_list *list);

// tmac_topology_threads of this system and process, without pinning anything. At least 1.
uint32_t tmac_default_threads(uint32_t limit);

// How many threads serve best where nobody says: the physical cores this process may use, at most `limit` (a quota; 0:
// none). Hardware threads of one core share the units that multiply.
uint32_t tmac_topology_threads(const tmac_topology *topology, uint32_t limit);

// Ties each worker i of the pool, the caller among them, to the topology's processors in the memory node of
// processors[i % count]: it may still move among these. Nothing is done where all workers fit into one node, whichever
// the system takes. Where the system refuses, a worker stays as it was.
void tmac_topology_tie(const tmac_topology *topology, tmac_pool *pool);

// Ties the calling thread to these processors; false where the system refuses all of them, and nothing has changed.
bool tmac_thread_tie(const uint16_t *cpus, uint32_t count);

// The memory node of the processor that the calling thread is on; 0 where the system does not say.
uint32_t tmac_this_node(void);

#endif

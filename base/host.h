// What the host is: names for people, and the facts that decide whether a measurement made elsewhere applies here.
#ifndef TMAC_BASE_HOST_H
#define TMAC_BASE_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "base/status.h"

typedef struct tmac_host {
    char cpu_name[64]; // the brand string: shown, never trusted
    char vendor
        [16]; // "GenuineIntel", "AuthenticAMD", ...; on Arm the implementer: "Arm", "Apple", ...
    uint32_t family, model, stepping; // on Arm 8, the part number, and variant * 16 + revision
    char microcode[20];               // "0x2b000603", "" where unknown
    char hypervisor[16];              // CPUID leaf 0x40000000: "KVMKVMKVM", "" on bare metal
    char kernel[80];                  // uname release
    uint32_t logical_cpus; // those this process may run on (affinity and cgroup quota counted)
    uint64_t l1d_bytes, l2_bytes, l3_bytes; // of one core's path; 0 where unknown
    uint64_t memory_bytes;
    tmac_isa_set isa; // verified
} tmac_host;

// Fills in what can be known without measuring. Never fails: what is unknown stays zero or empty.
void tmac_host_probe(tmac_host *host);

#endif

// A fast 64-bit checksum against accidents: bits that flipped, pages that never reached the disk. Not against people.
#ifndef TMAC_BASE_CHECKSUM_H
#define TMAC_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

// Any single damaged word changes it for certain; other damage goes unseen once in 2^64. Bytes in the order of this
// machine: a sum is of no use on another one. `seed` tells equal parts at different places apart.
uint64_t tmac_checksum(const void *data, size_t bytes, uint64_t seed);

#endif

// A small deterministic random generator (SplitMix64, Steele, Lea and Flood 2014): the same numbers from a seed on
// every machine. For samplers, synthetic weights and tests; not for secrets.
#ifndef TMAC_BASE_RANDOM_H
#define TMAC_BASE_RANDOM_H

#include <stdint.h>

typedef struct tmac_random {
    uint64_t state;
} tmac_random;

static inline uint64_t tmac_random_next(tmac_random *random)
{
    uint64_t z = (random->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Uniform in [0, bound), bound > 0; the bias of at most bound / 2^32 does not matter to its users.
static inline uint32_t tmac_random_below(tmac_random *random, uint32_t bound)
{
    return (uint32_t)(((tmac_random_next(random) >> 32) * bound) >> 32);
}

// Uniform in [0, 1), 24 bits.
static inline float tmac_random_unit(tmac_random *random)
{
    return (float)(tmac_random_next(random) >> 40) * 0x1p-24f;
}

#endif

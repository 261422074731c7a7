// Eight 64-bit lanes, each fed every eighth word: lane = rotate((lane ^ word) * odd). Every step is a bijection of the
// lane for a given word and of the word for a given lane, so one damaged word cannot be undone by those after it. Eight
// chains hide the latency of the multiplication: it is as fast as one core reads memory.
#include "base/checksum.h"

#include <string.h>

enum { LANES = 8 };

static const uint64_t ODD = 0x9e3779b97f4a7c15ull;

static uint64_t step(uint64_t lane, uint64_t word)
{
    const uint64_t product = (lane ^ word) * ODD;
    return product << 29 | product >> 35;
}

uint64_t tmac_checksum(const void *data, size_t bytes, uint64_t seed)
{
    const uint8_t *at = data;
    uint64_t lane[LANES], word[LANES];
    for (uint64_t i = 0; i < LANES; i++)
        lane[i] = seed + i;
    size_t left = bytes;
    for (; left >= sizeof word; left -= sizeof word, at += sizeof word) {
        memcpy(word, at, sizeof word);
        for (int i = 0; i < LANES; i++)
            lane[i] = step(lane[i], word[i]);
    }
    memset(word, 0, sizeof word);
    if (left) memcpy(word, at, left);
    uint64_t sum = seed ^ bytes;
    for (int i = 0; i < LANES; i++)
        sum = step(sum, step(lane[i], word[i]));
    return sum;
}

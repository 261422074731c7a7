// lut5 in plain C: the reference.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 5 })

// Prepared activations "lut5": for each code, the sums of its five activations under every non-negative code v as int16
// in two planes: 128 low bytes, then 128 high bytes. Entries 122..127 are zero.
enum { TABLE_BYTES = 256 };

// The entries for v < 3^(j+1) / 2 follow from those for v < 3^j / 2: v = w * 3^j + rest, with |rest| <= half.
static inline void build_table(const int8_t *q, uint8_t *table)
{
    int16_t sums[128] = {0};
    int32_t half = 0; // the largest v so far
    for (int32_t j = 0, power = 1; j < 5; j++, power *= 3) {
        for (int32_t rest = -half; rest <= half; rest++) {
            const int32_t of_rest = rest < 0 ? -sums[-rest] : sums[rest];
            sums[power + rest] = (int16_t)(q[j] + of_rest);
        }
        half += power;
    }
    for (uint32_t v = 0; v < 128; v++) {
        table[v] = (uint8_t)(sums[v] & 255);
        table[128 + v] = (uint8_t)(sums[v] >> 8 & 255);
    }
}

% part("part_lut_prepare", { code_length = 5 })

// Where row r of a tile is among the bytes of one code: see layout_lut5.c.
static inline uint32_t slot_of(uint32_t r)
{
    return r / 64 * 64 + r % 32 / 8 * 16 + r % 64 / 32 * 8 + r % 8;
}

// The sum that a code selects.
static inline int32_t lookup(const uint8_t *table, uint8_t code)
{
    const uint8_t v = code & 127;
    const int32_t sum = (int16_t)(table[v] | table[128 + v] << 8);
    return code & 128 ? -sum : sum;
}

%% kernel
% part("part_lut_scalar_run", { code_length = 5 })

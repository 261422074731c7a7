// lut2 in plain C: the reference.
#include <string.h>

#include "runtime/kernel.h"

% part("part_geometry", { code_length = 4 })

% part("part_lut2_tables")

static inline void build_table(const int8_t *q, uint8_t *table)
{
    memset(table, 0, TABLE_BYTES);
    for (uint32_t pair = 0; pair < 2; pair++, q += 2, table += 32) {
        for (int32_t nibble = 0; nibble < 9; nibble++) {
            const int32_t sum = (nibble % 3 - 1) * q[0] + (nibble / 3 - 1) * q[1];
            table[nibble] = (uint8_t)(sum & 255);
            table[16 + nibble] = (uint8_t)(sum >> 8 & 255);
        }
    }
}

% part("part_lut_prepare", { code_length = 4 })

% part("part_slot32", { of = "one code: see layout_lut2.c" })

// The sum that a code selects.
static inline int32_t lookup(const uint8_t *table, uint8_t code)
{
    const uint8_t a = code & 15, b = code >> 4;
    return (int16_t)(table[a] | table[16 + a] << 8) + (int16_t)(table[32 + b] | table[48 + b] << 8);
}

%% kernel
% part("part_lut_scalar_run", { code_length = 4 })

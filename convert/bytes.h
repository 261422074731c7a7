// Little-endian numbers at any address. All formats here are little-endian, and so are the hosts.
#ifndef TMAC_CONVERT_BYTES_H
#define TMAC_CONVERT_BYTES_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "model files are read as they lie");

static inline uint16_t tmac_load_u16(const void *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t tmac_load_u32(const void *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t tmac_load_u64(const void *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline float tmac_load_f32(const void *at)
{
    float value;
    memcpy(&value, at, sizeof value);
    return value;
}

#endif

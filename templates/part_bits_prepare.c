// Prepared activations "bits": for each code of eight activations two tables, of the sums of all subsets of the first and
// of the last four: entry s is the sum of those whose bit is set in s, as int16 in two planes, 16 low bytes and 16 high
// bytes. Then, at a multiple of 64, the sum of each group as int32; then zeros up to a multiple of 64. The same for any
// number of bits a weight.
enum { TABLE_BYTES = 64 };

static inline size_t sums_offset(const geometry *codes)
{
    return (size_t)codes->total * TABLE_BYTES;
}

static size_t prepared_bytes(uint32_t columns, uint32_t group)
{
    const geometry codes = geometry_of(columns, group);
    return sums_offset(&codes) + ((size_t)codes.groups * 4 + 63) / 64 * 64;
}

static void prepare_sums(const int8_t *q, uint32_t columns, uint32_t group, uint8_t *sums,
                         uint32_t part, uint32_t parts)
{
    const uint32_t groups = (columns + group - 1) / group;
    const uint32_t end = (uint32_t)((uint64_t)groups * (part + 1) / parts);
    for (uint32_t g = (uint32_t)((uint64_t)groups * part / parts); g < end; g++) {
        const int8_t *from = q + (size_t)g * group;
        const uint32_t count = g + 1 < groups ? group : columns - g * group;
        int32_t sum = 0; // at most 128 * K < 2^31 in size
        for (uint32_t k = 0; k < count; k++)
            sum += from[k];
        memcpy(sums + (size_t)g * 4, &sum, sizeof sum);
    }
    if (part + 1 == parts) memset(sums + (size_t)groups * 4, 0, (64 - groups % 16 * 4) % 64);
}

// Parts share the codes and the groups. A code that reaches past the end of its scale group takes zeros there.
static void prepare(const int8_t *q, uint32_t columns, uint32_t group, uint8_t *prepared,
                    uint32_t part, uint32_t parts)
{
    const geometry codes = geometry_of(columns, group);
    const uint32_t end = (uint32_t)((uint64_t)codes.total * (part + 1) / parts);
    for (uint32_t code = (uint32_t)((uint64_t)codes.total * part / parts); code < end; code++) {
        const uint32_t g = code / codes.full, in_group = code - g * codes.full;
        const uint32_t length = g + 1 < codes.groups ? group : columns - g * group;
        const uint32_t left = length - in_group * 8;
        const int8_t *from = q + (size_t)g * group + (size_t)in_group * 8;
        int8_t padded[8] = {0};
        if (left < 8) from = memcpy(padded, from, left);
        uint8_t *table = prepared + (size_t)code * TABLE_BYTES;
        build_table(from, table);
        build_table(from + 4, table + 32);
    }
    prepare_sums(q, columns, group, prepared + sums_offset(&codes), part, parts);
}

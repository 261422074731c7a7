% local transposed = block == 20
% if transposed then
// Prepared activations "bytes20": the K bytes of q, every scale group padded with zeros to whole blocks of 20, which are
// four codes of five: byte 4 j + i of a block belongs to weight j of code i, activation 5 i + j. Then, at
% else
// Prepared activations "bytes${block}": the K bytes of q, every scale group padded with zeros to whole blocks of ${block}; then, at
% end
// the next multiple of 64, the sum of each group as int32; then zeros up to a multiple of 64.
static inline size_t sums_offset(const geometry *shape)
{
    return ((size_t)shape->total * ${block} + 63) / 64 * 64;
}

static size_t prepared_bytes(uint32_t columns, uint32_t group)
{
    const geometry shape = geometry_of(columns, group);
    return sums_offset(&shape) + ((size_t)shape.groups * 4 + 63) / 64 * 64;
}

// Parts share the groups; the last part also writes the padding between and after.
static void prepare(const int8_t *q, uint32_t columns, uint32_t group, uint8_t *prepared,
                    uint32_t part, uint32_t parts)
{
    const geometry shape = geometry_of(columns, group);
    const size_t sums_at = sums_offset(&shape);
    const uint32_t begin = (uint32_t)((uint64_t)shape.groups * part / parts);
    const uint32_t end = (uint32_t)((uint64_t)shape.groups * (part + 1) / parts);
    for (uint32_t g = begin; g < end; g++) {
        const int8_t *from = q + (size_t)g * group;
        uint8_t *to = prepared + (size_t)g * shape.full * ${block};
        const uint32_t count = g + 1 < shape.groups ? group : columns - g * group;
% if not transposed then
        const uint32_t padded = (g + 1 < shape.groups ? shape.full : shape.last) * ${block};
        memcpy(to, from, count);
        memset(to + count, 0, padded - count);
% end
        int32_t sum = 0; // at most 128 * K < 2^31 in size
        for (uint32_t k = 0; k < count; k++)
            sum += from[k];
% if transposed then
        for (uint32_t k = 0; k < count; k += 20, to += 20) {
            int8_t block[20] = {0};
            memcpy(block, from + k, count - k < 20 ? count - k : 20);
            for (uint32_t j = 0; j < 5; j++) {
                for (uint32_t i = 0; i < 4; i++)
                    to[4 * j + i] = (uint8_t)block[5 * i + j];
            }
        }
% end
        memcpy(prepared + sums_at + (size_t)g * 4, &sum, sizeof sum);
    }
    if (part + 1 == parts) {
        const size_t codes_end = (size_t)shape.total * ${block};
        const size_t sums_end = sums_at + (size_t)shape.groups * 4;
        memset(prepared + codes_end, 0, sums_at - codes_end);
        memset(prepared + sums_end, 0, prepared_bytes(columns, group) - sums_end);
    }
}

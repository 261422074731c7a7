static size_t prepared_bytes(uint32_t columns, uint32_t group)
{
    return (size_t)geometry_of(columns, group).total * TABLE_BYTES;
}

// Parts share the codes. A code that reaches past the end of its scale group takes zeros there.
static void prepare(const int8_t *q, uint32_t columns, uint32_t group, uint8_t *prepared,
                    uint32_t part, uint32_t parts)
{
    const geometry codes = geometry_of(columns, group);
    uint32_t code = (uint32_t)((uint64_t)codes.total * part / parts);
    const uint32_t end = (uint32_t)((uint64_t)codes.total * (part + 1) / parts);
    uint8_t *table = prepared + (size_t)code * TABLE_BYTES;
    while (code < end) {
        // As much of one scale group as this part has.
        const uint32_t g = code / codes.full;
        const uint32_t in_group = code - g * codes.full;
        const uint32_t of_group = g + 1 < codes.groups ? codes.full : codes.last;
        const uint32_t length = g + 1 < codes.groups ? group : columns - g * group;
        const uint32_t count = of_group - in_group < end - code ? of_group - in_group : end - code;
        const int8_t *from = q + (size_t)g * group + (size_t)in_group * ${code_length};
        uint32_t left = length - in_group * ${code_length};
        for (uint32_t i = 0; i < count; i++, table += TABLE_BYTES) {
            if (left >= ${code_length}) {
                build_table(from, table);
                from += ${code_length};
                left -= ${code_length};
            } else {
                int8_t padded[${code_length}] = {0};
                memcpy(padded, from, left);
                build_table(padded, table);
            }
        }
        code += count;
    }
}

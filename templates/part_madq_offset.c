// What the outputs of a group start with. Unsigned, as the product may wrap on its way.
static inline ${vector} offset_of(const uint8_t *sums)
{
    uint32_t sum;
    memcpy(&sum, sums, sizeof sum);
    return ${set}((int32_t)(0u - (sum << ${bits - 1})));
}

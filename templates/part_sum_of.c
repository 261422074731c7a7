static inline int32_t sum_of(const uint8_t *sums)
{
    int32_t sum;
    memcpy(&sum, sums, sizeof sum);
    return sum;
}

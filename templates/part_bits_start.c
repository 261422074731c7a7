enum { SEGMENT = 31 }; // codes whose sums fit int16

// What the outputs of a group start with: codes count ${1 << bits - 1} too much a weight. Unsigned, as the product may wrap.
static inline void start(const uint8_t *sums, int32_t *y, uint32_t rows)
{
    uint32_t sum;
    memcpy(&sum, sums, sizeof sum);
    for (uint32_t r = 0; r < rows; r++)
        y[r] = (int32_t)(0u - (sum << ${bits - 1}));
}

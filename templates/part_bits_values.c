// Weights of ${bits == 1 and "one bit: the code c means 2c - 1" or ("%d bits: the code c means c - %d"):format(bits, 1 << bits - 1)}. A group of G of them sums to at most ${128 << bits - 1} * G in size, which fits int32.
enum { BITS = ${bits}, PADDING = ${bits == 1 and -1 or 0}, GROUP_MAX = INT32_MAX / ${128 << bits - 1} };

static inline int8_t value_of(uint32_t code)
{
    return (int8_t)((int32_t)code${bits == 1 and " * 2" or ""} - ${1 << bits - 1});
}

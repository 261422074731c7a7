// 64 codes of one byte, 16 rows x 4 columns, and 16 exact sums, in plain C.
typedef struct codes {
    uint8_t byte[64];
} codes;
typedef struct counts {
    int32_t lane[16];
} counts;

static inline codes codes_load(const uint8_t *p)
{
    codes r;
    memcpy(r.byte, p, 64);
    return r;
}
static inline codes codes_low(codes a)
{
    for (int i = 0; i < 64; i++) a.byte[i] &= 15;
    return a;
}
static inline codes codes_high(codes a)
{
    for (int i = 0; i < 64; i++) a.byte[i] >>= 4;
    return a;
}
// Bits of upper, beginning with bit `from`, become those of the mask, which begins with bit 4.
static inline codes codes_join(codes low, codes upper, int from, int mask)
{
    for (int i = 0; i < 64; i++) low.byte[i] |= (uint8_t)(((upper.byte[i] >> from) << 4) & mask);
    return low;
}
static inline counts counts_zero(void)
{
    return (counts){{0}};
}
// sum[r] += codes of row r times four activations; _8 where codes exceed 63.
static inline counts counts_dot(counts sum, codes a, const int8_t *q)
{
    for (int r = 0; r < 16; r++)
        for (int j = 0; j < 4; j++) sum.lane[r] += a.byte[4 * r + j] * q[j];
    return sum;
}
static inline counts counts_dot_8(counts sum, codes a, const int8_t *q)
{
    return counts_dot(sum, a, q);
}
static inline counts counts_add(counts a, counts b)
{
    for (int r = 0; r < 16; r++) a.lane[r] += b.lane[r];
    return a;
}
// (float)(sum - correction)
static inline lanes counts_floats(counts sum, int32_t correction)
{
    for (int r = 0; r < 16; r++) sum.lane[r] -= correction;
    return lanes_from_int(sum.lane);
}

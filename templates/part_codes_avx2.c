// 64 codes of one byte, 16 rows x 4 columns, and 16 exact sums: rows 0-7 and 8-15 in a register each.
typedef struct codes {
    __m256i low, high;
} codes;
typedef codes counts;

static inline codes codes_load(const uint8_t *p)
{
    return (codes){_mm256_loadu_si256((const __m256i *)p), _mm256_loadu_si256((const __m256i *)(p + 32))};
}
static inline codes codes_low(codes a)
{
    __m256i mask = _mm256_set1_epi8(15);
    return (codes){_mm256_and_si256(a.low, mask), _mm256_and_si256(a.high, mask)};
}
static inline codes codes_high(codes a)
{
    return codes_low((codes){_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)});
}
static inline __m256i join_half(__m256i low, __m256i upper, int from, int mask)
{
    __m256i moved = from < 4 ? _mm256_slli_epi16(upper, 4 - from) : _mm256_srli_epi16(upper, from - 4);
    return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8((char)mask)));
}
// Bits of upper, beginning with bit `from`, become those of the mask, which begins with bit 4.
static inline codes codes_join(codes low, codes upper, int from, int mask)
{
    return (codes){join_half(low.low, upper.low, from, mask), join_half(low.high, upper.high, from, mask)};
}
static inline counts counts_zero(void)
{
    return (counts){_mm256_setzero_si256(), _mm256_setzero_si256()};
}
static inline counts counts_add(counts a, counts b)
{
    return (counts){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
static inline __m256i four_activations(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return _mm256_set1_epi32(four);
}
// sum[r] += codes of row r times four activations. Two products fit int16: 2 * 63 * 128 = 16128.
static inline counts counts_dot(counts sum, codes a, const int8_t *q)
{
    __m256i four = four_activations(q), ones = _mm256_set1_epi16(1);
    __m256i low = _mm256_madd_epi16(_mm256_maddubs_epi16(a.low, four), ones);
    __m256i high = _mm256_madd_epi16(_mm256_maddubs_epi16(a.high, four), ones);
    return counts_add(sum, (counts){low, high});
}
// Codes to 255 would overflow int16 and are split: 2 * 15 * 128 fits, and the upper half counts 16 times.
static inline counts counts_dot_8(counts sum, codes a, const int8_t *q)
{
    counts upper = counts_dot(counts_zero(), codes_high(a), q);
    upper = (counts){_mm256_slli_epi32(upper.low, 4), _mm256_slli_epi32(upper.high, 4)};
    return counts_add(counts_dot(sum, codes_low(a), q), upper);
}
// (float)(sum - correction)
static inline lanes counts_floats(counts sum, int32_t correction)
{
    __m256i less = _mm256_set1_epi32(correction);
    return lanes_pair(_mm256_cvtepi32_ps(_mm256_sub_epi32(sum.low, less)),
        _mm256_cvtepi32_ps(_mm256_sub_epi32(sum.high, less)));
}

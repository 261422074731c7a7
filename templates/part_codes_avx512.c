// 64 codes of one byte, 16 rows x 4 columns, and 16 exact sums: one register.
typedef __m512i codes;
typedef __m512i counts;

static inline codes codes_load(const uint8_t *p)
{
    return _mm512_loadu_si512(p);
}
static inline codes codes_low(codes a)
{
    return _mm512_and_si512(a, _mm512_set1_epi8(15));
}
static inline codes codes_high(codes a)
{
    return codes_low(_mm512_srli_epi16(a, 4));
}
// Bits 2 * set and 2 * set + 1 of upper become bits 4 and 5.
static inline codes codes_join(codes low, codes upper, int set)
{
    __m512i moved = set < 2 ? _mm512_sll_epi16(upper, _mm_cvtsi32_si128(4 - 2 * set))
                            : _mm512_srl_epi16(upper, _mm_cvtsi32_si128(2 * set - 4));
    return _mm512_or_si512(low, _mm512_and_si512(moved, _mm512_set1_epi8(0x30)));
}
static inline counts counts_zero(void)
{
    return _mm512_setzero_si512();
}
static inline counts counts_add(counts a, counts b)
{
    return _mm512_add_epi32(a, b);
}
// sum[r] += codes of row r times four activations: vpdpbusd does not saturate.
static inline counts counts_dot(counts sum, codes a, const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_dpbusd_epi32(sum, a, _mm512_set1_epi32(four));
}
static inline counts counts_dot_8(counts sum, codes a, const int8_t *q)
{
    return counts_dot(sum, a, q);
}
// (float)(sum - correction)
static inline lanes counts_floats(counts sum, int32_t correction)
{
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(correction)));
}

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
// Bits of upper, beginning with bit `from`, become those of the mask, which begins with bit 4.
static inline codes codes_join(codes low, codes upper, int from, int mask)
{
    __m512i moved = from < 4 ? _mm512_sll_epi16(upper, _mm_cvtsi32_si128(4 - from))
                             : _mm512_srl_epi16(upper, _mm_cvtsi32_si128(from - 4));
    return _mm512_or_si512(low, _mm512_and_si512(moved, _mm512_set1_epi8((char)mask)));
}
static inline counts counts_zero(void)
{
    return _mm512_setzero_si512();
}
static inline counts counts_add(counts a, counts b)
{
    return _mm512_add_epi32(a, b);
}
static inline __m512i four_activations(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, 4);
    return _mm512_set1_epi32(four);
}
% if isa.name == "avx512vnni" then
// sum[r] += codes of row r times four activations: vpdpbusd does not saturate.
static inline counts counts_dot(counts sum, codes a, const int8_t *q)
{
    return _mm512_dpbusd_epi32(sum, a, four_activations(q));
}
static inline counts counts_dot_8(counts sum, codes a, const int8_t *q)
{
    return counts_dot(sum, a, q);
}
% else
// sum[r] += codes of row r times four activations. Two products fit int16: 2 * 63 * 128 = 16128.
static inline counts counts_dot(counts sum, codes a, const int8_t *q)
{
    __m512i pairs = _mm512_maddubs_epi16(a, four_activations(q));
    return counts_add(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
// Codes to 255 would overflow int16 and are split: 2 * 15 * 128 fits, and the upper half counts 16 times.
static inline counts counts_dot_8(counts sum, codes a, const int8_t *q)
{
    counts upper = counts_dot(counts_zero(), codes_high(a), q);
    return counts_add(counts_dot(sum, codes_low(a), q), _mm512_slli_epi32(upper, 4));
}
% end
// (float)(sum - correction)
static inline lanes counts_floats(counts sum, int32_t correction)
{
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(correction)));
}

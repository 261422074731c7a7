% local wide = isa.bytes == 32
% part("part_vector")

% local p = wide and "_mm256" or "_mm"
#define vector_look_up(table, index) ${p}_shuffle_epi8(table, index)
// Bytes of two planes side by side, as int16: the lower, the upper half of every 16.
#define vector_join_low(low, high) ${p}_unpacklo_epi8(low, high)
#define vector_join_high(low, high) ${p}_unpackhi_epi8(low, high)

// A plane of 16 bytes in every lane.
static inline vector plane(const uint8_t *table)
{
    const __m128i once = _mm_load_si128((const __m128i *)table);
    return ${wide and "_mm256_broadcastsi128_si256(once)" or "once"};
}

% if wide then
// Adds 16 int16 sums to 16 outputs.
static inline void widen(int32_t *y, vector sums)
{
    const vector first = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(sums));
    const vector second = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(sums, 1));
    vector_store(y, vector_add32(vector_load(y), first));
    vector_store(y + 8, vector_add32(vector_load(y + 8), second));
}
% else
// Adds 8 int16 sums to 8 outputs: each above its own sign.
static inline void widen(int32_t *y, vector sums)
{
    const vector sign = _mm_srai_epi16(sums, 15);
    vector_store(y, vector_add32(vector_load(y), _mm_unpacklo_epi16(sums, sign)));
    vector_store(y + 4, vector_add32(vector_load(y + 4), _mm_unpackhi_epi16(sums, sign)));
}
% end

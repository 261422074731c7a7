// The 16 sums of subsets of four activations: q[i] counts in the entries that have bit i.
static inline void build_table(const int8_t *q, uint8_t *table)
{
    __m256i sums = _mm256_setzero_si256();
% for i = 0, 3 do
%     local row = {}
%     for s = 0, 15 do row[#row + 1] = -(s >> i & 1) end
    const __m256i has${i} = _mm256_setr_epi16(${table.concat(row, ", ")});
    sums = _mm256_add_epi16(sums, _mm256_and_si256(has${i}, _mm256_set1_epi16(q[${i}])));
% end
    // The pack gives, lane by lane, 8 low and 8 high bytes; the permutation joins the lanes.
    const __m256i planes = _mm256_packus_epi16(_mm256_and_si256(sums, _mm256_set1_epi16(255)),
                                               _mm256_srli_epi16(sums, 8));
    _mm256_store_si256((__m256i *)table, _mm256_permute4x64_epi64(planes, _MM_SHUFFLE(3, 1, 2, 0)));
}

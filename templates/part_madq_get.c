// The code of weight 4j + i of a block: `at` is its byte in the block's first vector.
static inline uint32_t get_code(const uint8_t *at, uint32_t j)
{
% if bits == 4 then
    return (uint32_t)at[j / 2 * 64] >> j % 2 * 4 & 15u;
% elseif bits == 3 then
    return ((uint32_t)at[j / 4 * 64] >> j % 4 * 2 & 3u) | ((uint32_t)at[128] >> j & 1u) << 2;
% elseif bits == 2 then
    return (uint32_t)at[j / 4 * 64] >> j % 4 * 2 & 3u;
% else
    return (uint32_t)at[0] >> j & 1u;
% end
}

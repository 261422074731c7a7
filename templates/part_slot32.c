// Where row r of a tile is among the bytes of ${of}.
static inline uint32_t slot_of(uint32_t r)
{
    return r / 32 * 32 + r % 16 / 8 * 16 + r % 32 / 16 * 8 + r % 8;
}

// Codes come in blocks of four, each with a byte of signs for every row before it; the last block of a scale group may
// have fewer.
static inline size_t stored_bytes(uint32_t codes, uint32_t rows)
{
    return ((size_t)codes + (codes + 3) / 4) * rows;
}

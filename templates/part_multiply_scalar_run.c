static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = (size_t)codes.total * ${rows * 4 * (bits or 1)};
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t n = 0; n < matmul->tokens; n++) {
            const uint8_t *block = matmul->tiles + t * tile_bytes;
            const int8_t *q = (const int8_t *)(matmul->prepared + n * matmul->prepared_stride);
            for (uint32_t g = 0; g < codes.groups; g++) {
                int32_t *y = matmul->y + ((size_t)n * codes.groups + g) * matmul->y_stride +
                             (size_t)(t - matmul->tile_begin) * ${rows};
                const uint32_t blocks = g + 1 < codes.groups ? codes.full : codes.last;
                memset(y, 0, ${rows} * sizeof *y);
                for (uint32_t b = 0; b < blocks; b++, q += ${bits and 32 or 16}) {
                    for (uint32_t r = 0; r < ${rows}; r += 16, block += ${64 * (bits or 1)})
                        add_block(block, q, y + r);
                }
            }
        }
    }
}

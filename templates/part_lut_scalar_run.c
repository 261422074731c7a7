static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
% if family == "lut5" then
    // Behind the codes lie counts of one or two bytes, not needed here.
    const size_t counts = (size_t)codes.groups * (codes.full <= 255 ? 1 : 2);
    const size_t tile_bytes = (codes.total + counts) * ${rows};
% else
    const size_t tile_bytes = ((size_t)codes.total * ${rows} + 63) / 64 * 64;
% end
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t n = 0; n < matmul->tokens; n++) {
            const uint8_t *w = matmul->tiles + t * tile_bytes;
            const uint8_t *table = matmul->prepared + n * matmul->prepared_stride;
            for (uint32_t g = 0; g < codes.groups; g++) {
                int32_t *y = matmul->y + ((size_t)n * codes.groups + g) * matmul->y_stride +
                             (size_t)(t - matmul->tile_begin) * ${rows};
                const uint32_t count = g + 1 < codes.groups ? codes.full : codes.last;
                memset(y, 0, ${rows} * sizeof *y);
                for (uint32_t c = 0; c < count; c++, w += ${rows}, table += TABLE_BYTES) {
                    for (uint32_t r = 0; r < ${rows}; r++)
                        y[r] += lookup(table, w[slot_of(r)]);
                }
            }
        }
    }
}

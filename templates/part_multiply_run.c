static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = (size_t)codes.total * ${rows * 4 * (bits or 1)};
    const size_t sums_at = sums_offset(&codes);
    const size_t stride = matmul->prepared_stride;
    const size_t y_step = codes.groups * matmul->y_stride;
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
% if tokens > 1 then
        uint32_t n = 0;
% end
% for block, head in token_blocks(tokens) do
        ${head} {
            const uint8_t *w = matmul->tiles + t * tile_bytes;
            const uint8_t *q = matmul->prepared + n * stride;
            const uint8_t *sums = q + sums_at;
            int32_t *y = matmul->y + n * y_step + (size_t)(t - matmul->tile_begin) * ${rows};
            for (uint32_t g = 0; g < codes.groups; g++) {
                const uint32_t blocks = g + 1 < codes.groups ? codes.full : codes.last;
                ${name}_${block}(w, q, sums, stride, blocks, y, y_step);
                w += (size_t)blocks * ${rows * 4 * (bits or 1)};
                q += (size_t)blocks * ${bits and 32 or 16};
                sums += 4;
                y += matmul->y_stride;
            }
        }
% end
    }
}

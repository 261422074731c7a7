static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
% if family == "lut5" then
    const size_t count_bytes = codes.full <= 255 ? 1 : 2;
    const size_t tile_bytes = (codes.total + codes.groups * count_bytes) * ${rows};
% elseif family == "lut3" then
    const size_t bytes = (codes.groups - 1) * stored_bytes(codes.full, ${rows}) +
                         stored_bytes(codes.last, ${rows});
    const size_t tile_bytes = (bytes + 63) / 64 * 64;
% else
    const size_t tile_bytes = ((size_t)codes.total * ${rows} + 63) / 64 * 64;
% end
    const size_t stride = matmul->prepared_stride;
    const size_t y_step = codes.groups * matmul->y_stride;
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
% if tokens > 1 then
        uint32_t n = 0;
% end
% for _, block in ipairs(tokens > 1 and { tokens, 1 } or { 1 }) do
%     local first = tokens > 1 and "" or "uint32_t n = 0"
%     local step = block > 1 and ("n += %d"):format(block) or "n++"
%     local condition = block > 1 and ("n + %d <= matmul->tokens"):format(block) or "n < matmul->tokens"
        for (${first}; ${condition}; ${step}) {
            const uint8_t *w = matmul->tiles + t * tile_bytes;
% if family == "lut5" then
            const uint8_t *counts = w + (size_t)codes.total * ${rows};
% end
            const uint8_t *table = matmul->prepared + n * stride;
            int32_t *y = matmul->y + n * y_step + (size_t)(t - matmul->tile_begin) * ${rows};
            for (uint32_t g = 0; g < codes.groups; g++) {
                const uint32_t count = g + 1 < codes.groups ? codes.full : codes.last;
% if family == "lut5" then
                start(counts, count_bytes, y, y_step, ${rows}, ${block});
                counts += count_bytes * ${rows};
% else
                start(y, y_step, ${rows}, ${block});
% end
                ${name}_${block}(w, table, stride, count, y, y_step);
                w += ${family == "lut3" and ("stored_bytes(count, %d)"):format(rows) or ("(size_t)count * %d"):format(rows)};
                table += (size_t)count * TABLE_BYTES;
                y += matmul->y_stride;
            }
        }
% end
    }
}

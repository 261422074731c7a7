% local per_code = rows * (bits or 1)
% -- Of a tile that workers may share, the rows from r on: as many as one function takes.
% local all_heights, in_spans = heights(rows, span), span < rows
% local from_r, height = in_spans and " + r" or "", in_spans and "height" or rows
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
    const size_t tile_bytes = ((size_t)codes.total * ${per_code} + 63) / 64 * 64;
% end
% if bits then
    const size_t sums_at = sums_offset(&codes);
% end
    const size_t stride = matmul->prepared_stride;
    const size_t y_step = codes.groups * matmul->y_stride;
% if in_spans then
    const uint32_t row_end = matmul->row_end ? matmul->row_end : ${rows};
% end
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
% if tokens > 1 then
        uint32_t n = 0;
% end
% for block, head in token_blocks(tokens) do
% if in_spans then
        ${head}
        for (uint32_t r = matmul->row_begin, height; r < row_end; r += height) {
            height = ${rows}; // or the tallest that is left
%     for i = 2, #all_heights do
            if (row_end - r < height) height = ${all_heights[i]};
%     end
% else
        ${head} {
% end
            const uint8_t *w = matmul->tiles + t * tile_bytes${from_r};
% if family == "lut5" then
            const uint8_t *counts = w + (size_t)codes.total * ${rows}${in_spans and " + (count_bytes - 1) * r" or ""};
% end
            const uint8_t *table = matmul->prepared + n * stride;
% if bits then
            const uint8_t *sums = table + sums_at;
% end
            int32_t *y = matmul->y + n * y_step + (size_t)(t - matmul->tile_begin) * ${rows}${from_r};
            for (uint32_t g = 0; g < codes.groups; g++) {
                const uint32_t count = g + 1 < codes.groups ? codes.full : codes.last;
% if family == "lut5" then
                start(counts, count_bytes, y, y_step, ${height}, ${block});
                counts += count_bytes * ${rows};
% elseif not bits then
                start(y, y_step, ${height}, ${block});
% end
% if family == "lut5" then
%     for i, each in ipairs(all_heights) do
%         local condition = i == #all_heights and "" or ("if (height == %d) "):format(each)
                ${i > 1 and "else " or ""}${condition}${name}_${block}_r${each}(w, table, stride, count, y, y_step);
%     end
% else
                ${name}_${block}(w, table, ${bits and "sums, " or ""}stride, count, y, y_step);
% end
                w += ${family == "lut3" and ("stored_bytes(count, %d)"):format(rows) or "(size_t)count * " .. per_code};
                table += (size_t)count * TABLE_BYTES;
% if bits then
                sums += 4;
% end
                y += matmul->y_stride;
            }
        }
% end
    }
}

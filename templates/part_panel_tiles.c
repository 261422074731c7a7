% local fetched = prefetch > 0
% if fetched then
// Fetches lines of the weights that are decoded later into the second-level cache: among the products, not among the decoding,
// where so many at once would wait for each other. The first line is i of the next panel's.
static inline void ${name}_fetch(const uint8_t *next, uint32_t i, uint32_t lines)
{
    for (const uint32_t end = i + lines; i < end; i++)
        _mm_prefetch((const char *)next + ${line_at}, _MM_HINT_T1);
}

% end
%     -- A micro-tile of outputs: so many blocks of 16 tokens by so many vectors of 16 rows, in tiles 0 to 3.
%     local function micro_tile(suffix, blocks, wide, comment)
// ${comment}
static inline void ${name}_${suffix}(const uint8_t *panel, uint32_t quads, const uint8_t *q, size_t stride,
                                     int32_t *y, size_t y_step, bool first${fetched and "," or ")"}
%         if fetched then
                                     const uint8_t *next, uint32_t line, uint32_t lines)
%         end
{
%         if blocks > 1 then
    const size_t block = 16 * stride, y_block = 16 * y_step;
%         end
%         for v = 0, vectors - 1, wide do
%             local function output(b, w)
%                 local at = (b == 0 and "" or b == 1 and " + y_block" or (" + %d * y_block"):format(b))
%                 return "y" .. at .. (v + w > 0 and (" + %d"):format(16 * (v + w)) or "")
%             end
    if (first) {
%             for i = 0, blocks * wide - 1 do
        tmac_tile_zero(${i});
%             end
    } else {
%             for b = 0, blocks - 1 do
%                 for w = 0, wide - 1 do
        tmac_tile_load(${b * wide + w}, ${output(b, w)}, y_step * sizeof *y);
%                 end
%             end
    }
    for (uint32_t k = 0; k < quads / 16; k++) {
        const uint8_t *from = q + k * 64, *w = panel + k * ${16 * 64 * vectors}${v > 0 and " + " .. 64 * v or ""};
%             if fetched then
        ${name}_fetch(next, line, lines);
        line += lines;
%             end
%             for b = 0, blocks - 1 do
%                 local activations = blocks > 2 and 5 + b % 3 or 6 + b
        tmac_tile_load(${activations}, from${b == 0 and "" or b == 1 and " + block" or " + " .. b .. " * block"}, stride);
%                 for w = 0, wide - 1 do
%                     if b == 0 then
        tmac_tile_load(${4 + w % 2}, w${w > 0 and " + " .. 64 * w or ""}, ${64 * vectors});
%                     end
        tmac_tile_multiply(${b * wide + w}, ${activations}, ${4 + w % 2});
%                 end
%             end
    }
%             for b = 0, blocks - 1 do
%                 for w = 0, wide - 1 do
    tmac_tile_store(${b * wide + w}, ${output(b, w)}, y_step * sizeof *y);
%                 end
%             end
%         end
}

%     end
%     local blocks = vectors == 1 and 4 or 2
%     micro_tile("blocks", blocks, math.min(vectors, 2), ("%d tokens by a panel of whole tiles: adds to y, or sets it."):format(16 * blocks))
%     micro_tile("block", 1, vectors, "As many tokens as the tiles have rows, 16 at most.")
%     local indent = (" "):rep(#(name .. "_block("))
%     local fetching = fetched and ", next, line, lines" or ""
static inline void ${name}_multiply(const tmac_matmul *matmul, const uint8_t *panel, uint32_t quads,
                                    const uint8_t *q, int32_t *y, size_t y_step, bool first${fetched and "," or ")"}
%     if fetched then
                                    const uint8_t *next, uint32_t all_lines)
%     end
{
    const size_t stride = matmul->prepared_stride;
    const uint32_t tokens = matmul->tokens;
%     if fetched then
    const uint32_t steps = quads / 16${vectors > 2 and " * (tokens < 32 ? 1 : 2)" or ""}, turns = (tokens + ${16 * blocks - 1}) / ${16 * blocks};
    const uint32_t lines = (all_lines + steps * turns - 1) / (steps * turns);
    uint32_t line = 0;
%     end
    uint32_t n = 0;
    for (; n + ${16 * blocks} <= tokens; n += ${16 * blocks}) {
        ${name}_blocks(panel, quads, q + n * stride, stride, y + n * y_step, y_step,
        ${indent} first${fetching});
%     if fetched then
        line += steps * lines;
%     end
    }
    for (; n + 16 <= tokens; n += 16) {
        ${name}_block(panel, quads, q + n * stride, stride, y + n * y_step, y_step,
        ${indent}first${fetching});
%     if fetched then
        line += steps * lines;
%     end
    }
    if (n == tokens) return;
    if (n > 0) configure_tiles(tokens - n);
    ${name}_block(panel, quads, q + n * stride, stride, y + n * y_step, y_step,
    ${indent}first${fetching});
    if (n > 0) configure_tiles(16);
}

% local vectors = rows // width
% local function token(pointer, stride, n, offset)
%     local text = pointer
%     if n == 1 then text = text .. " + " .. stride elseif n > 1 then text = text .. (" + %d * %s"):format(n, stride) end
%     return offset > 0 and text .. " + " .. offset or text
% end
% local function group(count)
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}. s and t hold the even and the odd 16 rows of ${width == 32 and "32" or "each 32"}, per plane.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, const uint8_t *sums, size_t stride, uint32_t codes,
    int32_t *y, size_t y_step)
{
    const vector nibble = bytes_of(15);
% if count == 1 then
    (void)stride, (void)y_step; // of one token
% end

% for n = 0, count - 1 do
    start(${token("sums", "stride", n, 0)}, ${token("y", "y_step", n, 0)}, ${rows});
% end
    while (codes > 0) {
        const uint32_t segment = codes < SEGMENT ? codes : SEGMENT;
        codes -= segment;
        leave_outputs_in_memory();
% for p = 0, bits - 1 do
%     for v = 0, vectors - 1 do
%         for n = 0, count - 1 do
%             local id = ("%d_%d_%d"):format(p, v, n)
        vector s${id} = bytes_of(0), t${id} = bytes_of(0);
%         end
%     end
% end
        for (uint32_t c = 0; c < segment; c++, w += ${rows * bits}, table += TABLE_BYTES) {
% for n = 0, count - 1 do
            const vector low_a${n} = plane(${token("table", "stride", n, 0)}), high_a${n} = plane(${token("table", "stride", n, 16)});
            const vector low_b${n} = plane(${token("table", "stride", n, 32)}), high_b${n} = plane(${token("table", "stride", n, 48)});
% end
% for p = 0, bits - 1 do
%     for v = 0, vectors - 1 do
%         local offset = p * rows + v * width
%         local x = p .. "_" .. v

            const vector x${x} = load(${token("w", "", 0, offset)});
%         if offset % 64 == 0 then part("part_prefetch", { offset = offset, indent = "            " }) end
            const vector a${x} = and_of(x${x}, nibble), b${x} = and_of(high_nibbles(x${x}), nibble);
%         for n = 0, count - 1 do
%             local id = x .. "_" .. n
%             for _, half in ipairs({ "a", "b" }) do
            const vector low_${half}${id} = look_up(low_${half}${n}, ${half}${x});
            const vector high_${half}${id} = look_up(high_${half}${n}, ${half}${x});
            s${id} = add(s${id}, interleave_low(low_${half}${id}, high_${half}${id}));
            t${id} = add(t${id}, interleave_high(low_${half}${id}, high_${half}${id}));
%             end
%         end
%     end
% end
        }
% for n = 0, count - 1 do
%     for v = 0, vectors - 1 do
%         for p = 0, bits - 1 do
%             local id = ("%d_%d_%d"):format(p, v, n)
        widen(${token("y", "y_step", n, width * v)}, s${id}, t${id}, ${bits == 1 and 1 or p});
%         end
%     end
% end
    }
}
% end
% group(1)
% if tokens > 1 then

%     group(tokens)
% end

static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = ((size_t)codes.total * ${rows * bits} + 63) / 64 * 64;
    const size_t sums_at = sums_offset(&codes);
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
            const uint8_t *table = matmul->prepared + n * stride;
            const uint8_t *sums = table + sums_at;
            int32_t *y = matmul->y + n * y_step + (size_t)(t - matmul->tile_begin) * ${rows};
            for (uint32_t g = 0; g < codes.groups; g++) {
                const uint32_t count = g + 1 < codes.groups ? codes.full : codes.last;
                ${name}_${block}(w, table, sums, stride, count, y, y_step);
                w += (size_t)count * ${rows * bits};
                table += (size_t)count * TABLE_BYTES;
                sums += 4;
                y += matmul->y_stride;
            }
        }
% end
    }
}

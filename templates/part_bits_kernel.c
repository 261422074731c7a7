% local vectors = rows // width
% -- The rows of a register's sums: slot_of in layout_bits.c.
% local function first_row(v) return width == 16 and v // 2 * 32 + v % 2 * 8 or width * v end
% local prefetch_part = isa.arch == "x86_64" and "part_prefetch" or "part_prefetch_arm"
% for _, count in ipairs(block_sizes(tokens)) do
// One scale group of a tile for ${count == 1 and "one token" or count .. " tokens"}. s and t hold the even and the odd 16 rows of ${width <= 32 and "32" or "each 32"}${width == 16 and ", eight of each" or ""}, per plane.
static inline void ${name}_${count}(
    const uint8_t *w, const uint8_t *table, const uint8_t *sums, size_t stride, uint32_t codes,
    int32_t *y, size_t y_step)
{
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
%         if offset % 64 == 0 then part(prefetch_part, { offset = offset, indent = "            " }) end
            const vector a${x} = low_nibbles(x${x}), b${x} = high_nibbles(x${x});
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
        widen(${token("y", "y_step", n, first_row(v))}, s${id}, t${id}, ${bits == 1 and 1 or p});
%         end
%     end
% end
    }
}

% end
% part("part_lut_run")

// Many tokens: the weights of 16 rows are decoded once, PANEL_BLOCKS blocks at a time, into the order in which usmmla
// takes them, and all tokens of the call are multiplied with this panel, four by four. So decoding, ten instructions for
// every eight products of four tokens, is shared by all of them.
//
// For each block and four rows of it: fields 0 and 1 of two rows and of the other two, then fields 2 and 3 likewise.
static inline void ${name}_decode(const uint8_t *w, uint32_t blocks, uint8_t *panel)
{
    const uint8x16_t three = vdupq_n_u8(3);

    for (uint32_t b = 0; b < blocks; b++, w += 64, panel += PANEL_BLOCK_BYTES) {
% for v = 0, 3 do
        const uint8x16_t x${v} = vld1q_u8(${v == 0 and "w" or "w + " .. 16 * v});
%     if v == 0 then part("part_prefetch_arm", { offset = 0, indent = "        " }) end
        const uint8x16_t w${v}_0 = vandq_u8(x${v}, three);
        const uint8x16_t w${v}_1 = vandq_u8(vshrq_n_u8(x${v}, 2), three);
        const uint8x16_t w${v}_2 = vandq_u8(vshrq_n_u8(x${v}, 4), three);
        const uint8x16_t w${v}_3 = vshrq_n_u8(x${v}, 6);
        vst1q_u8(${v == 0 and "panel" or "panel + " .. 64 * v}, first_rows(w${v}_0, w${v}_1));
        vst1q_u8(panel + ${64 * v + 16}, last_rows(w${v}_0, w${v}_1));
        vst1q_u8(panel + ${64 * v + 32}, first_rows(w${v}_2, w${v}_3));
        vst1q_u8(panel + ${64 * v + 48}, last_rows(w${v}_2, w${v}_3));
% end
    }
}

// Adds a panel's product with four tokens to y: s<v>_<p> and t<v>_<p> are rows 4v, 4v + 1 and rows 4v + 2, 4v + 3 of
// tokens 2p and 2p + 1.
static inline void ${name}_multiply(
    const uint8_t *panel, const uint8_t *q, size_t stride, uint32_t blocks, int32_t *y, size_t y_step)
{
% for v = 0, 3 do
%     for p = 0, 1 do
%         local even = p == 0 and "y" or "y + 2 * y_step"
%         local odd = p == 0 and "y + y_step" or "y + 3 * y_step"
%         local at = v == 0 and "" or " + " .. 4 * v
    int32x4_t s${v}_${p} = vzip1q_s32(vld1q_s32(${even}${at}), vld1q_s32(${odd}${at}));
    int32x4_t t${v}_${p} = vzip2q_s32(vld1q_s32(${even}${at}), vld1q_s32(${odd}${at}));
%     end
% end
    for (uint32_t b = 0; b < blocks; b++, panel += PANEL_BLOCK_BYTES, q += 16) {
        const uint8x16_t q0 = vld1q_u8(q), q1 = vld1q_u8(q + stride);
        const uint8x16_t q2 = vld1q_u8(q + 2 * stride), q3 = vld1q_u8(q + 3 * stride);
        const int8x16_t a0 = first_eight(q0, q1), b0 = last_eight(q0, q1);
        const int8x16_t a1 = first_eight(q2, q3), b1 = last_eight(q2, q3);
% for half, side in ipairs { "a", "b" } do
%     for v = 0, 3 do

        const uint8x16_t first${v}${side} = vld1q_u8(panel + ${64 * v + 32 * (half - 1)});
        const uint8x16_t last${v}${side} = vld1q_u8(panel + ${64 * v + 32 * (half - 1) + 16});
%         for p = 0, 1 do
        s${v}_${p} = vusmmlaq_s32(s${v}_${p}, first${v}${side}, ${side}${p});
        t${v}_${p} = vusmmlaq_s32(t${v}_${p}, last${v}${side}, ${side}${p});
%         end
%     end
% end
    }
% for p = 0, 1 do
%     for v = 0, 3 do
%         local at = v == 0 and "" or " + " .. 4 * v
    store_rows(${p == 0 and "y" or "y + 2 * y_step"}${at}, ${p == 0 and "y + y_step" or "y + 3 * y_step"}${at}, s${v}_${p}, t${v}_${p});
%     end
% end
}

static void ${name}(const tmac_matmul *matmul)
{
    const geometry codes = geometry_of(matmul->shape.columns, matmul->shape.group);
    const size_t tile_bytes = (size_t)codes.total * 64;
    const size_t sums_at = sums_offset(&codes);
    const size_t stride = matmul->prepared_stride;
    const size_t y_step = codes.groups * matmul->y_stride;
    const uint32_t fours = matmul->tokens & ~3u;
    _Alignas(64) uint8_t panel[PANEL_BLOCKS * PANEL_BLOCK_BYTES];
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t g = 0; g < codes.groups; g++) {
            const uint32_t blocks = g + 1 < codes.groups ? codes.full : codes.last;
            const uint8_t *w = matmul->tiles + t * tile_bytes + (size_t)g * codes.full * 64;
            const uint8_t *q = matmul->prepared + (size_t)g * codes.full * 16;
            const uint8_t *sums = matmul->prepared + sums_at + (size_t)g * 4;
            int32_t *y = matmul->y + g * matmul->y_stride + (size_t)(t - matmul->tile_begin) * 16;
            for (uint32_t n = 0; n < fours; n++) {
                const int32x4_t offset = vdupq_n_s32(-sum_of(sums + n * stride));
                for (uint32_t r = 0; r < 16; r += 4)
                    vst1q_s32(y + n * y_step + r, offset);
            }
            for (uint32_t done = 0; fours > 0 && done < blocks; done += PANEL_BLOCKS) {
                const uint32_t count = blocks - done < PANEL_BLOCKS ? blocks - done : PANEL_BLOCKS;
                ${name}_decode(w + (size_t)done * 64, count, panel);
                for (uint32_t n = 0; n < fours; n += 4)
                    ${name}_multiply(panel, q + n * stride + (size_t)done * 16, stride, count,
                                     y + n * y_step, y_step);
            }
            for (uint32_t n = fours; n < matmul->tokens; n++)
                ${name}_1(w, q + n * stride, sums + n * stride, stride, blocks, y + n * y_step, y_step);
        }
    }
}

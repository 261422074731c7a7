% local amx = isa.name == "amx"
% local lut5 = family == "lut5"
// ${family} for many tokens on ${isa.name}: a panel of rows is decoded to bytes once, then all tokens are multiplied by it.
//
// A panel is up to 64 rows by some hundred weights along K, on the stack, small enough for the first-level cache. Its unit
// is a quad: four weights along K of 16 rows, byte r * 4 + i of 64 belonging to weight i of row r.
% if amx then
// A byte is the weight itself; 16 quads are what a tile product takes.
% else
// A byte is the weight plus one (0, 1, 2), as vpdpbusd takes it. The plus one is made up for by the sum of the scale group's
// activations, with whose negative the outputs start.
% end
//
% if lut5 then
// Decoding: four codes of 64 rows are transposed, so that a vector holds four neighbouring codes of each of 16 rows. Then
// vpermi2b looks up 64 codes at once: four digits plus one, of two bits each, in a byte, and the fifth in another. Where
// bit 7 is set, each becomes 2 minus itself. Digit j of 64 codes is a whole quad: the same digit of four codes, so the
// activations come in that order. The transposition shuffles the rows, four by four, and the outputs with them: they are
// put in order when a scale group is done.
//
% end
% if amx then
// A tile of activations is 16 tokens by 64 bytes, straight from memory. Four tiles of outputs are held at once, of two blocks
// of 16 tokens by two vectors of 16 rows if there are so many: four tiles loaded for four products, which is what the load
// ports keep up with. The first panel of a scale group starts from zeros, the others from the outputs, in memory. The last
// tokens use fewer rows of the tiles. A tile of activations may reach past the end of its scale group: there the panel holds
// zeros, and what lies behind the last group is the 64 bytes of sums at least, so that nothing beyond the prepared
// activations is read.
// Sums are below 128 * K < 2^31.
% else
// The sums of a few tokens by 64 rows stay in registers while a panel is read; then they are kept in the outputs.
// Sums may pass 2^31 on the way and wrap: additions wrap exactly, and the last one is below 128 * K < 2^31 again.
% end
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

% if amx then
#include "runtime/amx_tiles.h"
% end
#include "runtime/kernel.h"

% local block = lut5 and 20 or 16
// The activations' geometry: blocks of ${block}.
% part("part_geometry", { code_length = block })

% part("part_bytes", { block = block })

enum { FEW_TOKENS = 32 };

% if amx then
// Tiles 4 and 5 hold weights, 16 quads; the others as many tokens as are left, 16 at most.
static inline void configure_tiles(uint32_t tokens)
{
    tmac_tile_config config = {.palette = 1};
    for (uint32_t tile = 0; tile < 8; tile++) {
        config.bytes[tile] = 64;
        config.rows[tile] = (uint8_t)(tile == 4 || tile == 5 ? 16 : tokens);
    }
    tmac_tile_configure(&config);
}
% else
% part("part_sum_of")

// A sum is updated in place. Left to itself, GCC keeps a second copy of every sum and spills them all.
static inline __m512i add_products(__m512i sum, __m512i weights, __m512i four)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(weights), "v"(four));
    return sum;
}

% part("part_broadcast_four", { vector = "__m512i", set = "_mm512_set1_epi32(%s)" })
% end

% if amx then
// Each byte's field f of two bits, a weight plus one, as the weight: bit 0 is the opposite of the field's bit 0, all others
// are the opposite of the sum of its two bits. Affine, so one instruction.
% else
// Each byte's field f of two bits: a weight plus one.
% end
static inline __m512i field(__m512i fields, int f)
{
% if amx then
    return _mm512_gf2p8affine_epi64_epi8(fields, _mm512_set1_epi64(0x0103030303030303 << 2 * f), 0xff);
% else
    const __m512i lowest = _mm512_srl_epi16(fields, _mm_cvtsi32_si128(2 * f));
    return _mm512_and_si512(lowest, _mm512_set1_epi8(3));
% end
}
% if lut5 then

// Of code v: digits 0 to 3, plus one, at bits 2j and 2j + 1.
static const uint8_t four_digits[128] __attribute__((aligned(64))) = {
% for v = 0, 127, 16 do
%     local row = {}
%     for i = v, v + 15 do
%         local byte = 0
%         for j = 0, 3 do byte = byte + ((digit(i, j, 121) + 1) << 2 * j) end
%         row[#row + 1] = byte
%     end
    ${table.concat(row, ", ")},
% end
};

// Digit 4${amx and "" or ", plus one"}.
static const ${amx and "int8_t" or "uint8_t"} last_digit[128] __attribute__((aligned(64))) = {
% for v = 0, 127, 16 do
%     local row = {}
%     for i = v, v + 15 do row[#row + 1] = digit(i, 4, 121) + (amx and 0 or 1) end
    ${table.concat(row, ", ")},
% end
};

static const uint8_t no_code[64] __attribute__((aligned(64)));

// What a table has for 64 codes; where they are negative, `twice` less that: twice the digit 0, plus one, of each field.
static inline __m512i look_up(const void *table, __m512i codes, __mmask64 negative, char twice)
{
    const __m512i low = _mm512_load_si512(table);
    const __m512i high = _mm512_load_si512((const uint8_t *)table + 64);
    const __m512i found = _mm512_permutex2var_epi8(low, codes, high);
    return _mm512_mask_sub_epi8(found, negative, _mm512_set1_epi8(twice), found);
}

// The five quads of 16 rows' four codes; quads of the same rows are 256 bytes apart.
static inline void decode_quads(uint8_t *panel, __m512i codes)
{
    const __mmask64 negative = _mm512_movepi8_mask(codes);
    const __m512i four = look_up(four_digits, codes, negative, (char)0xaa);
% for j = 0, 3 do
    _mm512_store_si512(panel + ${256 * j}, field(four, ${j}));
% end
    _mm512_store_si512(panel + 1024, look_up(last_digit, codes, negative, ${amx and 0 or 2}));
}

// Vectors 0 and 1 hold rows 0 to 31, vectors 2 and 3 the others, four rows in turn from each.
static inline void put_in_order(int32_t *y)
{
    const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    for (uint32_t half = 0; half < 64; half += 32) {
        const __m512i even = _mm512_load_si512(y + half), odd = _mm512_load_si512(y + half + 16);
        _mm512_store_si512(y + half, _mm512_permutex2var_epi64(even, first, odd));
        _mm512_store_si512(y + half + 16, _mm512_permutex2var_epi64(even, second, odd));
    }
}
% end

%% kernel
% local amx, lut5 = isa.name == "amx", family == "lut5"
% local height = math.min(rows, 64)
% local vectors = height // 16
% -- Whole codes and whole tiles; with 16 tokens' activations within the first-level cache, and half of it at most. Few tokens
% -- want short ones, so that memory does not rest while one is multiplied.
% local panel_columns = amx and not lut5 and (height == 64 and 384 or 640) or 320
% local few_columns = amx and not lut5 and ({ [64] = 128, [32] = 192 })[height] or panel_columns
// Decodes ${lut5 and "codes" or "blocks"} of ${height} rows into the panel, up to the last one that is there.
% local ahead = lut5 and prefetch > 0
% local spread = amx and prefetch > 0 -- with many tokens the next panel is fetched while this one is multiplied
% if spread then
// fetch: what comes later, too. A constant of each call, so that there is no branch.
static inline __attribute__((always_inline))
% else
static inline
% end
void ${name}_decode(const uint8_t *w, uint32_t count, uint8_t *panel${(spread or ahead) and "," or ")"}
% if spread or ahead then
% local indent = (" "):rep(#("void " .. name .. "_decode("))
${indent}${spread and "bool fetch" or ""}${spread and ahead and ", " or ""}${ahead and "const uint8_t *ahead, uint32_t pitch" or ""})
% end
{
% if lut5 then
    for (;; w += ${4 * rows}, ${ahead and "ahead += 4 * pitch, " or ""}count -= 4) {
        // Beyond the last code there are zeros.
% for c = 1, 3 do
        const uint8_t *from${c} = count > ${c} ? w + ${c * rows} : no_code;
% end
% if spread and lut5 then
        if (fetch) {
% end
% if ahead then
%     for c = 0, 3 do
        _mm_prefetch((const char *)ahead${c > 0 and " + " .. c .. " * pitch" or ""}, _MM_HINT_T1);
        _mm_prefetch((const char *)w + ${(16 + c) * rows}, _MM_HINT_T0);
%     end
% end
% if spread and lut5 then
        }
% end
        const __m512i x0 = _mm512_load_si512(w);
% for c = 1, 3 do
        const __m512i x${c} = _mm512_load_si512(from${c});
% end
        const __m512i low01 = _mm512_unpacklo_epi8(x0, x1);
        const __m512i high01 = _mm512_unpackhi_epi8(x0, x1);
        const __m512i low23 = _mm512_unpacklo_epi8(x2, x3);
        const __m512i high23 = _mm512_unpackhi_epi8(x2, x3);
        decode_quads(panel, _mm512_unpacklo_epi16(low01, low23));
        decode_quads(panel + 64, _mm512_unpackhi_epi16(low01, low23));
        decode_quads(panel + 128, _mm512_unpacklo_epi16(high01, high23));
        decode_quads(panel + 192, _mm512_unpackhi_epi16(high01, high23));
        if (count <= 4) break;
        panel += 5 * 256;
    }
% else
    for (uint32_t b = 0; b < count; b++, w += ${rows * 4}, panel += ${4 * 64 * vectors}) {
% for v = 0, vectors - 1 do
        const __m512i x${v} = _mm512_load_si512(w${v > 0 and " + " .. 64 * v or ""});
%     if spread then
        if (fetch) {
%         part("part_prefetch", { offset = 64 * v, indent = "            " })
        }
%     else
%         part("part_prefetch", { offset = 64 * v, indent = "        " })
%     end
%     for f = 0, 3 do
        _mm512_store_si512(panel + ${64 * (f * vectors + v)}, field(x${v}, ${f}));
%     end
% end
    }
% end
}

% if amx then
%     local line_at = lut5 and ("(size_t)i * %d"):format(rows)
%         or height == rows and "(size_t)i * 64" or ("(size_t)(i / %d) * %d + i %% %d * 64"):format(vectors, rows * 4, vectors)
%     part("part_panel_tiles", { vectors = vectors, line_at = line_at })
% else
% for i, block in ipairs({ tokens, 4, 2, 1 }) do
%     if i == 1 or block < tokens then
// ${block == 1 and "One token" or block .. " tokens"} by a panel: adds to y.
static inline void ${name}_${block}(const uint8_t *panel, uint32_t quads, const uint8_t *q, size_t stride,
                                    int32_t *y, size_t y_step)
{
%         if block == 1 then
    (void)stride, (void)y_step; // of one token
%         end
%         for n = 0, block - 1 do
%             for v = 0, vectors - 1 do
    __m512i s${v}_${n} = _mm512_load_si512(y${n > 0 and " + " .. n .. " * y_step" or ""}${v > 0 and " + " .. 16 * v or ""});
%             end
%         end
    for (uint32_t k = 0; k < quads; k++, panel += ${64 * vectors}, q += 4) {
%         for v = 0, vectors - 1 do
        const __m512i w${v} = _mm512_load_si512(panel${v > 0 and " + " .. 64 * v or ""});
%         end
%         for n = 0, block - 1 do
        const __m512i q${n} = broadcast_four(q${n > 0 and " + " .. n .. " * stride" or ""});
%             for v = 0, vectors - 1 do
        s${v}_${n} = add_products(s${v}_${n}, w${v}, q${n});
%             end
%         end
    }
%         for n = 0, block - 1 do
%             for v = 0, vectors - 1 do
    _mm512_store_si512(y${n > 0 and " + " .. n .. " * y_step" or ""}${v > 0 and " + " .. 16 * v or ""}, s${v}_${n});
%             end
%         end
}

%     end
% end
static inline void ${name}_multiply(const tmac_matmul *matmul, const uint8_t *panel, uint32_t quads,
                                    const uint8_t *q, int32_t *y, size_t y_step)
{
    const size_t stride = matmul->prepared_stride;
    uint32_t n = 0;
% for i, block in ipairs({ tokens, 4, 2, 1 }) do
%     if i == 1 or block < tokens then
    for (; n + ${block} <= matmul->tokens; n += ${block})
        ${name}_${block}(panel, quads, q + n * stride, stride, y + n * y_step, y_step);
%     end
% end
}
% end

% local indent = (" "):rep(#(name .. "_multiply("))
static void ${name}(const tmac_matmul *matmul)
{
    const geometry inputs = geometry_of(matmul->shape.columns, matmul->shape.group);
% if not amx then
    const size_t sums_at = sums_offset(&inputs);
% end
    const size_t y_step = inputs.groups * matmul->y_stride;
    const uint32_t group = matmul->shape.group;
    const uint32_t last = matmul->shape.columns - (inputs.groups - 1) * group;
% if lut5 then
    // The weights' geometry: codes of 5.
    const uint32_t full_codes = (group + 4) / 5, last_codes = (last + 4) / 5;
    const size_t total = (size_t)(inputs.groups - 1) * full_codes + last_codes;
    const size_t tile_bytes = (total + inputs.groups * (full_codes <= 255 ? 1u : 2u)) * ${rows};
% else
    const size_t tile_bytes = (size_t)inputs.total * ${rows * 4};
% end
    // All rows of a tile take their turns at the same columns, so that weights are read in the order in which they lie.
    // With many tokens their outputs would not stay near: then one panel's rows come first.
    const uint32_t row_end = matmul->row_end ? matmul->row_end : ${rows};
    const bool few = matmul->tokens <= FEW_TOKENS;
    const uint32_t band = few ? row_end - matmul->row_begin : ${height};
    const uint32_t most = ${few_columns == panel_columns and panel_columns or ("few ? %d : %d"):format(few_columns, panel_columns)};
    uint8_t panel[${panel_columns} * ${height}] __attribute__((aligned(64)));
% if amx then
    configure_tiles(matmul->tokens < 16 ? matmul->tokens : 16);
% end
    for (uint32_t t = matmul->tile_begin; t < matmul->tile_end; t++) {
        for (uint32_t first = matmul->row_begin; first < row_end; first += band) {
            const uint8_t *w = matmul->tiles + t * tile_bytes + first${lut5 and "" or " * 4"};
            int32_t *y = matmul->y + (size_t)(t - matmul->tile_begin) * ${rows} + first;
% if spread then
            const uint8_t *next_band = first + band < row_end ? w + ${lut5 and "band" or "band * 4"}
                                                              : matmul->tiles + (t + 1) * tile_bytes;
% end
            for (uint32_t g = 0; g < inputs.groups; g++, y += matmul->y_stride) {
                const uint8_t *q = matmul->prepared + (size_t)g * inputs.full * ${lut5 and 20 or 16};
% if not amx then
                const uint8_t *sums = matmul->prepared + sums_at + (size_t)g * 4;
% end
% if not amx then
                for (uint32_t n = 0; n < matmul->tokens; n++) {
                    const __m512i offset =
                        _mm512_set1_epi32(-sum_of(sums + n * matmul->prepared_stride));
                    for (uint32_t r = 0; r < band; r += 16)
                        _mm512_store_si512(y + n * y_step + r, offset);
                }
% end
                uint32_t left = g + 1 < inputs.groups ? group : last;
% if amx then
                bool first_panel = true;
% end
                while (left > 0) {
                    const uint32_t columns = left < most ? left : most;
% local length = lut5 and 5 or 16
                    const uint32_t count = (columns + ${length - 1}) / ${length};
                    const uint32_t filled = ${lut5 and "(columns + 19) / 20 * 5" or "(columns + 3) / 4"};
% if amx then
                    const uint32_t quads = (filled + 15) / 16 * 16;
% end
% if spread then
                    const uint32_t lines = few ? 0 : count${lut5 and "" or " * " .. vectors};
                    const uint8_t *next = left > columns || g + 1 < inputs.groups
                                              ? w + (size_t)count * ${lut5 and rows or rows * 4}
                                              : next_band;
% end
                    for (uint32_t r = 0; r < band; r += ${height}) {
% if lut5 and prefetch > 0 then
                        // All rows of these columns read them one line after the other, what comes after them likewise.
                        const uint32_t apart = band == ${rows} ? 64 : ${rows};
                        const uint8_t *ahead = w + ${math.max(prefetch, 64 * rows)} + (band == ${rows} ? r * 64 : 0);
%     if spread then
                        if (few)
                            ${name}_decode(w + r, count, panel, true, ahead, apart);
                        else
                            ${name}_decode(w + r, count, panel, false, ahead, apart);
%     else
                        ${name}_decode(w + r, count, panel, ahead, apart);
%     end
% else
%     if spread then
                        if (few)
                            ${name}_decode(w + r * 4, count, panel, true);
                        else
                            ${name}_decode(w + r * 4, count, panel, false);
%     else
                        ${name}_decode(w + r${lut5 and "" or " * 4"}, count, panel);
%     end
% end
% if amx then
                        memset(panel + filled * ${64 * vectors}, 0, (quads - filled) * ${64 * vectors});
% end
                        ${name}_multiply(matmul, panel, ${amx and "quads" or "filled"}, q, y + r, y_step${amx and "," or ");"}
% if amx then
                        ${indent}first_panel${spread and ", next, lines" or ""});
% end
                    }
% if amx then
                    first_panel = false;
% end
                    w += (size_t)count * ${lut5 and rows or rows * 4};
                    q += columns;
                    left -= columns;
                }
% if lut5 then
                for (uint32_t n = 0; n < matmul->tokens; n++)
                    for (uint32_t r = 0; r < band; r += 64) put_in_order(y + n * y_step + r);
% end
            }
        }
    }
% if amx then
    tmac_tile_release();
% end
}

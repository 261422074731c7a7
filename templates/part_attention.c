// Attention. Scores run sequentially over the head dimension, 16 positions side by side; of integers, the sum is
// multiplied by the position's scale, then by 1 / sqrt(head_dim) like all others. The softmax takes the exact maximum,
// then the exponentials, then their 16-lane sum. Weighted values are summed in order inside blocks of 64 absolute
// positions (of integers, the weight is multiplied by the position's scale first), and the blocks are added in order.
// So the bits depend neither on how many rows run together nor on who computes which block.
//
// Blocks are the outer loop: the keys or values of a block stay in the first cache while all rows meet them. Tiles of
// rows by 16 positions (or columns) keep enough multiply-adds in flight, and share one conversion among several rows.
% local kinds = {
%     numbers[1], numbers[2], { name = "i8", type = "int8_t", load = "lanes_load_i8", integer = true },
% }
% -- Rows that are handled together, most first, and with how many registers of 16 positions or columns. The wider the tile,
% -- the fewer conversions a product costs; 16 sums fit the registers of AVX-512, 4 those of the others.
% local tiles = lanes == "avx512" and { { 8, 2 }, { 4, 4 }, { 1, 4 } } or { { 4, 1 }, { 1, 1 } }
% local function rows_of(rest)
%     local text = tostring(tiles[#tiles][1])
%     for i = #tiles - 1, 1, -1 do text = ("%s >= %d ? %d : %s"):format(rest, tiles[i][1], tiles[i][1], text) end
%     return text
% end
% for _, number in ipairs(kinds) do
% for _, tile in ipairs(tiles) do
% local rows = tile[1]
% for _, blocks in ipairs(tile[2] > 1 and { tile[2], 1 } or { 1 }) do

static inline void score_${number.name}_${rows}x${blocks}(const tmac_attention *task, uint32_t first_row, uint32_t position)
{
    enum { ROWS = ${rows}, BLOCKS = ${blocks} };
    const size_t dim = task->head_dim, block = dim * TMAC_KEY_BLOCK;
    const ${number.type} *keys = (const ${number.type} *)task->keys + position * dim;
    const float *query = task->query + first_row * dim;
    lanes sum[ROWS][BLOCKS];
    for (int r = 0; r < ROWS; r++)
        for (int b = 0; b < BLOCKS; b++) sum[r][b] = lanes_set(0.0f);
    for (size_t d = 0; d < dim; d++, keys += TMAC_KEY_BLOCK) {
        lanes key[BLOCKS];
        for (size_t b = 0; b < BLOCKS; b++) {
            key[b] = ${number.load}(keys + b * block);
            __builtin_prefetch(keys + b * block + TMAC_OUTPUT_BLOCK * dim);
        }
        for (size_t r = 0; r < ROWS; r++) {
            lanes q = lanes_set(query[r * dim + d]);
            for (int b = 0; b < BLOCKS; b++) sum[r][b] = lanes_fma(q, key[b], sum[r][b]);
        }
    }
    lanes scale = lanes_set(1.0f / sqrtf((float)dim));
    float *scores = task->scores + first_row * task->score_stride + position;
    for (int b = 0; b < BLOCKS; b++, scores += TMAC_KEY_BLOCK) {
% if number.integer then
        lanes codes = lanes_load(task->key_scales + position + b * TMAC_KEY_BLOCK);
        for (int r = 0; r < ROWS; r++) sum[r][b] = lanes_multiply(sum[r][b], codes);
% end
        for (size_t r = 0; r < ROWS; r++)
            lanes_store(scores + r * task->score_stride, lanes_multiply(sum[r][b], scale));
    }
}
% end
% end

static void score_${number.name}(const tmac_attention *task, uint32_t begin, uint32_t end)
{
    const uint32_t rows = task->heads * task->tokens, last = task->positions + task->tokens - 1;
    for (uint32_t at = begin * TMAC_OUTPUT_BLOCK; at < end * TMAC_OUTPUT_BLOCK && at < last; at += TMAC_OUTPUT_BLOCK) {
        const uint32_t until = last - at < TMAC_OUTPUT_BLOCK ? last : at + TMAC_OUTPUT_BLOCK;
        for (uint32_t row = 0, step; row < rows; row += step) {
            const uint32_t rest = rows - row;
            uint32_t position = at;
            step = ${rows_of("rest")};
% for _, tile in ipairs(tiles) do
            if (step == ${tile[1]}) {
% if tile[2] > 1 then
                for (; position + ${tile[2]} * TMAC_KEY_BLOCK <= until; position += ${tile[2]} * TMAC_KEY_BLOCK)
                    score_${number.name}_${tile[1]}x${tile[2]}(task, row, position);
% end
                for (; position < until; position += TMAC_KEY_BLOCK)
                    score_${number.name}_${tile[1]}x1(task, row, position);
            }
% end
        }
    }
}
% for _, tile in ipairs(tiles) do
% local rows = tile[1]
% for _, columns in ipairs(tile[2] > 1 and { tile[2], 1 } or { 1 }) do

// Adds the weighted values of `count` positions to sums.
static inline void value_${number.name}_${rows}x${columns}(const tmac_attention *task, uint32_t first_row,
    uint32_t position, uint32_t count, uint32_t column, float *sums)
{
    enum { ROWS = ${rows}, COLUMNS = ${columns} };
    const size_t dim = task->head_dim;
    const ${number.type} *value = (const ${number.type} *)task->values + position * dim + column;
    const float *weights = task->scores + first_row * task->score_stride + position;
% if number.integer then
    const float *scales = task->value_scales + position;
% end
% if columns == 1 then
    const uint32_t width = task->head_dim - column < 16 ? task->head_dim - column : 16;
% end
    lanes sum[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) sum[r][c] = lanes_set(0.0f);
    for (uint32_t p = 0; p < count; p++, value += dim) {
        lanes v[COLUMNS];
% if columns == 1 then
        v[0] = width == 16 ? ${number.load}(value) : ${number.load}_part(value, width);
        __builtin_prefetch(value + TMAC_OUTPUT_BLOCK * dim);
% else
        for (int c = 0; c < COLUMNS; c++) {
            v[c] = ${number.load}(value + 16 * c);
            __builtin_prefetch(value + 16 * c + TMAC_OUTPUT_BLOCK * dim);
        }
% end
        for (size_t r = 0; r < ROWS; r++) {
            lanes weight = lanes_set(weights[r * task->score_stride + p]${number.integer and " * scales[p]" or ""});
            for (int c = 0; c < COLUMNS; c++) sum[r][c] = lanes_fma(weight, v[c], sum[r][c]);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        float *to = sums + (first_row + (uint32_t)r) * dim + column;
% if columns == 1 then
        lanes_store_part(to, lanes_add(lanes_load_part(to, width), sum[r][0]), width);
% else
        for (int c = 0; c < COLUMNS; c++) lanes_store(to + 16 * c, lanes_add(lanes_load(to + 16 * c), sum[r][c]));
% end
    }
}
% end
% end

static void value_${number.name}(const tmac_attention *task, uint32_t begin, uint32_t end, float *sums,
    size_t block_stride)
{
    const uint32_t rows = task->heads * task->tokens, dim = task->head_dim;
    for (uint32_t block = begin; block < end; block++, sums += block_stride) {
        if (block == begin || block_stride) memset(sums, 0, (size_t)rows * dim * sizeof *sums);
        const uint32_t at = block * TMAC_OUTPUT_BLOCK;
        // In a block that all tokens see in whole, rows of several tokens go together.
        const bool whole = at + TMAC_OUTPUT_BLOCK <= task->positions;
        for (uint32_t row = 0, step; row < rows; row += step) {
            const uint32_t token = row / task->heads, visible = task->positions + token;
            const uint32_t rest = (whole ? rows : (token + 1) * task->heads) - row;
            uint32_t count = visible > at ? visible - at : 0, column = 0;
            if (count > TMAC_OUTPUT_BLOCK) count = TMAC_OUTPUT_BLOCK;
            step = ${rows_of("rest")};
% for _, tile in ipairs(tiles) do
            if (step == ${tile[1]}) {
% if tile[2] > 1 then
                for (; column + ${16 * tile[2]} <= dim; column += ${16 * tile[2]})
                    value_${number.name}_${tile[1]}x${tile[2]}(task, row, at, count, column, sums);
% end
                for (; column < dim; column += 16)
                    value_${number.name}_${tile[1]}x1(task, row, at, count, column, sums);
            }
% end
        }
    }
}
% end

static float maximum(const float *scores, uint32_t count)
{
    lanes largest = lanes_load(scores);
    for (uint32_t p = 16; p < count; p += 16) largest = lanes_max(largest, lanes_load(scores + p));
    return lanes_maximum(largest);
}

static float weigh(float *scores, uint32_t count, float largest)
{
    lanes most = lanes_set(largest), total = lanes_set(0.0f);
    for (uint32_t p = 0; p < count; p += 16) {
        lanes weight = exponential(lanes_subtract(lanes_load(scores + p), most));
        lanes_store(scores + p, weight);
        total = lanes_add(total, weight);
    }
    return 1.0f / lanes_sum(total);
}

static float inverse_sum(const float *weights, uint32_t count)
{
    lanes total = lanes_set(0.0f);
    for (uint32_t p = 0; p < count; p += 16) total = lanes_add(total, lanes_load(weights + p));
    return 1.0f / lanes_sum(total);
}

static void scale(const float *x, float factor, uint32_t n, float *out)
{
    for (uint32_t i = 0; i < n; i++) out[i] = x[i] * factor;
}

-- What every kernel template sees beside its parameters: words for C that many of them need.

local helpers = {}

-- A pointer into the data of the n-th of a block of tokens, which lie `stride` apart: "q + 2 * stride + 16".
function helpers.token(pointer, stride, n, offset)
    local text = pointer
    if n == 1 then text = text .. " + " .. stride elseif n > 1 then text = text .. (" + %d * %s"):format(n, stride) end
    return offset > 0 and text .. " + " .. offset or text
end

-- Balanced ternary digit j of v, the lowest first; none where v is beyond the largest code.
function helpers.digit(v, j, largest)
    if v > largest then return 0 end
    for _ = 1, j do v = (v + 1) // 3 end
    return (v + 1) % 3 - 1
end

-- How many tokens a kernel's functions take: one, for those left over, and a whole block.
function helpers.block_sizes(tokens)
    return tokens > 1 and { 1, tokens } or { 1 }
end

-- How many rows of a tile a kernel's functions take: all of them, then halves of that down to its span.
function helpers.heights(rows, span)
    local all = { rows }
    while all[#all] > span do all[#all + 1] = all[#all] // 2 end
    return all
end

-- for block, head in token_blocks(tokens): all tokens of a matmul in blocks of `tokens`, then those left over one by one.
-- head is the head of the C loop over n, the block's first token; with more than one loop, n is declared before them.
function helpers.token_blocks(tokens)
    local block
    return function()
        if not block then
            block = tokens
            if tokens == 1 then return 1, "for (uint32_t n = 0; n < matmul->tokens; n++)" end
            return tokens, ("for (; n + %d <= matmul->tokens; n += %d)"):format(tokens, tokens)
        end
        if block == 1 then return nil end
        block = 1
        return 1, "for (; n < matmul->tokens; n++)"
    end
end

return helpers

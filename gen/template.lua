-- The template language: C with Lua in it.
--
--   % for row = 0, 3 do        a line whose first non-blank character is % is Lua
--   sum${row} = zero();        everything else is C; ${expression} is replaced by its value
--   %% kernel                  starts a section: the part of the file that is rendered once per kernel, say
--
-- Every template line becomes exactly one line of Lua, so that Lua's own messages ("templates/mad2_avx2.c:41: ...")
-- name the template and the line in it. A value with several lines, alone on its line, is indented as a whole.

local template = {}

-- The Lua expression for a line of C: quoted text and values, concatenated.
local function translate(line)
    local parts, position = {}, 1
    while true do
        local first, last, expression = line:find("%${(.-)}", position)
        local text = line:sub(position, (first or 0) - 1)
        if text ~= "" then parts[#parts + 1] = ("%q"):format(text) end
        if not first then break end
        parts[#parts + 1] = ("value((%s), %q)"):format(expression, expression)
        position = last + 1
    end
    return "emit(" .. table.concat(parts, ", ") .. ")"
end

-- Splits a template into sections of Lua code. Text before the first section mark belongs to the section "shared".
local function split(text)
    local sections, name, line_number = {}, "shared", 0
    for line in (text:gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
        line_number = line_number + 1
        local mark = line:match("^%s*%%%%%s*([%w_]+)%s*$")
        local code
        if mark then
            name, code = mark, ""
        elseif line:match("^%s*%%") then
            code = line:match("^%s*%%(.*)$")
        else
            code = translate(line)
        end
        local section = sections[name] or {}
        sections[name] = section
        while #section < line_number - 1 do section[#section + 1] = "" end
        section[line_number] = code
    end
    return sections
end

local function value(result, expression)
    local kind = type(result)
    if kind ~= "string" and math.type(result) ~= "integer" then
        error(("${%s} is %s, not a string or an integer"):format(expression, kind), 2)
    end
    return tostring(result)
end

-- Renders one section of a template's text. file: its name, for messages; names: what the Lua in it sees. A section
-- that is absent renders as nothing.
function template.render_text(text, file, section_name, names)
    local section = split(text)[section_name]
    if not section then return "" end

    local output = {}
    local function emit(...)
        local line = table.concat({...})
        local indent = line:match("^ *")
        line = line:gsub("\n(.)", "\n" .. indent .. "%1")
        output[#output + 1] = line:gsub("%s+$", "")
    end
    local environment = setmetatable({ emit = emit, value = value }, { __index = names })
    -- A part is a template included in another one; its text is taken over with the current names and its own.
    environment.part = function(name, extra)
        local inner = setmetatable(extra or {}, { __index = names })
        local included = template.render("templates/" .. name .. ".c", "shared", inner)
        for line in included:gmatch("(.-)\n") do output[#output + 1] = line end
    end
    local chunk, message = load(table.concat(section, "\n"), "@" .. file, "t", environment)
    if not chunk then error(message, 0) end
    chunk()

    -- Runs of blank lines, left where Lua lines were, shrink to one.
    local rendered = table.concat(output, "\n") .. "\n"
    return (rendered:gsub("\n\n\n+", "\n\n"):gsub("^\n+", ""))
end

-- The same for a template that the program carries.
function template.render(file, section_name, names)
    return template.render_text(embedded(file), file, section_name, names)
end

return template

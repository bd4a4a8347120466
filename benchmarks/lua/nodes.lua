-- Sends the requests of many nodes in turn. The first argument is a file with a line for each node,
-- "ID NAME DIGEST"; the second one a folder of whole requests, 0 to COUNT - 1, which have "@ID@",
-- "@NAME@" and "@DIGEST@" where these go; then COUNT, and the request that the first round sends.
local folder = debug.getinfo(1).source:match("^@(.*/)")
dofile(folder .. "done.lua")

local nodes, templates, round, number = {}, {}, 0, 0

local function parts_of(text)
    local parts, names = {}, {}
    local from = 1
    while true do
        local first, last, name = text:find("@(%u+)@", from)
        if not first then
            parts[#parts + 1] = text:sub(from)
            return { parts = parts, names = names }
        end
        parts[#parts + 1] = text:sub(from, first - 1)
        names[#names + 1] = name
        from = last + 1
    end
end

function init(args)
    for line in io.lines(args[1]) do
        local id, name, digest = line:match("^(%S+) (%S+) (%S+)$")
        nodes[#nodes + 1] = { ID = id, NAME = name, DIGEST = digest }
    end
    for each = 0, tonumber(args[3]) - 1 do
        local file = io.open(args[2] .. "/" .. each, "rb")
        templates[#templates + 1] = parts_of(file:read("*a"))
        file:close()
    end
    round = tonumber(args[4])
end

function request()
    number = number + 1
    if number > #nodes then
        number, round = 1, round + 1
    end
    local node, template = nodes[number], templates[round % #templates + 1]
    local out = {}
    for each, name in ipairs(template.names) do
        out[#out + 1] = template.parts[each]
        out[#out + 1] = node[name]
    end
    out[#out + 1] = template.parts[#template.parts]
    return table.concat(out)
end

-- Asks for another address each time: the path in the first argument has the number of the request
-- in place of "@N@"; the second argument is where the numbers begin.
local folder = debug.getinfo(1).source:match("^@(.*/)")
dofile(folder .. "done.lua")

local before, after, number

function init(args)
    before, after = args[1]:match("^(.*)@N@(.*)$")
    number = tonumber(args[2])
end

function request()
    number = number + 1
    return wrk.format("GET", before .. number .. after)
end

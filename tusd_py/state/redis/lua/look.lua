-- The heads of some hooks that are not handed out. ARGV: those of claims.lua, then the hooks.
-- Reply: for each hook what ``look`` tells.
local told = {}
for i = own, #ARGV do told[#told + 1] = look(B, ARGV[i], now) end
return told

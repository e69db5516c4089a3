-- Events that are remembered, a page at a time. ARGV: 3 from which rank on, 4 how many.
-- Reply: how many there were, then of each its member and when it happened.
local first = tonumber(ARGV[3])
local members = redis.call(
  'ZRANGE', B .. ':events', first, first + tonumber(ARGV[4]) - 1, 'WITHSCORES')
local found = {#members / 2}
for i = 1, #members, 2 do found[#found + 1] = {members[i], members[i + 1]} end
return found

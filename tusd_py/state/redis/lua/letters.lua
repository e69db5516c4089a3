-- Dead letters, oldest first. ARGV: 3 hook ('' for all), 4 from which rank on, 5 how many.
-- Reply: {hook, when, event id} of each; ranks are within a hook.
local found = {}
for _, hook in ipairs(ARGV[3] ~= '' and {ARGV[3]} or redis.call('HKEYS', B .. ':backlog')) do
  local first = tonumber(ARGV[4])
  local dead = redis.call(
    'ZRANGE', B .. ':dead:' .. hook, first, first + tonumber(ARGV[5]) - 1, 'WITHSCORES')
  for i = 1, #dead, 2 do found[#found + 1] = {hook, dead[i + 1], dead[i]} end
end
return found

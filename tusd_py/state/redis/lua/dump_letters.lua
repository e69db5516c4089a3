-- Dead letters of a hook, without the bodies, a page at a time. ARGV: 3 hook, 4 from which rank on,
-- 5 how many. Reply: how many there were, then of each {upload, event, number, when, attempts and
-- reason}.
local hook, first = ARGV[3], tonumber(ARGV[4])
local dead = redis.call(
  'ZRANGE', B .. ':dead:' .. hook, first, first + tonumber(ARGV[5]) - 1, 'WITHSCORES')
local found = {#dead / 2}
for i = 1, #dead, 2 do
  local event = load_event(B, dead[i])
  local letter = redis.call('HGET', B .. ':letters:' .. hook, dead[i])
  if event and letter then
    found[#found + 1] = {event.upload, dead[i], event.number, dead[i + 1], letter}
  end
end
return found

-- Make dead letters wait again. ARGV: 3 hook ('' for all), 4 event id ('' for all), 5 present Unix
-- time, 6 how many at once. Reply: how many did. None overtakes what is on its way: it waits its
-- turn, before whatever came later.
local most, replayed, touched = tonumber(ARGV[6]), 0, {}
local function replay(hook, event)
  local found = load_event(B, event)
  if not take_dead(B, hook, event) or not found then return end
  redis.call('ZADD', wait_key(B, hook, found.upload), found.number, event .. ' ' .. ARGV[5])
  redis.call('HINCRBY', B .. ':backlog', hook, 1)
  touched[#touched + 1] = {hook, raw_of(found.upload), found.upload}
  replayed = replayed + 1
end
for _, hook in ipairs(ARGV[3] ~= '' and {ARGV[3]} or redis.call('HKEYS', B .. ':backlog')) do
  if ARGV[4] ~= '' then
    replay(hook, ARGV[4])
  elseif replayed < most then
    for _, event in ipairs(
      redis.call('ZRANGE', B .. ':dead:' .. hook, 0, most - replayed - 1)) do
      replay(hook, event)
    end
  end
end
for _, each in ipairs(touched) do promote(B, each[1], each[2], each[3]) end
return replayed

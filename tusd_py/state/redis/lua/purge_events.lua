-- Forget some of the oldest events that no hook waits for, dead letters too. ARGV: 3 before which
-- Unix time, 4 from which rank on, 5 how many to look at. Reply: how many were forgotten, how many
-- were kept, and 1 where nothing older is left.
local before, first, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local hooks = redis.call('HGETALL', B .. ':backlog')
-- Whether it waits for no hook: then it is but a dead letter of some.
local function is_over(event, found)
  local letters = {}
  for i = 1, #hooks, 2 do
    if redis.call('ZSCORE', B .. ':dead:' .. hooks[i], event) then
      letters[#letters + 1] = hooks[i]
    end
  end
  if #letters < found.refs then return false end
  for _, hook in ipairs(letters) do take_dead(B, hook, event) end
  redis.call('DEL', event_key(B, event))
  return true
end
local gone, kept, done = 0, 0, 1
local events = redis.call('ZRANGE', B .. ':events', first, first + most - 1, 'WITHSCORES')
for i = 1, #events, 2 do
  if tonumber(events[i + 1]) >= before then return {gone, kept, 1} end
  local event = hex_of(events[i])
  local found = load_event(B, event)
  if not found or is_over(event, found) then
    redis.call('ZREM', B .. ':events', events[i])
    gone = gone + 1
  else
    kept = kept + 1
  end
end
return {gone, kept, #events < 2 * most and 1 or 0}

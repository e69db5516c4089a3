-- Forget some of the oldest events that no hook waits for, dead letters too. ARGV: 3 before which
-- Unix time, 4 from which rank on, 5 how many to look at. Reply: how many were forgotten, how many
-- were kept, and 1 where nothing older is left.
local before, first, most = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local counts = redis.call('HGETALL', B .. ':backlog')

-- Whether it waits for no hook: then it is but a dead letter of some.
local function is_over(event, found)
  local letters = {}
  for i = 1, #counts, 2 do
    if redis.call('ZSCORE', B .. ':dead:' .. counts[i], event) then
      letters[#letters + 1] = counts[i]
    end
  end
  if #letters < found.refs then return false end
  for _, hook in ipairs(letters) do take_dead(B, hook, event) end
  redis.call('DEL', event_key(B, event))
  return true
end

local gone, kept, done = 0, 0, 0
local events = redis.call('ZRANGE', B .. ':events', first, first + most - 1, 'WITHSCORES')
if #events < 2 * most then done = 1 end
for i = 1, #events, 2 do
  if tonumber(events[i + 1]) >= before then
    done = 1
    break
  end
  local event = hex_of(string.sub(events[i], 2))
  local found = load_event(B, event)
  if not found or is_over(event, found) then
    redis.call('ZREM', B .. ':events', events[i])
    gone = gone + 1
  else
    kept = kept + 1
  end
end
-- Names of hooks that have nothing here are forgotten too.
for i = 1, done * #counts, 2 do
  if counts[i + 1] == '0' and redis.call('EXISTS', B .. ':dead:' .. counts[i]) == 0 then
    redis.call('HDEL', B .. ':backlog', counts[i])
  end
end
return {gone, kept, done}

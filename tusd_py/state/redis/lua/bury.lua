-- A delivery failed for good. ARGV: 3 hook, 4 event id, 5 present Unix time, 6 reason.
-- Reply: 1, or 0 where it does not wait.
local hook, event = ARGV[3], ARGV[4]
local found = load_event(B, event)
if not found then return 0 end
local attempts = take_out(B, hook, event, found)
if not attempts then return 0 end
redis.call('ZADD', B .. ':dead:' .. hook, ARGV[5], event)
redis.call('HSET', B .. ':letters:' .. hook, event, (attempts + 1) .. ' ' .. ARGV[6])
return 1

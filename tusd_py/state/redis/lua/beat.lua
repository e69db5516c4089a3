-- The heartbeat of one process. B is the key of what belongs to no bucket.
-- ARGV: 3 name, 4 'here', or 'gone' as a goodbye. Reply: now, then the names of the dead.
-- Nobody is judged before beats have come for lease_ms without a gap: after a time without Redis
-- everybody's heartbeat is old.
local DAY_MS = 86400000
local beats, processes = B .. ':beats', B .. ':processes'
local seen = redis.call('HMGET', beats, 'run', 'since', 'last')
local since, last = tonumber(seen[2] or now), tonumber(seen[3] or 0)
-- First of all: it is heard also where nothing can be written.
if ARGV[4] == 'here' then tell('p:' .. ARGV[3], 'beat') end
if seen[1] ~= this_run() or now - last > lease_ms / 2 or now < last then since = now end
redis.call('HSET', beats, 'run', this_run(), 'since', since, 'last', now)
-- A goodbye is for ever, whatever beat of before comes after it: a score below zero.
local score = tonumber(redis.call('ZSCORE', processes, ARGV[3]) or 0)
if ARGV[4] == 'gone' then
  redis.call('ZADD', processes, -now, ARGV[3])
elseif score >= 0 then
  redis.call('ZADD', processes, now, ARGV[3])
end
local dead, dead_until = {tostring(now)}, '(0' -- who has said goodbye is not judged, but believed
if now - since >= lease_ms then
  redis.call('ZREMRANGEBYSCORE', processes, DAY_MS - now, now - DAY_MS)
  dead_until = now - lease_ms
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', processes, '-inf', dead_until)) do
  dead[#dead + 1] = name
end
return dead

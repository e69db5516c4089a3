-- Make sure that the bucket is there, of this layout, and knows this host's boot.
-- ARGV: 3 layout, 4 number of buckets, 5 host, 6 boot, 7 hooks (one name a line), 8 '1': they
-- replace the ones that are there. Reply: generation, began, now.
local key = B .. ':meta'
local HOUR, DAY = 3600000, 86400000
local meta = redis.call('HMGET', key, 'layout', 'buckets', 'hooks', 'lease', 'lease_said')
if not meta[1] then
  redis.call('HSET', key, 'layout', ARGV[3], 'buckets', ARGV[4])
  begin(B, now)
elseif meta[1] ~= ARGV[3] or meta[2] ~= ARGV[4] then
  return redis.error_reply('LAYOUT ' .. meta[1] .. ' ' .. meta[2])
end
if meta[3] ~= ARGV[7] and (ARGV[8] == '1' or (ARGV[7] ~= '' and not meta[3])) then
  redis.call('HSET', key, 'hooks', ARGV[7])
end
-- [grace] The longest lease that any machine has, should they be set differently. One that nobody
-- has had for a day is forgotten.
local longest = tonumber(meta[4]) or 0
local said_before = now - (tonumber(meta[5]) or 0)
if lease_ms > longest or said_before > (lease_ms == longest and HOUR or DAY) then
  redis.call('HSET', key, 'lease', lease_ms, 'lease_said', now)
end
-- Not written anew each time: what is written is replicated.
if redis.call('HGET', B .. ':boots', ARGV[5]) ~= ARGV[6] then
  redis.call('HSET', B .. ':boots', ARGV[5], ARGV[6])
end
local life = enter(B, now)
return {life.generation, tostring(life.began), tostring(now)}

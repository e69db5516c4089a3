-- Take or renew the place of a body. ARGV: 3 digest of the key, 4 body, 5 limit, 6 ms.
-- Reply: 1 or 0.
local key, body = B .. ':places:' .. ARGV[3], ARGV[4]
redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
if not redis.call('ZSCORE', key, body) then
  -- Those that are left, as far as they count.
  if #redis.call('ZRANGE', key, 0, ARGV[5] - 1) >= tonumber(ARGV[5]) then return 0 end
end
redis.call('ZADD', key, now + ARGV[6], body)
local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
redis.call('PEXPIRE', key, math.ceil(last[2] - now) + 1000)
return 1

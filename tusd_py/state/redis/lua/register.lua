-- The hooks that get every event from now on. ARGV: 3 names, one a line. A name that no longer
-- counts and has nothing left is forgotten.
enter(B, now)
redis.call('HSET', B .. ':meta', 'hooks', ARGV[3])
local counts = redis.call('HGETALL', B .. ':backlog')
for i = 1, #counts, 2 do
  local is_registered = string.find('\n' .. ARGV[3] .. '\n', '\n' .. counts[i] .. '\n', 1, true)
  if not is_registered and counts[i + 1] == '0'
    and redis.call('EXISTS', B .. ':dead:' .. counts[i]) == 0 then
    redis.call('HDEL', B .. ':backlog', counts[i])
  end
end
return 1

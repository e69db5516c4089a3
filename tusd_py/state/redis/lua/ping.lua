-- Whether this master takes a write and gives it back. Reply: what it does when memory is full.
enter(B, now)
redis.call('HSET', B .. ':meta', 'pinged', token)
if redis.call('HGET', B .. ':meta', 'pinged') ~= token then
  return redis.error_reply('ERR a write was lost')
end
return string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)') or ''

-- What of a bucket speaks against moving. Reply: '1' where a lease is live, '1' where it holds any
-- upload or event.
local held = redis.call('ZRANGEBYSCORE', B .. ':held', '(' .. now, '+inf', 'LIMIT', 0, 1)
local function has(key) return redis.call('ZRANGE', B .. key, 0, 0)[1] ~= nil end
return {held[1] and '1' or '', (has(':status') or has(':events')) and '1' or ''}

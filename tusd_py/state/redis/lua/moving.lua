-- Whether the state may be moved, for all buckets together: B is the key of what belongs to none.
-- ARGV: 3 this process, 4 '' to look, 'begin' or 'end' to set or take away the mark of a copy that
-- is not finished. Reply: the mark, then how long ago (ms) each other process was heard of.
local key = B .. ':moving'
local heard = {redis.call('GET', key) or ''}
local others = redis.call(
  'ZRANGEBYSCORE', B .. ':processes', '(' .. (now - lease_ms), '+inf', 'WITHSCORES')
for i = 1, #others, 2 do
  if others[i] ~= ARGV[3] then heard[#heard + 1] = tostring(now - tonumber(others[i + 1])) end
end
if ARGV[4] == 'begin' then redis.call('SET', key, '1') end
if ARGV[4] == 'end' then redis.call('DEL', key) end
return heard

-- Reserve a key of one file for an upload that is about to be made.
-- ARGV: 3 the key's digest, 4 id, 5 reservation, 6 ms that nobody else may take it over for,
-- 7 the reservation that it takes the place of, or ''.
-- Reply: mine | other, id, reservation, ms left.
local key, reservation = B .. ':once', ARGV[5]
local present = redis.call('HGET', key, ARGV[3])
if present then
  local id, holder, left = string.match(present, '^(%x+) (%x+) (%d+)$')
  if holder ~= reservation and holder ~= ARGV[7] then
    return {'other', id, holder, tostring(tonumber(left) - now)}
  end
end
local ends = string.format('%.0f', math.ceil(now) + tonumber(ARGV[6]))
redis.call('HSET', key, ARGV[3], ARGV[4] .. ' ' .. reservation .. ' ' .. ends)
return {'mine'}

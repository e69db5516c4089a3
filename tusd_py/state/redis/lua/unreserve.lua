-- Forget a reservation. ARGV: 3 the key's digest, 4 reservation.
local present = redis.call('HGET', B .. ':once', ARGV[3])
if not present or string.match(present, ' (%x+) ') ~= ARGV[4] then return '' end
redis.call('HDEL', B .. ':once', ARGV[3])
return '1'

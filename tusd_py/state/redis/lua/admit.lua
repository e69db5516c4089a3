-- The next turn of a client: the sums of core/rates.py, in whole microseconds.
-- ARGV: 3 digest of the key, 4 interval, 5 tolerance, 6 reach, 7 patience.
-- Reply: '1' or '0', wait.
local key = B .. ':rate:' .. ARGV[3]
local interval, tolerance = tonumber(ARGV[4]), tonumber(ARGV[5])
local reach, patience = tonumber(ARGV[6]), tonumber(ARGV[7])
local us = math.floor(now * 1000 + 0.5)
-- Numbers of 16 digits: tostring would round them.
local function whole(number) return string.format('%.0f', number) end

local kept = redis.call('HMGET', key, 'paid', 'done')
local done = kept[2] or ''
-- A call that is sent again after a cut gets its turn once.
local before = string.match(done, token .. '=(%d+);')
if before then return {'1', before} end

local paid = tonumber(kept[1] or us)
local start = math.min(math.max(paid, us), us + reach)
local wait = math.max(0, start - tolerance - us)
local given = wait <= patience
if given then
  start = start + interval
  -- The last dozen; what is cut off in the middle matches nothing.
  done = string.sub(token .. '=' .. whole(wait) .. ';' .. done, 1, 300)
elseif start == paid then
  return {'0', whole(wait)}
end
redis.call('HSET', key, 'paid', whole(start), 'done', done)
-- Once all is paid off the key says nothing more; calls are sent again within seconds.
redis.call('PEXPIRE', key, math.ceil((start - us) / 1000) + 10000)
return {given and '1' or '0', whole(wait)}

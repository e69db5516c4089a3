-- Uploads of one bucket that are due, oldest first; none that is under a live lease.
-- ARGV: 3 why, 4 the highest score, 5 how many at most.
-- Reply: '1' where there may be more, then score and id (16 bytes) by turns.
local MAX_LOOKED_AT = 1000
local SETS = {
  expired = ':expires', undecided = ':undecided', unjoined = ':joining',
  terminating = ':terminating', retired = ':retired', refused = ':refused', abandoned = ':held',
}
local why, highest, limit = ARGV[3], ARGV[4], tonumber(ARGV[5])
local life = enter(B, now)

-- The sets to look at; writers that have no unfinished upload left are forgotten.
local function sets()
  if SETS[why] then return {B .. SETS[why]} end
  local found = {}
  local writers = redis.call('HGETALL', B .. ':writers')
  for i = 1, #writers, 2 do
    local open, still = B .. ':open:' .. writers[i], B .. ':still:' .. writers[i]
    local generation, host, boot = string.match(writers[i + 1], '^(.-)\n(.*)\n(.-)$')
    if redis.call('EXISTS', open, still) == 0 then
      redis.call('HDEL', B .. ':writers', writers[i])
    elseif why == 'silent' then
      found[#found + 1] = open
    elseif generation ~= life.generation or present_boot(B, host) ~= boot then
      found[#found + 1] = open
      found[#found + 1] = still
    end
  end
  return found
end

local function is_due(rid)
  local lease = redis.call('HMGET', B .. ':u:' .. hex_of(rid), 'H', 'D', 'J', 'K', 'U')
  if why == 'silent' and lease[5] then return false end
  if not lease[1] then return true end
  return not is_held(B, {H = lease[1], D = lease[2], J = lease[3], K = lease[4]}, now)
end

local found, more = {}, ''

local function look_at(set)
  local count, at = 0, 0
  while at < MAX_LOOKED_AT do
    local some = redis.call(
      'ZRANGEBYSCORE', set, '-inf', highest, 'WITHSCORES', 'LIMIT', at, limit + 1)
    for i = 1, #some, 2 do
      if is_due(some[i]) then
        if count == limit then
          more = '1'
          return
        end
        count = count + 1
        found[#found + 1] = {score = some[i + 1], rid = some[i]}
      end
    end
    if #some < 2 * (limit + 1) then return end
    at = at + limit + 1
  end
  more = '1'
end

for _, set in ipairs(sets()) do look_at(set) end
table.sort(found, function(one, other) return tonumber(one.score) < tonumber(other.score) end)
if #found > limit then more = '1' end
local reply = {more}
for i = 1, math.min(limit, #found) do
  reply[#reply + 1] = found[i].score
  reply[#reply + 1] = found[i].rid
end
return reply

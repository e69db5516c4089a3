-- Remove the record and its lease, and store the events.
-- ARGV: 3 id, 4 holder, 5 number, 6 which of the lease's calls, 7 process; 8... the events.
-- Reply: done, digest of its key of one file or '', its reservation or '' | gone.
local id, holder = ARGV[3], ARGV[4]
local MINUTE_MS = 60000
local life = enter(B, now)
make_room(B)
local removed, mark = B .. ':removed', mark_of(holder, ARGV[6])
redis.call('ZREMRANGEBYSCORE', removed, '-inf', now - MINUTE_MS)
if redis.call('ZSCORE', removed, mark) then return {'done', '', ''} end -- the answer was lost
local record = load_record(B, id)
if not record or not is_mine(B, record, now, holder, ARGV[5]) then return {'gone'} end

local digest, reservation = '', ''
if record.O then
  digest, reservation = string.sub(record.O, 1, 20), string.sub(record.O, 21)
  void(B, now, reservation) -- a creation that comes twice makes nothing
end
redis.call('ZADD', removed, now, mark)
wake_waiters(B, id, ARGV[7])
delete(B, id, record)
store_events(B, life.hooks, id, 8)
return {'done', digest, reservation}

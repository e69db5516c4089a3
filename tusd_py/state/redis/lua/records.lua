-- Records of uploads. What the one-letter fields of a record's hash mean is in codec.py; those of
-- its lease, which only scripts know:
--   N number  H holder  P process  J host  K boot  D deadline (ms)  Q last commit under this lease
--   A asked   S was settled when taken   U not let go cleanly (also while held)
--   R its holder makes room
--   L who let go last, and with which commit   O key of one file (digest, then reservation)
-- A field that is not there has its default.
local UNFINISHED = {r = true, v = true, j = true}
local UNTOUCHED = {j = true, c = true, x = true, i = true, t = true}
local GONE = {x = true, i = true, t = true}
local LEASE_FIELDS = {'H', 'P', 'J', 'K', 'D', 'Q', 'A', 'S', 'R'}
local HOUR_MS = 3600000

-- For whatever removes uploads in the end: it must work where memory has run out. Redis refuses
-- only the first write of a script for that, and none that can but free.
local function make_room(B)
  redis.call('HDEL', B .. ':waiting', '')
end

-- Whole numbers without leading zeros, of any size: as doubles large ones would be rounded.
local function is_less(one, other)
  if #one ~= #other then return #one < #other end
  return one < other
end

local function table_of(flat)
  local made = {}
  for i = 1, #flat, 2 do made[flat[i]] = flat[i + 1] end
  return made
end

local function load_record(B, id)
  local flat = redis.call('HGETALL', B .. ':u:' .. id)
  if #flat == 0 then return nil end
  return table_of(flat)
end

local function copy_of(record)
  local made = {}
  for field, value in pairs(record) do made[field] = value end
  return made
end

-- What a reply holds of a record: what never changes, then names and values of its hash.
local function shown(B, id, record)
  local reply = {redis.call('GET', B .. ':f:' .. id) or '{}'}
  for field, value in pairs(record) do
    reply[#reply + 1] = field
    reply[#reply + 1] = value
  end
  return reply
end

-- [host-boot] What the host runs now, false where it was never heard of.
local function present_boot(B, host)
  return redis.call('HGET', B .. ':boots', host or '')
end

-- [restart-is-unclean]
local function is_settled(record, generation, writer_boot)
  return not record.U and record.m == generation and writer_boot == (record.b or '')
end

-- A lease is live until its deadline; a machine that was started anew has killed its holder.
local function is_held(B, record, now)
  return record.H ~= nil and tonumber(record.D) > now and present_boot(B, record.J) == record.K
end

-- [commit-in-time] Number, holder, and before the deadline.
local function is_mine(B, record, now, holder, number)
  return record.H == holder and record.N == number and is_held(B, record, now)
end

local function deadline(now)
  return string.format('%.0f', math.ceil(now) + lease_ms)
end

-- Who let go, and with which of its commits: a call that comes twice finds its own mark.
local function mark_of(holder, sequence)
  return string.sub(holder, 1, 16) .. sequence
end

local function give_lease(B, record, now, holder, process, host, boot)
  -- Its host lives, whatever this bucket has heard of it so far.
  if present_boot(B, host) ~= boot then redis.call('HSET', B .. ':boots', host, boot) end
  for _, field in ipairs(LEASE_FIELDS) do record[field] = nil end
  record.N = string.format('%.0f', tonumber(record.N or '0') + 1)
  record.H, record.P, record.J, record.K = holder, process, host, boot
  record.D, record.U = deadline(now), '1'
end

local function take_lease_away(record, mark, is_clean)
  for _, field in ipairs(LEASE_FIELDS) do record[field] = nil end
  record.U = not is_clean and '1' or nil
  record.L = mark
end

-- Tells processes that wait for the lease; not the one that lets go: it tells its own itself.
local function wake_waiters(B, id, process)
  local names = redis.call('HGET', B .. ':waiting', id)
  if not names then return end
  redis.call('HDEL', B .. ':waiting', id)
  for name in string.gmatch(names, '%S+') do
    if name ~= process then tell('p:' .. name, 'free ' .. id) end
  end
end

local MAX_WAITING_CHARS = 1024

local function note_waiter(B, id, process)
  local names = redis.call('HGET', B .. ':waiting', id) or ''
  if string.find(names, process, 1, true) or #names > MAX_WAITING_CHARS then return end
  redis.call('HSET', B .. ':waiting', id, names .. process .. ' ')
end

-- Who wrote its bytes last, and in which generation: as the names of sets have it, and in full.
local function writer_of(record)
  local text = (record.m or '') .. '\n' .. (record.h or '') .. '\n' .. (record.b or '')
  return string.sub(redis.sha1hex(text), 1, 16), text
end

-- Whether it can expire; a status of its own for parts.
local function expiry_of(record)
  local last = record.k == 'p' and 'c' or 'j'
  return (record.s == 'r' or record.s == last) and record.e or nil
end

-- The sets that the record belongs to: {key, member, score}; with a writer's, {name, text} of it.
local function places_of(B, rid, record)
  local status, changed = record.s, record.c or '0'
  local places = {{B .. ':status', status .. rid, '0'}}
  local function put(name, score, writer)
    places[#places + 1] = {B .. name, rid, score, writer}
  end
  if UNFINISHED[status] then
    local is_open = status == 'r' and not record.w
    local name, text = writer_of(record)
    put((is_open and ':open:' or ':still:') .. name, changed, {name, text})
    if record.U then put(':held', record.D or '0') end
  end
  if expiry_of(record) then put(':expires', record.e) end
  if status == 'v' then put(':undecided', changed) end
  if status == 'j' then put(':joining', changed) end
  if status == 't' then put(':terminating', changed) end
  if status == 'x' or status == 'i' then put(':refused', changed) end
  if status == 'c' and record.k ~= 'p' then put(':retired', record.z or changed) end
  return places
end

local function save_fields(B, id, old, new)
  local key, changed, cleared = B .. ':u:' .. id, {}, {}
  for field, value in pairs(new) do
    if old[field] ~= value then
      changed[#changed + 1] = field
      changed[#changed + 1] = value
    end
  end
  for field in pairs(old) do
    if new[field] == nil then cleared[#cleared + 1] = field end
  end
  if #changed > 0 then redis.call('HSET', key, unpack(changed)) end
  if #cleared > 0 then redis.call('HDEL', key, unpack(cleared)) end
end

-- ``was_held``: the scores of its times may be old, see ``save_progress``.
local function save_places(B, before, after, was_held)
  local left = {}
  for _, place in ipairs(before) do left[place[1] .. ' ' .. place[2]] = place end
  for _, place in ipairs(after) do
    local name = place[1] .. ' ' .. place[2]
    local earlier = left[name]
    if not earlier or earlier[3] ~= place[3] or (was_held and place[3] ~= '0') then
      redis.call('ZADD', place[1], place[3], place[2])
    end
    if place[4] and not earlier then
      redis.call('HSET', B .. ':writers', place[4][1], place[4][2])
    end
    left[name] = nil
  end
  for _, place in pairs(left) do redis.call('ZREM', place[1], place[2]) end
end

-- Writes what differs: fields, sets, counts. No old one: it is new; no new one: it is removed.
local function save(B, id, old, new)
  local rid = raw_of(id)
  save_fields(B, id, old or {}, new or {})
  local before = old and places_of(B, rid, old) or {}
  save_places(B, before, new and places_of(B, rid, new) or {}, old and old.H)
  local was, is = old and old.s, new and new.s
  if was ~= is then
    if was then redis.call('HINCRBY', B .. ':counts', was, -1) end
    if is then redis.call('HINCRBY', B .. ':counts', is, 1) end
  end
end

local PLACED_BY = {'s', 'w', 'h', 'b', 'm', 'z', 'U'}

-- The same for a commit that keeps the lease: each second one for every body that is received.
-- Where nothing but times changes only the expiry is put right. The times of what is held decide
-- nothing: it is no sweeper's before its lease is over, and then by the fields. They are put right
-- when it is let go.
local function save_progress(B, id, old, new)
  for _, field in ipairs(PLACED_BY) do
    if old[field] ~= new[field] then return save(B, id, old, new) end
  end
  save_fields(B, id, old, new)
  local was, is = expiry_of(old), expiry_of(new)
  if was == is then return end
  if is then
    redis.call('ZADD', B .. ':expires', is, raw_of(id))
  else
    redis.call('ZREM', B .. ':expires', raw_of(id))
  end
end

-- The sets whose members never change: by client, and by video.
local function owner_places(B, id, record)
  local rid, video, client = raw_of(id), string.sub(record.o, 1, 8), string.sub(record.o, 9)
  return {{B .. ':client', client .. video .. rid}, {B .. ':video', video .. rid}}
end

local function insert(B, id, facts, record)
  redis.call('SET', B .. ':f:' .. id, facts)
  for _, place in ipairs(owner_places(B, id, record)) do
    redis.call('ZADD', place[1], 0, place[2])
  end
  save(B, id, nil, record)
end

local function delete(B, id, record)
  redis.call('DEL', B .. ':f:' .. id)
  for _, place in ipairs(owner_places(B, id, record)) do
    redis.call('ZREM', place[1], place[2])
  end
  redis.call('HDEL', B .. ':waiting', id)
  save(B, id, record, nil)
end

-- Reads names and values that begin with their number at ARGV[from]; an empty value takes the
-- field away. Returns where they end.
local function read_fields(from, record)
  local last = from + 2 * tonumber(ARGV[from])
  for i = from + 1, last, 2 do
    record[ARGV[i]] = ARGV[i + 1] ~= '' and ARGV[i + 1] or nil
  end
  return last + 1
end

-- A reservation of a key of one file that can never make a record any more.
local function void(B, now, reservation)
  local key = B .. ':void'
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - HOUR_MS)
  redis.call('ZADD', key, now, reservation)
end

local function is_void(B, reservation)
  return redis.call('ZSCORE', B .. ':void', reservation) and true or false
end

-- The queues of events in a bucket: how an event comes in, is handed out, and is forgotten.
-- Of the events of one upload that wait for one hook exactly one is the head; only heads are
-- looked at. keys.py tells what lies where. Each function takes and leaves consistent queues, and
-- frees before it adds: what makes room must work where memory has run out.
local HEADER_BYTES = 64

-- As what an event is remembered: before its id stands the first byte of its upload's, by which it
-- finds its bucket where there are more or fewer of them.
local function known_as(rid, event) return string.sub(rid, 1, 1) .. raw_of(event) end

local function event_key(B, event) return B .. ':e:' .. event end
local function wait_key(B, hook, upload) return B .. ':wait:' .. hook .. ':' .. upload end

-- What stands before an event's data; nil: no hook has it any more.
local function load_event(B, event)
  local text = redis.call('GETRANGE', event_key(B, event), 0, HEADER_BYTES - 1)
  local refs, upload, number = string.match(text, '^(%d+) (%x+) (%d+) ')
  if not refs then return nil end
  return {refs = tonumber(refs), upload = upload, number = number}
end

-- A hook has done with it: the body goes with the last one.
local function forget_event(B, event, found)
  local refs = found.refs - 1
  if refs <= 0 then
    redis.call('DEL', event_key(B, event))
  else
    redis.call('SETRANGE', event_key(B, event), 0, string.format('%04d', refs))
  end
end

-- The head: event, attempts, due, and where it is handed out: claim, process, at, deadline.
local function load_head(B, hook, rid)
  local text = redis.call('HGET', B .. ':heads:' .. hook, rid)
  if not text then return nil end
  local head = {}
  head.event, head.attempts, head.due, head.claim, head.process, head.at, head.deadline =
    string.match(text, '^(%S+) (%S+) (%S+) ?(%S*) ?(%S*) ?(%S*) ?(%S*)$')
  if head.claim == '' then head.claim = nil end
  return head
end

local function set_waiting_head(B, hook, rid, event, attempts, due)
  redis.call('HSET', B .. ':heads:' .. hook, rid, event .. ' ' .. attempts .. ' ' .. due)
  redis.call('ZADD', B .. ':due:' .. hook, due, rid)
end

local function set_claimed_head(B, hook, rid, head)
  redis.call('ZREM', B .. ':due:' .. hook, rid)
  redis.call('HSET', B .. ':heads:' .. hook, rid, table.concat({
    head.event, head.attempts, head.due, head.claim, head.process, head.at, head.deadline}, ' '))
  redis.call('ZADD', B .. ':claims:' .. hook, head.deadline, rid .. head.process)
end

local function drop_claim(B, hook, rid, head)
  if head.claim then redis.call('ZREM', B .. ':claims:' .. hook, rid .. head.process) end
end

-- The longest waiting one becomes the head, where there is none; whether one did.
local function promote(B, hook, rid, upload)
  if redis.call('HEXISTS', B .. ':heads:' .. hook, rid) == 1 then return false end
  local first = redis.call('ZPOPMIN', wait_key(B, hook, upload))
  if not first[1] then return false end
  local event, due = string.match(first[1], '^(%S+) (%S+)$')
  set_waiting_head(B, hook, rid, event, 0, due)
  return true
end

-- A delivery of a new event: the head, or behind it.
local function add_delivery(B, hook, rid, upload, number, event, at)
  if redis.call('HEXISTS', B .. ':heads:' .. hook, rid) == 1 then
    redis.call('ZADD', wait_key(B, hook, upload), number, event .. ' ' .. at)
  else
    set_waiting_head(B, hook, rid, event, 0, at)
  end
  redis.call('HINCRBY', B .. ':backlog', hook, 1)
end

-- The head is done with; whether another one became it.
local function drop_head(B, hook, rid, upload, head)
  drop_claim(B, hook, rid, head)
  redis.call('ZREM', B .. ':due:' .. hook, rid)
  redis.call('HDEL', B .. ':heads:' .. hook, rid)
  redis.call('HINCRBY', B .. ':backlog', hook, -1)
  return promote(B, hook, rid, upload)
end

-- Take a delivery that is not dead out of its queue. How often it had failed, and whether another
-- one became the head; nil where it is not there.
local function take_out(B, hook, event, found)
  local rid = raw_of(found.upload)
  local head = load_head(B, hook, rid)
  if head and head.event == event then
    return tonumber(head.attempts), drop_head(B, hook, rid, found.upload, head)
  end
  local key = wait_key(B, hook, found.upload)
  local waiting = redis.call('ZRANGEBYSCORE', key, found.number, found.number)[1]
  if not waiting or string.match(waiting, '^%S+') ~= event then return nil end
  redis.call('ZREM', key, waiting)
  redis.call('HINCRBY', B .. ':backlog', hook, -1)
  return 0, false
end

-- Take a dead letter away; whether there was one.
local function take_dead(B, hook, event)
  redis.call('HDEL', B .. ':letters:' .. hook, event)
  return redis.call('ZREM', B .. ':dead:' .. hook, event) == 1
end

-- The events of one commit, for create, commit and remove: in ARGV from ``first`` on their count,
-- then id, kind, time and data of each (``event_codec.event_args``). ``hooks`` are those of
-- ``enter``; in a bucket that was lost, and made anew by a process that has none, those of the
-- caller. One that was stored before, under the same id, is not told again. How many are new.
local function store_events(B, hooks, upload, first)
  local rid, new, names = raw_of(upload), 0, {}
  hooks = hooks or ARGV[first + 4 * tonumber(ARGV[first]) + 1] or ''
  for hook in string.gmatch(hooks, '[^\n]+') do names[#names + 1] = hook end
  for i = 1, tonumber(ARGV[first]) do
    local event, kind, at, data = unpack(ARGV, first + i * 4 - 3, first + i * 4)
    if redis.call('ZADD', B .. ':events', 'NX', at, known_as(rid, event)) == 1 then
      new = new + 1
      if #names > 0 then
        local number = string.format('%d', redis.call('HINCRBY', B .. ':meta', 'events', 1))
        redis.call('SET', event_key(B, event), table.concat({
          string.format('%04d', #names), upload, number, at, kind, data}, ' '))
        for _, hook in ipairs(names) do add_delivery(B, hook, rid, upload, number, event, at) end
      end
    end
  end
  return new
end

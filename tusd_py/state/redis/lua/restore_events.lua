-- Put events in that hooks wait for or have buried. ARGV: 3 how many; of each its id, upload, kind,
-- time, data and number of hooks; of each of these its name, 'next', 'waiting' or 'dead', attempts,
-- when it is due or was buried, reason. What is there already came with this call before.
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local event, upload, kind, time, data = unpack(ARGV, at, at + 4)
  local hooks, rid = tonumber(ARGV[at + 5]), raw_of(upload)
  local is_new = redis.call('EXISTS', event_key(B, event)) == 0
  at = at + 6
  if is_new then
    redis.call('ZADD', B .. ':events', time, known_as(rid, event))
    local number = string.format('%d', redis.call('HINCRBY', B .. ':meta', 'events', 1))
    redis.call('SET', event_key(B, event), table.concat({
      string.format('%04d', hooks), upload, number, time, kind, data}, ' '))
    for i = at, at + 5 * hooks - 1, 5 do
      local hook, state, attempts, when, reason = unpack(ARGV, i, i + 4)
      if state == 'dead' then
        redis.call('ZADD', B .. ':dead:' .. hook, when, event)
        redis.call('HSET', B .. ':letters:' .. hook, event, attempts .. ' ' .. reason)
      elseif state == 'next' then
        set_waiting_head(B, hook, rid, event, attempts, when)
      else
        redis.call('ZADD', wait_key(B, hook, upload), number, event .. ' ' .. when)
      end
      redis.call('HINCRBY', B .. ':backlog', hook, state == 'dead' and 0 or 1)
    end
  end
  at = at + 5 * hooks
end

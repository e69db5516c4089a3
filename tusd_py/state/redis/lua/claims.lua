-- Which heads may be handed out, as this process sees it. ARGV from 3 on: how many heads to tell
-- of a bucket, this process, when the list of the dead was read (server's ms), how many of the
-- dead it names, their names. What the script wants itself begins after them, at ``own``.
local looked, myself, dead_at = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local dead, own = {}, 7 + tonumber(ARGV[6])
for i = 7, own - 1 do dead[ARGV[i]] = true end
local MAX_CLAIMS = 200

-- What was claimed after the list was read is not judged by it: its process may have come back.
local function is_free(head, now)
  return tonumber(head.deadline) <= now
    or (dead[head.process] and tonumber(head.at) <= dead_at)
end

-- The heads of one hook that are not handed out, oldest first: {until when this is all (empty: it
-- is), names of processes with claims (space between), upload, due, upload, due, ...}.
local function look(B, hook, now)
  local waiting = redis.call('ZRANGE', B .. ':due:' .. hook, 0, looked - 1, 'WITHSCORES')
  local found = {#waiting == 2 * looked and waiting[#waiting] or '', '', unpack(waiting)}
  -- The claims of the dead are among the oldest: whatever lives claimed later.
  local claims = redis.call('ZRANGE', B .. ':claims:' .. hook, 0, MAX_CLAIMS - 1, 'WITHSCORES')
  local names, seen = {}, {}
  for i = 1, #claims, 2 do
    local rid, process = string.sub(claims[i], 1, 16), string.sub(claims[i], 17)
    if tonumber(claims[i + 1]) <= now or dead[process] then
      local head = load_head(B, hook, rid)
      if head and head.claim and is_free(head, now) then
        found[#found + 1], found[#found + 2] = rid, head.due
      end
    end
    if not seen[process] and process ~= myself then
      seen[process], names[#names + 1] = true, process
    end
  end
  found[2] = table.concat(names, ' ')
  return found
end

-- What waits for a hook, without the bodies, a page of uploads at a time. ARGV: 3 hook, 4 'due' for
-- uploads whose head is free, 'claims' for those whose head is handed out, 5 from which rank on,
-- 6 how many. Reply: how many there were, then of each event {upload, event, number, '1': head,
-- attempts, due}.
local hook, claimed = ARGV[3], ARGV[4] == 'claims'
local first = tonumber(ARGV[5])
local members = redis.call(
  'ZRANGE', B .. ':' .. ARGV[4] .. ':' .. hook, first, first + tonumber(ARGV[6]) - 1)
local found = {#members}
for _, member in ipairs(members) do
  local rid = string.sub(member, 1, 16)
  local head = load_head(B, hook, rid)
  local event = head and load_event(B, head.event)
  -- Whose claim it is stands behind the id: what an older claim left is passed over.
  if event and (head.process or '') == string.sub(member, 17) then
    local upload = event.upload
    found[#found + 1] = {upload, head.event, event.number, '1', head.attempts, head.due}
    local waiting = redis.call('ZRANGE', wait_key(B, hook, upload), 0, -1, 'WITHSCORES')
    for i = 1, #waiting, 2 do
      local name, due = string.match(waiting[i], '^(%S+) (%S+)$')
      found[#found + 1] = {upload, name, waiting[i + 1], '', '0', due}
    end
  end
end
return found

-- Hand out heads by name. ARGV: those of claims.lua, then claim id, present Unix time, for how
-- many ms, hook, and of each head its upload (16 bytes) and when it was seen to be due.
-- Reply: {upload, attempts, event id, body} of each that was handed out (an empty body:
-- somebody has taken it away, and the event is dropped), and how the bucket looks now. Sent again, it hands out the same ones.
local claim, unix, claim_ms, hook = ARGV[own], tonumber(ARGV[own + 1]), ARGV[own + 2], ARGV[own + 3]
local granted = {}
for i = own + 4, #ARGV, 2 do
  local rid, due = ARGV[i], tonumber(ARGV[i + 1])
  local head = load_head(B, hook, rid)
  local mine = head and head.claim == claim
  if head and not mine and tonumber(head.due) == due and due <= unix
    and (not head.claim or is_free(head, now)) then
    drop_claim(B, hook, rid, head)
    head.claim, head.process, head.at = claim, myself, string.format('%.0f', now)
    head.deadline = string.format('%.0f', now + tonumber(claim_ms))
    set_claimed_head(B, hook, rid, head)
    mine = true
  end
  if mine then
    local body = redis.call('GET', event_key(B, head.event))
    if not body then drop_head(B, hook, rid, hex_of(rid), head) end
    granted[#granted + 1] = {rid, head.attempts, head.event, body or ''}
  end
end
return {granted, look(B, hook, now)}

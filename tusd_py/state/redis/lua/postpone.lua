-- A delivery failed. ARGV: 3 hook, 4 upload (16 bytes), 5 event id, 6 claim id, 7 when to try
-- again. Reply: 1, or 0 where that claim is over.
local hook, rid = ARGV[3], ARGV[4]
local head = load_head(B, hook, rid)
if not head or head.event ~= ARGV[5] or head.claim ~= ARGV[6] then return 0 end
drop_claim(B, hook, rid, head)
set_waiting_head(B, hook, rid, head.event, tonumber(head.attempts) + 1, ARGV[7])
return 1

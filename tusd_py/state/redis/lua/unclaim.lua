-- Give back what was handed out to a caller that is gone. ARGV: 3 hook, 4 claim id, then uploads
-- (16 bytes). Reply: how many.
local hook, back = ARGV[3], 0
for i = 5, #ARGV do
  local head = load_head(B, hook, ARGV[i])
  if head and head.claim == ARGV[4] then
    drop_claim(B, hook, ARGV[i], head)
    set_waiting_head(B, hook, ARGV[i], head.event, head.attempts, head.due)
    back = back + 1
  end
end
return back

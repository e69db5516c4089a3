-- The hook has taken events, whoever handed them out. ARGV from 3 on: hook and event id of each.
-- Reply: how many further events became heads.
local promotions = 0
for i = 3, #ARGV, 2 do
  local hook, event = ARGV[i], ARGV[i + 1]
  local found = load_event(B, event)
  if found then
    local attempts, promoted = take_out(B, hook, event, found)
    if attempts or take_dead(B, hook, event) then forget_event(B, event, found) end
    if promoted then promotions = promotions + 1 end
  end
end
return promotions

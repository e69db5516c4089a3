-- What dead letters hold. ARGV from 3 on: hook and event id of each. Reply: {hook, event id,
-- when, attempts and reason, body} of each that is still there.
local found = {}
for i = 3, #ARGV, 2 do
  local hook, event = ARGV[i], ARGV[i + 1]
  local at = redis.call('ZSCORE', B .. ':dead:' .. hook, event)
  local letter = redis.call('HGET', B .. ':letters:' .. hook, event)
  local body = redis.call('GET', event_key(B, event))
  if at and letter and body then found[#found + 1] = {hook, event, at, letter, body} end
end
return found

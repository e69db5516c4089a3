-- Bodies of events. ARGV: 3... their ids. Reply: a body or false for each.
local found = {}
for i = 3, #ARGV do found[#found + 1] = redis.call('GET', event_key(B, ARGV[i])) end
return found

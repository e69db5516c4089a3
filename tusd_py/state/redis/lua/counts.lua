-- How many uploads there are. ARGV: 3... letters of statuses. Reply: a number for each, as text.
local letters = {}
for i = 3, #ARGV do letters[#letters + 1] = ARGV[i] end
local counts = redis.call('HMGET', B .. ':counts', unpack(letters))
for i = 1, #letters do counts[i] = counts[i] or '0' end
return counts

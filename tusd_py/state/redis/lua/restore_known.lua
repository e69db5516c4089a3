-- Remember events. ARGV from 3 on: member and time of each.
for i = 3, #ARGV, 2 do redis.call('ZADD', B .. ':events', 'NX', ARGV[i + 1], ARGV[i]) end

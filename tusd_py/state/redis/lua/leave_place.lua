-- Give the place of a body back. ARGV: 3 digest of the key, 4 body.
redis.call('ZREM', B .. ':places:' .. ARGV[3], ARGV[4])
return 1

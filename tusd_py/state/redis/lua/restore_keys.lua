-- Put keys of one file in, each with the upload that it made. ARGV from 3 on: digest, id,
-- reservation. Their time is over: there is a record, which decides.
for i = 3, #ARGV, 3 do
  redis.call('HSET', B .. ':once', ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2] .. ' 0')
end

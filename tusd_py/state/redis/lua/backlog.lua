-- Undelivered events by hook. Reply: the registered hooks (one name a line), then of each hook
-- that ever had events here its name and how many wait.
return {redis.call('HGET', B .. ':meta', 'hooks') or '', unpack(redis.call('HGETALL', B .. ':backlog'))}

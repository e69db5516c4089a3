-- What every script has: see scripts.py for how they are put together.
local NEWBUCKET = 'NEWBUCKET'
local token, lease_ms = ARGV[1], tonumber(ARGV[2])
local run_id

-- Ids are text in names, and bytes in sets. Each byte is translated once a run: a page of ids has
-- most of them many times.
local HEX = setmetatable({}, {__index = function(seen, c)
  seen[c] = string.format('%02x', string.byte(c))
  return seen[c]
end})
local RAW = setmetatable({}, {__index = function(seen, pair)
  seen[pair] = string.char(tonumber(pair, 16))
  return seen[pair]
end})
local function hex_of(raw) return (string.gsub(raw, '.', HEX)) end
local function raw_of(hex) return (string.gsub(hex, '%x%x', RAW)) end

-- Channels: 'all', or 'p:' .. the name of a process.
local function tell(channel, text)
  redis.call('PUBLISH', PREFIX .. ':' .. channel, text)
end

-- The reign of the master that runs this script: another one after each restart and failover. Its
-- process does not tell: one that was demoted, copied its successor and took over again is the same.
-- (A master that had replicas and then none for repl-backlog-ttl begins another one as well.)
local function this_run()
  if not run_id then
    run_id = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  end
  return run_id
end

-- A new generation of the bucket begins. Its name depends on the run too: a call that is sent
-- again to another master has the same token there.
local function begin(B, now)
  local generation = string.sub(redis.sha1hex(token .. this_run()), 1, 16)
  redis.call('HSET', B .. ':meta', 'run', this_run(), 'generation', generation, 'began', now)
  tell('all', 'generation ' .. string.match(B, '{(%x+)}$'))
  return {generation = generation, began = now}
end

-- The present generation of the bucket, its grace (how long a lease may last that this generation
-- does not know: the longest of any machine), and the registered hooks (one name a line; false:
-- nobody has registered any). Where this master is another one than before, a generation begins
-- here and now.
local function enter(B, now)
  local meta = redis.call('HMGET', B .. ':meta', 'run', 'generation', 'began', 'hooks', 'lease')
  if not meta[1] then error(NEWBUCKET, 0) end
  local life = {generation = meta[2], began = tonumber(meta[3])}
  if meta[1] ~= this_run() then life = begin(B, now) end
  life.hooks = meta[4]
  life.grace = math.max(lease_ms, tonumber(meta[5]) or 0)
  return life
end

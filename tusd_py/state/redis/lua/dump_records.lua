-- All records of a bucket, a page at a time. ARGV: 3 from which rank on, 4 how many.
-- Reply: how many there were, then of each its id (16 bytes) and the record, as read.lua has it.
local first = tonumber(ARGV[3])
local members = redis.call('ZRANGE', B .. ':status', first, first + tonumber(ARGV[4]) - 1)
local found = {#members}
for _, member in ipairs(members) do
  local rid = string.sub(member, 2)
  local record = load_record(B, hex_of(rid))
  if record then found[#found + 1] = {rid, shown(B, hex_of(rid), record)} end
end
return found

-- Some keys of one file whose reservation is long over: whether an upload has come of it is to be
-- looked up. ARGV: 3 where to go on. Reply: where to go on ('0': everything was looked at), then
-- digest, id and reservation of each.
local at, flat = unpack(redis.call('HSCAN', B .. ':once', ARGV[3], 'COUNT', 50))
local found = {at}
for i = 1, #flat, 2 do
  local id, reservation, ends = string.match(flat[i + 1], '^(%x+) (%x+) (%d+)$')
  if id and tonumber(ends) < now then
    found[#found + 1] = flat[i]
    found[#found + 1] = id
    found[#found + 1] = reservation
  end
end
return found

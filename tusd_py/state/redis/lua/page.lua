-- Ids of uploads of one bucket, for pages.
-- ARGV: 3 index, 4 what its members begin with (one after the other where there are several, each
-- as long as ARGV[9] says), 5 the member to go on behind, or '', 6 the id (16 bytes) that all come
-- behind, or '', 7 letter of the status they have, or '', 8 how many at most, 9 see 4.
-- Reply: the member to go on behind, or '' at the end; then ids (16 bytes). They are in order
-- within each beginning where the index is by nothing else before the id.
local MAX_LOOKED_AT = 1000
local REST = string.rep('\255', 24) -- no member has more behind what it begins with
local index, beginnings, behind, after = B .. ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local status, limit, width = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])

local found, last, looked_at = {}, '', 0
for at = 1, math.max(1, #beginnings), math.max(1, width) do
  local beginning, count = string.sub(beginnings, at, at + width - 1), 0
  local first = '[' .. beginning
  if behind ~= '' then first = '(' .. behind elseif after ~= '' then first = '(' .. beginning .. after end
  local members = redis.call(
    'ZRANGEBYLEX', index, first, '[' .. beginning .. REST, 'LIMIT', 0,
    status == '' and math.min(limit, MAX_LOOKED_AT) or MAX_LOOKED_AT)
  for _, member in ipairs(members) do
    local rid = string.sub(member, -16)
    last = member
    if status == '' or redis.call('HGET', B .. ':u:' .. hex_of(rid), 's') == status then
      found[#found + 1], count = rid, count + 1
      if count == limit then break end
    end
  end
  if #members < MAX_LOOKED_AT and count < limit then last = '' end
end
table.insert(found, 1, last)
return found

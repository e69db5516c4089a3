-- Put records of another store in. ARGV: 3 how many; of each its id, facts, key of one file (digest
-- and reservation) or '', number of fields, names and values. They are of no generation, so that
-- nobody believes them before they are reconciled. What is there already came with this call before.
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local id, facts, once = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local record = {}
  at = read_fields(at + 3, record)
  if once ~= '' then record.O = once end
  if not load_record(B, id) then insert(B, id, facts, record) end
end

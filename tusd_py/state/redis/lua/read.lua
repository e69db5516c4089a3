-- Records as they stand. ARGV: 3... ids. Reply: for each its record, or false.
local found = {}
for i = 3, #ARGV do
  local record = load_record(B, ARGV[i])
  found[#found + 1] = record and shown(B, ARGV[i], record) or false
end
return found

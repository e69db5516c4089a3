-- What became of a reservation of a key of one file, in the bucket of the upload it was made for.
-- ARGV: 3 id, 4 reservation, 5 '1': its time is over, 6 '1': the record itself is not wanted.
-- Reply: record, the record | void: it never makes a record any more | pending.
local id, reservation = ARGV[3], ARGV[4]
local record = load_record(B, id)
if record and not GONE[record.s] then
  return ARGV[6] == '1' and {'record'} or {'record', shown(B, id, record)}
end
if not is_void(B, reservation) then
  if not record and ARGV[5] ~= '1' then return {'pending'} end
  void(B, now, reservation)
end
return {'void'}

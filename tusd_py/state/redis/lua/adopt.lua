-- Make a record, of no generation, for bytes whose record is missing, and take its lease.
-- ARGV: 3 id, 4 holder, 5 process, 6 host, 7 boot, 8 reservation of a key of one file or '', 9 the
-- key's digest or '', 10 facts, 11... number of fields, names and values.
-- Reply: granted, writer's boot, whether it is known | exists | void | grace, ms left.
local id, holder, process, reservation = ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local life = enter(B, now)
local record = load_record(B, id)
local birth = mark_of(holder, 0)
if record and record.L ~= birth then return {'exists'} end
if not record then
  local left = life.began + life.grace - now -- [grace]
  if left > 0 then return {'grace', tostring(left)} end
  if reservation ~= '' and is_void(B, reservation) then return {'void'} end
  record = {L = birth}
  read_fields(11, record)
  give_lease(B, record, now, holder, process, ARGV[6], ARGV[7])
  if reservation ~= '' then record.O = ARGV[9] .. reservation end
  insert(B, id, ARGV[10], record)
end
local writer_boot = present_boot(B, record.h)
return {'granted', writer_boot or '', writer_boot and '1' or ''}

-- Insert a record with its events and, if wanted, its lease.
-- ARGV: 3 id, 4 holder (without a lease: a token), 5 '1': with its lease, 6 process, 7 host,
-- 8 boot, 9 reservation of a key of one file or '', 10 the key's digest or '', 11 facts,
-- 12... number of fields, names and values; then the events.
-- Reply: made, generation | exists | void.
local id, holder, process, reservation = ARGV[3], ARGV[4], ARGV[6], ARGV[9]
local life = enter(B, now)
local record = load_record(B, id)
local birth = mark_of(holder, 0)
if record then
  -- Its own mark: the first answer was lost.
  if record.L == birth then return {'made', record.m} end
  return {'exists'}
end
if reservation ~= '' and is_void(B, reservation) then return {'void'} end

record = {m = life.generation}
local events_at = read_fields(12, record)
if ARGV[5] == '1' then
  give_lease(B, record, now, holder, process, ARGV[7], ARGV[8])
  record.S = '1'
end
record.L = birth
if reservation ~= '' then record.O = ARGV[10] .. reservation end
insert(B, id, ARGV[11], record)
store_events(B, life.hooks, id, events_at)
return {'made', life.generation}

-- Let go without changing the record: clean only where it was settled, or committed since.
-- ARGV: 3 id, 4 holder, 5 number, 6 which of the lease's calls, 7 process. Reply: done | gone.
local id, holder = ARGV[3], ARGV[4]
enter(B, now)
local record = load_record(B, id)
if not record or not is_mine(B, record, now, holder, ARGV[5]) then return {'gone'} end
make_room(B)
local released = copy_of(record)
take_lease_away(released, mark_of(holder, ARGV[6]), record.S)
save(B, id, record, released)
wake_waiters(B, id, ARGV[7])
return {'done'}

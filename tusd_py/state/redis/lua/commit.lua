-- Write the record and its events, and renew the lease or let it go.
-- ARGV: 3 id, 4 holder, 5 number, 6 which of the lease's calls, 7 process, 8 '1': let go,
-- 9... number of fields, names and values; then the events.
-- Reply: done, whether it was asked for | gone.
local id, holder, sequence = ARGV[3], ARGV[4], ARGV[6]
local life = enter(B, now)
local record = load_record(B, id)
if not record then return {'gone'} end
local mark = mark_of(holder, sequence)
if record.L == mark then return {'done', ''} end -- the first answer was lost
if not is_mine(B, record, now, holder, ARGV[5]) then return {'gone'} end
if record.R then make_room(B) end
if record.Q and not is_less(record.Q, sequence) then
  -- It came twice, perhaps after later ones: what it says may be old. Its holder may have made it
  -- again, and believes in a lease from then on.
  local renewed = copy_of(record)
  renewed.D = deadline(now)
  save_progress(B, id, record, renewed)
  return {'done', record.A or ''}
end

local written = copy_of(record)
local events_at = read_fields(9, written)
written.m = life.generation
if ARGV[8] == '1' then
  -- A lease that was believed under another master, and not renewed under this one: this commit may
  -- have been done there, and others after it, that were forgotten [restart-is-unclean].
  take_lease_away(written, mark, not record.S or record.m == life.generation)
  save(B, id, record, written)
else
  written.D, written.Q, written.S = deadline(now), sequence, '1'
  save_progress(B, id, record, written)
end
store_events(B, life.hooks, id, events_at)
if ARGV[8] == '1' then wake_waiters(B, id, ARGV[7]) end
return {'done', written.A or ''}

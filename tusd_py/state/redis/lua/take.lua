-- Take the lease and load the record, or say why not. Nothing is written where none is needed.
-- ARGV: 3 id, 4 purpose, 5 owner's digest or '', 6 holder, 7 process, 8 host, 9 boot,
-- 10 '1': asks a live holder, 11 '1': waits for it.
-- Reply: unknown | foreign, record | seen, record | held, ms left, may ask, holder | grace, ms left
-- | granted, number, settled, writer's boot, record.
local id, purpose, holder, process = ARGV[3], ARGV[4], ARGV[6], ARGV[7]
local life = enter(B, now)
local record = load_record(B, id)
if not record then return {'unknown'} end
if ARGV[5] ~= '' and ARGV[5] ~= record.o then return {'foreign', shown(B, id, record)} end

local is_present = record.m == life.generation
local writer_boot = present_boot(B, record.h)
local settled = is_settled(record, life.generation, writer_boot)
if is_present and (purpose == 'read' or purpose == 'append') then
  local is_full = record.l and not is_less(record.a or '0', record.l)
  local is_true = purpose == 'read' and settled and record.s == 'r' and not is_full
  if is_true or UNTOUCHED[record.s] then return {'seen', shown(B, id, record)} end
end

local makes_room = purpose == 'sweep' or purpose == 'terminate'
if makes_room then make_room(B) end

local function grant(was_settled)
  -- [sweep-reconciles] the sweeper never believes the record alone
  local is_believed = was_settled and purpose ~= 'sweep'
  return {'granted', record.N, is_believed and '1' or '', writer_boot or '',
    writer_boot and '1' or '', shown(B, id, record)}
end

if record.H == holder then return grant(record.S) end -- the first answer was lost
if is_held(B, record, now) then
  local may_ask = purpose == 'terminate' or (purpose ~= 'sweep' and record.s ~= 'v')
  local is_far = record.P ~= process
  if may_ask and ARGV[10] == '1' then
    if not record.A then redis.call('HSET', B .. ':u:' .. id, 'A', '1') end
    if is_far then tell('p:' .. record.P, 'ask ' .. id .. ' ' .. record.H) end
  end
  if is_far and ARGV[11] == '1' then note_waiter(B, id, process) end
  return {'held', tostring(tonumber(record.D) - now), may_ask and '1' or '', record.H}
end
if not is_present then
  -- [grace] Holders that this generation does not know may believe in their leases yet.
  local left = life.began + life.grace - now
  if left > 0 then return {'grace', tostring(left)} end
end

-- [lease-only], but for the signature: before the first byte a settled record names the machine
-- whose restart would lose it.
local taken = copy_of(record)
give_lease(B, taken, now, holder, process, ARGV[8], ARGV[9])
taken.S, taken.R = settled and '1' or nil, makes_room and '1' or nil
if settled and purpose == 'append' then taken.h, taken.b = ARGV[8], ARGV[9] end
save(B, id, record, taken)
redis.call('HDEL', B .. ':waiting', id)
record = taken
return grant(taken.S)

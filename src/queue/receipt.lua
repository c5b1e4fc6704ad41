#!lua flags=allow-oom
-- Writes what Meta's receipts say of messages: the rule of domain/receipt.rs.
-- KEYS    1 meta  2 state  3 retry  4 doubt
-- ARGV    1 runs of equal receipts, 18 bytes each: first index (u32), count (u16), generation, kind (0 sent, 1 delivered,
--           2 read, 3 failed), again (1: worth another attempt), reason (u8 each), due in wall ms (f64)
--         2 attempts at most
-- RETURNS one byte per receipt, in their order: 16 * state before + 1 news + 2 moved + 4 arrived twice + 8 nowhere
-- INVARIANT flags are only added, and only newly added ones are counted: a receipt heard twice changes nothing. What a
--         positive receipt speaks of is accepted afterwards, and no retry of it is left.
local band, bor = bit.band, bit.bor
local most, total = tonumber(ARGV[2]), 0
if #ARGV[1] % 18 ~= 0 or not most then return redis.error_reply('ERR receipt: malformed arguments') end
for at = 1, #ARGV[1], 18 do
  local _, n, _, kind, again = struct.unpack('<I4I2BBB', ARGV[1], at)
  total = total + n
  if n == 0 or kind > 3 or again > 1 then return redis.error_reply('ERR receipt: malformed arguments') end
end
if total > 1000 then return redis.error_reply('ERR receipt: more than 1000 receipts') end

local BITS = {[0] = 1, 2, 6, 8}

-- The record after a receipt, and what came of it.
local function received(record, generation, kind, again, reason)
  local head, held, why, flags = string.byte(record, 1, 4)
  local state, before = math.floor(head / 16), flags
  local mark = 16 * state
  if generation == 0 or (kind == 3 and generation > held) then return record, mark + 8 end
  if band(flags, BITS[kind]) ~= BITS[kind] then mark = mark + 1 end
  local tried = state == 1 and math.min(head % 16 + 1, 15) or head % 16
  if kind == 3 then
    flags = bor(flags, 8)
    if generation < held or band(flags, 6) ~= 0 then return string.char(head, held, why, flags), mark end
    flags = bor(flags, 32)
    if state ~= 1 and state ~= 2 and state ~= 3 and state ~= 6 and state ~= 7 then
      return string.char(head, held, why, flags), mark
    end
    local to = (again == 1 and band(before, 8) == 0 and tried < most) and 4 or 5
    return string.char(16 * to + tried, held, reason, band(flags, 191)), mark + 2
  end
  if generation > held then
    held, flags = generation, bor(band(flags, 159), 2 * band(flags, 64))
  end
  local older = generation < held
  local overtaken = band(flags, older and 8 or 32) ~= 0
  flags = bor(flags, BITS[kind])
  if kind == 0 and overtaken then return string.char(head, held, why, flags), mark end
  flags = bor(flags, older and 128 or 64)
  if band(before, 192) ~= 192 and band(flags, 192) == 192 then mark = mark + 4 end
  if state == 2 then return string.char(head, held, why, flags), mark end
  return string.char(32 + tried, held, 0, flags), mark + 2
end

local deltas = {}
local function count(field, by) deltas[field] = (deltas[field] or 0) + by end

-- Counts `n` neighbours from `first` that went from one record to another.
local function note(first, n, before, after, mark, due)
  local head, _, why, flags = string.byte(before, 1, 4)
  local head_after, _, why_after, flags_after = string.byte(after, 1, 4)
  for flag = 0, 3 do
    if band(flags_after, 2 ^ flag) > band(flags, 2 ^ flag) then count('f' .. flag, n) end
  end
  if band(mark, 4) ~= 0 then count('dup', n) end
  if band(mark, 2) == 0 then return end
  local from, to = math.floor(head / 16), math.floor(head_after / 16)
  if from > 0 then count('s' .. from, -n) end
  count('s' .. to, n)
  if from == 5 or from == 6 or from == 7 or from == 8 or from == 9 then count('r' .. from .. '.' .. why, -n) end
  if to == 5 then count('r5.' .. why_after, n) end
  for index = first, first + n - 1 do
    if from == 6 then redis.call('ZREM', KEYS[4], index) end
    if to == 4 then
      redis.call('ZADD', KEYS[3], due, index)
    elseif from == 0 or from == 4 or from == 6 then
      redis.call('ZREM', KEYS[3], index)
    end
  end
end

local messages = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
local answer = {}
for at = 1, #ARGV[1], 18 do
  local first, n, generation, kind, again, reason, due = struct.unpack('<I4I2BBBBd', ARGV[1], at)
  local there = math.max(0, math.min(n, messages - first))
  local before = there > 0 and redis.call('GETRANGE', KEYS[2], 4 * first, 4 * (first + there) - 1) or ''
  local after
  if there > 0 and before == string.rep(string.sub(before, 1, 4), there) then
    local one = string.sub(before, 1, 4)
    local record, mark = received(one, generation, kind, again, reason)
    after = string.rep(record, there)
    note(first, there, one, record, mark, due)
    answer[#answer + 1] = string.rep(string.char(mark), there)
  else
    local records = {}
    for i = 0, there - 1 do
      local one = string.sub(before, 4 * i + 1, 4 * i + 4)
      local record, mark = received(one, generation, kind, again, reason)
      records[#records + 1] = record
      note(first + i, 1, one, record, mark, due)
      answer[#answer + 1] = string.char(mark)
    end
    after = table.concat(records)
  end
  if after ~= before then redis.call('SETRANGE', KEYS[2], 4 * first, after) end
  answer[#answer + 1] = string.rep('\8', n - there)
end
for field, by in pairs(deltas) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end
end
return table.concat(answer)

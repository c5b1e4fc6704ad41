#!lua
-- Turns messages that are queued or due into sending, before any request leaves.
-- KEYS    1 meta  2 state  3 retry  4 asked
-- ARGV    1 token  2 request number  3 now in wall ms  4 most fresh messages  5 most due messages
--         6 reason of a message that was claimed too often
-- RETURNS {'ok', first, count, others, next due or -1, messages in the lane}: `count` untouched messages from
--         `first` (attempt 0, generation 1) and `others` as 8 bytes each: index (u32), record after the claim
--         {'token', theirs}: another owner has a newer token, or said so (replay.lua) · {'stale', last}: a later request was seen
--         {'gone'}: this Redis has never heard of the lane
-- INVARIANT a record becomes sending once per claim; the last request asked again answers what is still sending.
local token, request, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local meta = redis.call('HMGET', KEYS[1], 'tok', 'req', 'n', 'next', 'ask', 'said')
if not meta[1] then return {'gone'} end
if tonumber(meta[1]) ~= token then return {'token', meta[1]} end
if tonumber(meta[6] or 0) > token then return {'token', meta[6]} end
local last, n, following = tonumber(meta[2] or 0), tonumber(meta[3] or 0), tonumber(meta[4] or 0)
if request < last then return {'stale', last} end

local first, count, others = following, 0, {}
local function other(index, record) others[#others + 1] = struct.pack('<I4', index) .. record end
local function record_of(index) return redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3) end

local function due_in()
  local entry = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return entry[2] and tonumber(entry[2]) or -1
end
local function answer()
  return {'ok', first, count, table.concat(others), string.format('%.0f', due_in()), n}
end

if request == last then
  local from, asked = string.match(meta[5] or '0:0', '(%d+):(%d+)')
  for index = tonumber(from), tonumber(from) + tonumber(asked) - 1 do
    local record = record_of(index)
    if math.floor(string.byte(record) / 16) == 1 then other(index, record) end
  end
  local due = redis.call('GET', KEYS[4]) or ''
  for at = 1, #due, 4 do
    local index = struct.unpack('<I4', due, at)
    local record = record_of(index)
    if math.floor(string.byte(record) / 16) == 1 then other(index, record) end
  end
  return answer()
end

-- 1. Those that are due: they waited longer than anything untouched.
local asked, sending, waiting, worn = {}, 0, 0, 0
if tonumber(ARGV[5]) > 0 then
  local due = redis.call('ZRANGE', KEYS[3], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[5])
  for _, member in ipairs(due) do
    local index = tonumber(member)
    local head, generation, reason, flags = string.byte(record_of(index), 1, 4)
    local state = math.floor(head / 16)
    if state == 0 or state == 4 then
      if state == 4 then waiting = waiting + 1 end
      if generation == 255 then
        redis.call('SETRANGE', KEYS[2], 4 * index, string.char(5 * 16 + head % 16, generation, tonumber(ARGV[6]), flags))
        worn = worn + 1
      else
        -- Flags of the current generation are those of another one from now on (domain/receipt.rs).
        flags = bit.bor(bit.band(flags, 159), 2 * bit.band(flags, 64))
        local record = string.char(16 + head % 16, generation + 1, reason, flags)
        redis.call('SETRANGE', KEYS[2], 4 * index, record)
        asked[#asked + 1] = struct.pack('<I4', index)
        other(index, record)
        sending = sending + 1
      end
    end
  end
  if #due > 0 then redis.call('ZREM', KEYS[3], unpack(due)) end
end

-- 2. Untouched ones, a range that is all zeroes; those that a receipt lifted although this Redis has no memory of their
-- claim are passed over.
count = math.max(0, math.min(tonumber(ARGV[4]), n - following))
if count > 0 then
  local before = redis.call('GETRANGE', KEYS[2], 4 * first, 4 * (first + count) - 1)
  if before ~= string.rep('\0', 4 * count) then
    local function at(i) return string.sub(before, 4 * i + 1, 4 * i + 4) end
    local lifted = 0
    while lifted < count and at(lifted) ~= '\0\0\0\0' do lifted = lifted + 1 end
    local upto = lifted
    while upto < count and at(upto) == '\0\0\0\0' do upto = upto + 1 end
    first, count = first + lifted, upto - lifted
  end
  if count > 0 then redis.call('SETRANGE', KEYS[2], 4 * first, string.rep('\16\1\0\0', count)) end
  sending = sending + count
end

redis.call('HSET', KEYS[1], 'req', ARGV[2], 'next', first + count, 'ask', first .. ':' .. count)
if #asked > 0 then redis.call('SET', KEYS[4], table.concat(asked)) elseif meta[5] then redis.call('DEL', KEYS[4]) end
if sending > 0 then redis.call('HINCRBY', KEYS[1], 's1', sending) end
if waiting > 0 then redis.call('HINCRBY', KEYS[1], 's4', -waiting) end
if worn > 0 then
  redis.call('HINCRBY', KEYS[1], 's5', worn)
  redis.call('HINCRBY', KEYS[1], 'r5.' .. ARGV[6], worn)
end
return answer()

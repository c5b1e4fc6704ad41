#!lua flags=allow-oom
-- Takes messages out of the queue for good, whoever owns the lane.
-- KEYS    1 meta  2 state  3 retry
-- ARGV    1 reason  2 indices, 4 bytes each (u32)
-- RETURNS how many were queued or waiting, and are suppressed now
-- INVARIANT only a queued or waiting record changes; one that is sending is left to its settle.
local n = tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
local reason, suppressed, waiting = tonumber(ARGV[1]), 0, 0
for at = 1, #ARGV[2], 4 do
  local index = struct.unpack('<I4', ARGV[2], at)
  local head, generation, _, flags = string.byte(redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3), 1, 4)
  local state = head and math.floor(head / 16)
  if index < n and (state == 0 or state == 4) then
    redis.call('SETRANGE', KEYS[2], 4 * index, string.char(8 * 16 + head % 16, generation, reason, flags))
    redis.call('ZREM', KEYS[3], index)
    suppressed = suppressed + 1
    if state == 4 then waiting = waiting + 1 end
  end
end
if suppressed > 0 then
  redis.call('HINCRBY', KEYS[1], 's8', suppressed)
  redis.call('HINCRBY', KEYS[1], 'r8.' .. ARGV[1], suppressed)
end
if waiting > 0 then redis.call('HINCRBY', KEYS[1], 's4', -waiting) end
return suppressed

#!lua flags=allow-oom
-- Takes back the doubt about messages that certainly never left, after their lane went to another owner.
-- KEYS    1 meta  2 state  3 retry  4 doubt
-- ARGV    1 now in wall ms  2 reason of the doubt  3 messages, 5 bytes each: index (u32), generation (u8)
-- RETURNS messages that are queued again
-- INVARIANT only what the sweep put in doubt changes, once: the generation stays used, so that a copy of this call that
--         comes late finds nothing.
local back = 0
for at = 1, #ARGV[3], 5 do
  local index, generation = struct.unpack('<I4B', ARGV[3], at)
  local head, now, reason, flags = string.byte(redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3), 1, 4)
  if head and math.floor(head / 16) == 6 and now == generation and reason == tonumber(ARGV[2]) then
    redis.call('SETRANGE', KEYS[2], 4 * index, string.char(head % 16, generation, 0, flags))
    redis.call('ZADD', KEYS[3], ARGV[1], index)
    redis.call('ZREM', KEYS[4], index)
    back = back + 1
  end
end
if back > 0 then
  redis.call('HINCRBY', KEYS[1], 's6', -back)
  redis.call('HINCRBY', KEYS[1], 'r6.' .. ARGV[2], -back)
end
return back

#!lua flags=allow-oom
-- Ends doubts: what was decided of messages that are in doubt or unresolved, or held by Meta and never heard of again.
-- KEYS    1 meta  2 state  3 retry  4 doubt
-- ARGV    1 now in wall ms  2 messages, 8 bytes each: index (u32), generation, state seen (3 held, 6 in doubt, 7 unresolved),
--         new state (2 accepted, 4 waiting and due now, 7 unresolved; of held ones 7 alone), attempts (u8 each)
--         3 reason of what was held
-- RETURNS how many changed
-- INVARIANT a record changes only if it is as it was seen: of what a receipt or a reply has settled meanwhile, nothing
--         is sent again. Generation and receipts stay.
if #ARGV[2] % 8 ~= 0 or #ARGV[2] > 8000 then return redis.error_reply('ERR resolve: malformed arguments') end
for at = 1, #ARGV[2], 8 do
  local _, _, seen, to, attempts = struct.unpack('<I4BBBB', ARGV[2], at)
  local known = seen == 6 or seen == 7 or (seen == 3 and to == 7)
  if not known or (to ~= 2 and to ~= 4 and to ~= 7) or seen == to or attempts > 15 then
    return redis.error_reply('ERR resolve: malformed arguments')
  end
end
local deltas, changed = {}, 0
local function count(field, by) deltas[field] = (deltas[field] or 0) + by end
for at = 1, #ARGV[2], 8 do
  local index, generation, seen, to, attempts = struct.unpack('<I4BBBB', ARGV[2], at)
  local head, now, reason, flags = string.byte(redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3), 1, 4)
  -- What was claimed as often as can be counted is claimed no more.
  local can = to ~= 4 or generation < 255
  if head and math.floor(head / 16) == seen and now == generation and can then
    local after = to == 2 and 0 or seen == 3 and tonumber(ARGV[3]) or reason
    redis.call('SETRANGE', KEYS[2], 4 * index, string.char(16 * to + attempts, generation, after, flags))
    if seen == 6 then redis.call('ZREM', KEYS[4], index) end
    if to == 4 then redis.call('ZADD', KEYS[3], ARGV[1], index) end
    count('s' .. seen, -1)
    if seen ~= 3 then count('r' .. seen .. '.' .. reason, -1) end
    count('s' .. to, 1)
    if to == 7 then count('r7.' .. after, 1) end
    changed = changed + 1
  end
end
for field, by in pairs(deltas) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end
end
return changed

#!lua flags=allow-oom
-- Gives claimed messages back, unsent. Costs no attempt and no generation.
-- KEYS    1 meta  2 state  3 retry
-- ARGV    1 token  2 request number  3 now in wall ms  4 messages, highest index first, 5 bytes each: index (u32), generation (u8)
-- RETURNS {'ok' or 'stale', released, messages, first never claimed, next due or -1} · {'token', theirs}
-- INVARIANT only a record that is sending under this generation changes; the untouched tail becomes untouched again.
local token, request = tonumber(ARGV[1]), tonumber(ARGV[2])
local meta = redis.call('HMGET', KEYS[1], 'tok', 'req', 'next', 'n', 'said')
if tonumber(meta[1] or 0) ~= token then return {'token', meta[1] or ''} end
if tonumber(meta[5] or 0) > token then return {'token', meta[5]} end
local following, released = tonumber(meta[3] or 0), 0
local function answer(word)
  local entry = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  local due = entry[2] and string.format('%.0f', tonumber(entry[2])) or '-1'
  return {word, released, tonumber(meta[4] or 0), following, due}
end
-- An earlier copy of this call arrived, and perhaps later ones: what it asked for is done.
if request <= tonumber(meta[2] or 0) then return answer('stale') end
for at = 1, #ARGV[4], 5 do
  local index, generation = struct.unpack('<I4B', ARGV[4], at)
  local head, now, reason, flags = string.byte(redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3), 1, 4)
  if head and math.floor(head / 16) == 1 and now == generation then
    redis.call('SETRANGE', KEYS[2], 4 * index, string.char(head % 16, generation - 1, reason, flags))
    if index == following - 1 and head % 16 == 0 and generation == 1 and reason == 0 and flags == 0 then
      following = index
    else
      redis.call('ZADD', KEYS[3], ARGV[3], index)
    end
    released = released + 1
  end
end
redis.call('HSET', KEYS[1], 'req', ARGV[2], 'next', following)
if released > 0 then redis.call('HINCRBY', KEYS[1], 's1', -released) end
return answer('ok')

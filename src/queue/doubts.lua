#!lua flags=no-writes
-- Reads messages of a lane that are in doubt, those first that are so longest.
-- KEYS    1 meta  2 state  3 doubt
-- ARGV    1 rank to begin at  2 most messages
-- RETURNS {in doubt as counted, in doubt as indexed, messages}: 16 bytes each: index (u32), record, since in wall ms (f64)
-- INVARIANT the index says since when; whether a message is in doubt only its record says.
local counted = tonumber(redis.call('HGET', KEYS[1], 's6') or 0)
local from, most = tonumber(ARGV[1]), math.min(tonumber(ARGV[2]), 1000)
local entries = redis.call('ZRANGE', KEYS[3], from, from + most - 1, 'WITHSCORES')
local messages = {}
for at = 1, #entries, 2 do
  local index = tonumber(entries[at])
  local record = redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3)
  if #record == 4 then
    messages[#messages + 1] = struct.pack('<I4', index) .. record .. struct.pack('<d', tonumber(entries[at + 1]))
  end
end
return {counted, redis.call('ZCARD', KEYS[3]), table.concat(messages)}

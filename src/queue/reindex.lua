#!lua flags=allow-oom
-- Makes a slice of the index of doubts what the records say: for lanes that are older than it.
-- KEYS    1 meta  2 state  3 doubt
-- ARGV    1 first index to look at  2 most records to look at
-- RETURNS index to go on from, or -1
-- INVARIANT what is in the index already keeps its time; what was not is in doubt since now, which makes waits longer.
local from, n = tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], 'n') or 0)
local upto = math.min(from + math.min(tonumber(ARGV[2]), 1000), n)
if from >= upto then return -1 end
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local records = redis.call('GETRANGE', KEYS[2], 4 * from, 4 * upto - 1)
local others = {}
for i = 0, #records / 4 - 1 do
  if math.floor(string.byte(records, 4 * i + 1) / 16) == 6 then
    redis.call('ZADD', KEYS[3], 'NX', now, from + i)
  else
    others[#others + 1] = from + i
  end
end
if #others > 0 then redis.call('ZREM', KEYS[3], unpack(others)) end
return upto < n and upto or -1

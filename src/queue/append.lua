#!lua
-- Puts one chunk at the end of a lane, unless a row of it is there already.
-- KEYS    1 meta  2 log  3 state  4.. one dedup set per bucket
-- ARGV    1 load tag  2 number  3 class  4 capacity of the lane  5 rows  6 chunk
--         then for each bucket: the count of its hashes, then the hashes
-- RETURNS {'ok', first index} or {'dup', position of each known hash in the order given, from 1}
-- INVARIANT a chunk is either wholly there with all its hashes, or not at all; a repeated tag answers as before.
local rows, capacity = tonumber(ARGV[5]), tonumber(ARGV[4])
local seen = redis.call('HMGET', KEYS[1], 'tag', 'tagr', 'n')
if seen[1] == ARGV[1] then return {'ok', tonumber(seen[2])} end

local at, position, known, groups = 7, 0, {}, {}
for bucket = 4, #KEYS do
  local count = tonumber(ARGV[at])
  local hashes = {unpack(ARGV, at + 1, at + count)}
  local found = redis.call('SMISMEMBER', KEYS[bucket], unpack(hashes))
  for i = 1, count do
    if found[i] == 1 then known[#known + 1] = position + i end
  end
  groups[bucket] = hashes
  at, position = at + 1 + count, position + count
end
if position ~= rows then return redis.error_reply('ERR append: rows and hashes differ') end
if #known > 0 then return {'dup', known} end

local first = tonumber(seen[3]) or 0
for bucket = 4, #KEYS do redis.call('SADD', KEYS[bucket], unpack(groups[bucket])) end
redis.call('XADD', KEYS[2], string.format('%.0f-0', first + 1), 'c', ARGV[6])
-- The records are allocated at their final size at once: growing a string piece by piece would double it.
local have = redis.call('STRLEN', KEYS[3])
local need = 4 * (first + rows)
if have < need then
  local grown = math.max(need, have == 0 and 4 * capacity or have + 4 * 512)
  local old = have > 0 and redis.call('GET', KEYS[3]) or ''
  redis.call('SET', KEYS[3], old .. string.rep('\0', grown - have))
end
redis.call('HSET', KEYS[1], 'n', first + rows, 'tag', ARGV[1], 'tagr', first)
if not seen[3] then redis.call('HSET', KEYS[1], 'num', ARGV[2], 'cls', ARGV[3]) end
return {'ok', first}

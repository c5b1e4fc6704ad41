#!lua flags=allow-oom
-- Adds an entry to the stop list's log. Flagged so that a full Redis can still hear an opt-out.
-- KEYS    1 log (stream)  2 base (hash)
-- ARGV    1 operation  2 kind  3 account  4 subject  5 packed stops  6 how many  7 now in wall ms
-- RETURNS the entry's version
-- INVARIANT versions have no gaps, and none is given twice: an entry is one above the last one or the base.
if tonumber(ARGV[6]) > 1000 then return redis.error_reply('ERR stop: more than 1000 stops') end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local version = last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
version = math.max(version, tonumber(redis.call('HGET', KEYS[2], 'version') or 0)) + 1
local id = string.format('%.0f', version)
redis.call('XADD', KEYS[1], id .. '-0', 'o', ARGV[1], 'k', ARGV[2], 'a', ARGV[3], 's', ARGV[4], 'd', ARGV[5], 't', ARGV[7])
return version

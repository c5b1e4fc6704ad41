#!lua flags=allow-oom
-- Puts a new base of the stop list in force and trims the log that it stands for.
-- KEYS    1 log (stream)  2 base (hash)  3 the new base (stream)
-- ARGV    1 the base that it takes the place of, or ''  2 its version  3 now in wall ms
-- RETURNS 1, or 0: somebody else was faster, and nothing changed
-- INVARIANT the last entry of the log stays, so that whoever is left behind finds a gap.
if (redis.call('HGET', KEYS[2], 'key') or '') ~= ARGV[1] then return 0 end
if tonumber(redis.call('HGET', KEYS[2], 'version') or 0) > tonumber(ARGV[2]) then return 0 end
redis.call('PERSIST', KEYS[3])
redis.call('HSET', KEYS[2], 'key', KEYS[3], 'version', ARGV[2], 'at_ms', ARGV[3])
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2] .. '-0')
return 1

#!lua flags=allow-oom
-- Stops a scope: a number, a template, an account, everything.
-- KEYS    1 what is stopped
-- ARGV    1 scope  2 why  3 'over' | 'keep' what stands there already
-- RETURNS 1 if it was going before, else 0
-- INVARIANT a full Redis can still be told to stop sending.
local new = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if new == 0 and ARGV[3] == 'over' then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return new

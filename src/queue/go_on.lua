#!lua flags=allow-oom
-- Lets a scope go on that was stopped for one reason.
-- KEYS    1 what is stopped
-- ARGV    1 scope  2 why
-- RETURNS 1 if it was stopped for that, else 0
-- INVARIANT what an operator paused, or something else halted meanwhile, stays stopped.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])

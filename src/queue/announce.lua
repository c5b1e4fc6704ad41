#!lua flags=allow-oom
-- Tells every node that something changed.
-- KEYS    1 version
-- ARGV    1 channel
-- RETURNS the new version
-- INVARIANT a version never repeats; a full Redis can still be told to stop sending.
local version = redis.call('INCR', KEYS[1])
redis.call('PUBLISH', ARGV[1], string.format('%.0f', version))
return version

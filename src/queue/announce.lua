#!lua flags=allow-oom
-- Tells every node that something changed.
-- KEYS    1 version
-- ARGV    1 channel
-- RETURNS the new version
-- INVARIANT a version never repeats, also on a Redis that forgot the last ones: it is above all before and never less than
--         Redis' time in µs; a full Redis can still be told to stop sending.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local version = math.max(now_us, tonumber(redis.call('GET', KEYS[1]) or 0) + 1)
local text = string.format('%.0f', version)
redis.call('SET', KEYS[1], text)
redis.call('PUBLISH', ARGV[1], text)
return version

#!lua flags=allow-oom
-- Moves a campaign from one state to another, if it still is where the caller saw it.
-- KEYS    1 campaign record
-- ARGV    1 state seen  2 new state  3 wall ms
-- RETURNS {'ok'} · {'moved', state found}
-- INVARIANT two operators at once cannot both believe that they moved it.
local found = redis.call('HGET', KEYS[1], 'state')
if found ~= ARGV[1] then return {'moved', found or ''} end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'since_ms', ARGV[3])
return {'ok'}

#!lua flags=allow-oom
-- Moves a campaign from one state to another, if it still is where the caller saw it, and writes what goes with that.
-- KEYS    1 campaign record
-- ARGV    1 state seen  2 new state  3 wall ms  4 field that must be as the caller saw it, or ''  5 its value
--         6… pairs of a field and its value; an empty value deletes the field
-- RETURNS {'ok'} · {'moved', state found}
-- INVARIANT two operators at once cannot both believe that they moved it; state and fields change together or not at all.
local found = redis.call('HMGET', KEYS[1], 'state', ARGV[4])
if found[1] ~= ARGV[1] then return {'moved', found[1] or ''} end
if ARGV[4] ~= '' and (found[2] or '0') ~= ARGV[5] then return {'moved', found[1]} end
if ARGV[1] ~= ARGV[2] then redis.call('HSET', KEYS[1], 'state', ARGV[2], 'since_ms', ARGV[3]) end
for at = 6, #ARGV - 1, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[at])
  else
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
return {'ok'}

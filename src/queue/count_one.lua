#!lua
-- Counts one message that was put into a campaign by itself, among the totals of its loads.
-- KEYS    1 campaign record
-- ARGV    1 '1' if it is new, '0' if it repeats one that was there
-- RETURNS nothing
-- INVARIANT rows = loaded + duplicate + rejected; one field, however many messages come one by one.
local seen, rows, loaded, duplicate, rejected =
  string.match(redis.call('HGET', KEYS[1], 'load:singles') or '0 0 0 0 0', '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
local new = tonumber(ARGV[1])
redis.call('HSET', KEYS[1], 'load:singles', string.format('%.0f %.0f %.0f %.0f %.0f',
  tonumber(seen), tonumber(rows) + 1, tonumber(loaded) + new, tonumber(duplicate) + 1 - new, tonumber(rejected)))
if new == 1 then redis.call('HINCRBY', KEYS[1], 'grown', 1) end

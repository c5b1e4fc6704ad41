#!lua flags=allow-oom
-- How long processes still have, after a failover, to say what this Redis forgot of them. Notes the failover as own.lua does,
-- if nobody has yet.
-- KEYS    1 token and revision  2 node → incarnation, lease end in ms, …
-- ARGV    1 lease in ms
-- RETURNS ms that are left; 0: none
-- INVARIANT what own.lua grants is granted no sooner.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local seen = redis.call('HMGET', KEYS[1], 'replid', 'grace')
local grace = tonumber(seen[2] or 0)
if seen[1] and seen[1] ~= replid then
  local span = math.max(tonumber(ARGV[1]), 10000)
  for _, node in ipairs(redis.call('HVALS', KEYS[2])) do
    if tonumber(string.match(node, '^%S+ (%d+)')) - now > -span then grace = now + tonumber(ARGV[1]) end
  end
  redis.call('HSET', KEYS[1], 'replid', replid, 'grace', string.format('%.0f', grace))
end
return math.max(0, grace - now)

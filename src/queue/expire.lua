#!lua flags=allow-oom
-- Ends the leases that have run out, as a heartbeat of another node does: whoever had one must join anew, and reads everything
-- before it sends again.
-- KEYS    1 token and revision, which master was looked at, end of the grace in ms  2 node → incarnation, lease end in ms,
--         version acted on, capacity, joined in ms, leaving, lease in ms  3 number → owner or '-', …  4 node → its numbers
-- ARGV    1 channel
-- RETURNS for how long in ms a lease may run that this Redis does not know of; nothing was changed then. 0: there can be none
-- INVARIANT another master, or the same one started anew, may have forgotten renewals: until a heartbeat has begun the grace, a
--         lease that ended here may run for as long again; within the grace any lease may.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local function whole(number) return string.format('%.0f', number) end
local own = redis.call('HMGET', KEYS[1], 'replid', 'grace', 'token')
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local unseen = own[1] and tonumber(own[2] or 0) - now or 0
local nodes, dead = redis.call('HGETALL', KEYS[2]), {}
for at = 1, #nodes, 2 do
  local ends, lease = string.match(nodes[at + 1], '^%S+ (%d+) %d+ %d+ %d+ %d (%d+)')
  if tonumber(ends) <= now then dead[nodes[at]] = true end
  if own[1] and replid ~= own[1] then unseen = math.max(unseen, tonumber(ends) + tonumber(lease) - now) end
end
if unseen > 0 then return unseen end
if not next(dead) then return 0 end

for node in pairs(dead) do
  redis.call('HDEL', KEYS[2], node)
  redis.call('HDEL', KEYS[4], node)
end
local numbers = redis.call('HGETALL', KEYS[3])
for at = 1, #numbers, 2 do
  if dead[string.match(numbers[at + 1], '^%S+')] then
    redis.call('HSET', KEYS[3], numbers[at], '- ' .. whole(now) .. ' 0 lost')
  end
end
local token = whole(math.max(now_us, tonumber(own[3] or 0) + 1))
redis.call('HSET', KEYS[1], 'token', token, 'rev', token)
redis.call('PUBLISH', ARGV[1], token)
return 0

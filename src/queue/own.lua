#!lua flags=allow-oom
-- Divides the numbers among the nodes: renews a lease, ends those that ran out, takes numbers back, gives free ones.
-- KEYS    1 token and revision  2 node → incarnation, lease end in ms, version acted on, capacity, joined in ms, leaving,
--         lease in ms  3 number → owner or '-', since in ms, instant in µs before which it may not send, how the last
--         owner left it  4 node → its numbers and their weights
-- ARGV    1 node  2 incarnation  3 'join' | 'keep' | 'leave'  4 lease in ms  5 version acted on  6 capacity
--         7 '1' if it is stopping  8 its numbers and their weights, '' for no change  9 revision it knows
--         10 numbers given back, each with the µs before which it may not send, or 'lost' if that is not known
--         11 numbers asked for  12 channel
-- RETURNS {'ok', token, revision, ms to the next end of another lease or -1, now in wall ms, taken, nodes, numbers, lists}:
--         `taken` are number, µs before which it may not send, 'given' | 'lost' | 'new'; the last three are empty at the
--         known revision · {'gone'}: the lease ended · {'held', ms left}: another incarnation lives under this name
-- INVARIANT a number has one owner, who changes only by giving it back or when the lease has ended, and within a lease after
--         a failover not at all; every answer has a token of its own, above all before and never less than Redis' time in µs.
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)
local node, incarnation, word, nodes_max = ARGV[1], ARGV[2], ARGV[3], 256
local function whole(number) return string.format('%.0f', number) end

local nodes, dead, ours, soonest, living = redis.call('HGETALL', KEYS[2]), {}, nil, -1, 0
local lately, span = false, math.max(tonumber(ARGV[4]), 10000)
for i = 1, #nodes, 2 do
  local theirs, ends = string.match(nodes[i + 1], '^(%S+) (%d+)')
  local left = tonumber(ends) - now
  if nodes[i] == node and theirs == incarnation then
    -- Late, and nobody has noticed: nothing of it was given away, so it may go on.
    ours = nodes[i + 1]
  elseif left <= 0 then
    dead[nodes[i]] = true
    lately = lately or left > -span
  else
    if nodes[i] == node then
      if word == 'join' then return {'held', left} end
      return {'gone'}
    end
    living = living + 1
    if soonest < 0 or left < soonest then soonest = left end
  end
end
if word ~= 'join' and not ours then return {'gone'} end
if not ours and living >= nodes_max then return redis.error_reply('ERR own: more than 256 nodes') end

-- Another master, or the same one started anew, may have forgotten its last grants: a number whose owner is not known here,
-- or known here as one who asks for it and so does not hold it, may have another all the same, for one lease at most. It may
-- have forgotten renewals, too: a lease that ended lately here may run.
local replid = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local seen = redis.call('HMGET', KEYS[1], 'replid', 'grace')
local grace = tonumber(seen[2] or 0)
if replid ~= seen[1] then
  if seen[1] and (living > 0 or lately or ours) then grace = now + tonumber(ARGV[4]) end
  redis.call('HSET', KEYS[1], 'replid', replid, 'grace', whole(grace))
end

local changed = false
for name in pairs(dead) do
  redis.call('HDEL', KEYS[2], name)
  redis.call('HDEL', KEYS[4], name)
  changed = true
end
if word == 'leave' then
  dead[node], changed = true, true
  redis.call('HDEL', KEYS[2], node)
  redis.call('HDEL', KEYS[4], node)
end
for number, wait in string.gmatch(ARGV[10], '(%S+) (%S+)') do
  local entry = redis.call('HGET', KEYS[3], number)
  if entry and string.match(entry, '^%S+') == node and ours then
    local left = wait == 'lost' and '0 lost' or whole(now_us + tonumber(wait)) .. ' given'
    redis.call('HSET', KEYS[3], number, '- ' .. whole(now) .. ' ' .. left)
    changed = true
  end
end
if next(dead) then
  local numbers = redis.call('HGETALL', KEYS[3])
  for i = 1, #numbers, 2 do
    if dead[string.match(numbers[i + 1], '^%S+')] then
      redis.call('HSET', KEYS[3], numbers[i], '- ' .. whole(now) .. ' 0 lost')
    end
  end
end

local taken = {}
if word ~= 'leave' then
  local joined, leaving = whole(now), '0'
  if ours then joined, leaving = string.match(ours, '^%S+ %d+ %d+ %d+ (%d+) (%d)') end
  if not ours or leaving ~= ARGV[7] then changed = true end
  local ends = whole(now + tonumber(ARGV[4]))
  redis.call('HSET', KEYS[2], node, table.concat({incarnation, ends, ARGV[5], ARGV[6], joined, ARGV[7], ARGV[4]}, ' '))
  if ARGV[8] ~= '' and redis.call('HGET', KEYS[4], node) ~= ARGV[8] then
    redis.call('HSET', KEYS[4], node, ARGV[8])
    changed = true
  end
  for number in string.gmatch(ARGV[11], '%S+') do
    local owner, since, after_us, how = string.match(redis.call('HGET', KEYS[3], number) or '- 0 0 new', '^(%S+) (%d+) (%d+) (%S+)')
    -- Asked again by its owner, the answer is the same: the first one may have been lost.
    if grace <= now and (owner == node or (owner == '-' and ARGV[7] ~= '1')) then
      if owner == '-' then
        redis.call('HSET', KEYS[3], number, table.concat({node, whole(now), after_us, how}, ' '))
        changed = true
      end
      taken[#taken + 1] = number
      taken[#taken + 1] = whole(math.max(0, tonumber(after_us) - now_us))
      taken[#taken + 1] = how
    end
  end
end

local own = redis.call('HMGET', KEYS[1], 'token', 'rev')
local token = whole(math.max(now_us, tonumber(own[1] or 0) + 1))
-- A token, not a count: a Redis that forgot its last changes must not come to the same revision again.
local revision = changed and token or own[2] or token
redis.call('HSET', KEYS[1], 'token', token, 'rev', revision)
if changed then redis.call('PUBLISH', ARGV[12], revision) end
local all = {{}, {}, {}}
if revision ~= ARGV[9] then
  for i = 1, 3 do all[i] = redis.call('HGETALL', KEYS[i + 1]) end
end
return {'ok', token, revision, soonest, whole(now), taken, all[1], all[2], all[3]}

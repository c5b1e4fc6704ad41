#!lua flags=allow-oom
-- Takes or keeps the right to send, for one process at a time.
-- KEYS    1 ownership
-- ARGV    1 node  2 lease in ms  3 'take' | 'keep' | 'leave'  4 version acted on
-- RETURNS {'ok', token} · {'held', by whom, age of its heartbeat in ms}
-- INVARIANT a token is never less than Redis' time in µs and never repeats.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local own = redis.call('HMGET', KEYS[1], 'node', 'beat', 'token')
local ours = own[1] == ARGV[1]
local age = now - tonumber(own[2] or 0)
if own[1] and not ours and age < tonumber(ARGV[2]) then return {'held', own[1], age} end
if ARGV[3] == 'leave' then
  if ours then redis.call('HDEL', KEYS[1], 'node', 'beat', 'ack') end
  return {'ok', own[3] or '0'}
end
local token = own[3]
if not ours then
  if ARGV[3] == 'keep' then return {'held', own[1] or '', age} end
  local floor = tonumber(time[1]) * 1000000 + tonumber(time[2])
  token = string.format('%.0f', math.max(floor, tonumber(own[3] or 0) + 1))
end
redis.call('HSET', KEYS[1], 'node', ARGV[1], 'beat', string.format('%.0f', now), 'token', token, 'ack', ARGV[4])
return {'ok', token}

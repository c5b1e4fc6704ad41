#!lua flags=allow-oom
-- Makes a lane ours, and puts what its last owner was sending in doubt, a slice at a time.
-- KEYS    1 meta  2 state  3 retry  4 doubt
-- ARGV    1 token  2 first index to look at  3 most records to look at  4 reason of the doubt  5 run of the process
-- RETURNS {'ok', index to go on from or -1, put in doubt, messages, next, next due or -1, number} · {'token', theirs}
-- INVARIANT a token never goes back; nothing is claimed under a token before its sweep is over; what is sending was
--         claimed by the run in `by`, if that names the token, too, and unless `part` is set.
local token, from = tonumber(ARGV[1]), tonumber(ARGV[2])
local meta = redis.call('HMGET', KEYS[1], 'tok', 'n', 'next', 's1', 'num', 'by', 'said')
local last = tonumber(meta[1] or 0)
-- Somebody may have said that it was his under a token that this Redis forgot (replay.lua).
local theirs = math.max(last, tonumber(meta[7] or 0))
if token < theirs then return {'token', string.format('%.0f', theirs)} end
local sending, n, swept, upto = tonumber(meta[4] or 0), tonumber(meta[2] or 0), 0, -1
if token > last then
  redis.call('HSET', KEYS[1], 'tok', ARGV[1], 'req', 0, 'ask', '0:0', 'by', ARGV[5] .. ':' .. ARGV[1])
  -- Until the sweep is over some are of another run, unless all were of this one already.
  local again = meta[6] and meta[6] == ARGV[5] .. ':' .. meta[1]
  if sending > 0 and not again then redis.call('HSET', KEYS[1], 'part', 1) end
end
-- Asked again by the owner itself (first index -1) nothing is swept: what is sending is its own.
if sending > 0 and from >= 0 then
  -- Beyond the first never claimed, too: a receipt may have made a message wait there, and it was claimed since.
  upto = math.min(from + tonumber(ARGV[3]), n)
  local before = redis.call('GETRANGE', KEYS[2], 4 * from, 4 * upto - 1)
  local time = redis.call('TIME')
  local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
  for i = 0, #before / 4 - 1 do
    local head, generation, _, flags = string.byte(before, 4 * i + 1, 4 * i + 4)
    if math.floor(head / 16) == 1 then
      redis.call('SETRANGE', KEYS[2], 4 * (from + i), string.char(6 * 16 + head % 16, generation, tonumber(ARGV[4]), flags))
      redis.call('ZADD', KEYS[4], now, from + i)
      swept = swept + 1
    end
  end
  if swept > 0 then
    redis.call('HINCRBY', KEYS[1], 's1', -swept)
    redis.call('HINCRBY', KEYS[1], 's6', swept)
    redis.call('HINCRBY', KEYS[1], 'r6.' .. ARGV[4], swept)
  end
  if swept == sending or upto >= n then upto = -1 end
  if upto < 0 then redis.call('HDEL', KEYS[1], 'part') end
end
local entry = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
local due = entry[2] and string.format('%.0f', tonumber(entry[2])) or '-1'
return {'ok', upto, swept, n, tonumber(meta[3] or 0), due, meta[5] or ''}

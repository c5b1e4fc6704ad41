#!lua
-- Turns failed messages of one reason into waiting ones, due now, a slice at a time.
-- KEYS    1 meta  2 state  3 retry
-- ARGV    1 first index to look at  2 most records to look at  3 reason  4 now in wall ms  5 '1' only counts
-- RETURNS {'ok', index to go on from or -1, messages turned or counted}
-- INVARIANT only a record that failed for this reason changes; asked again there is nothing left to change. Attempts are
--         counted anew, generation and receipts stay; a message that was claimed 255 times is left alone.
local from, reason, now = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local meta = redis.call('HMGET', KEYS[1], 'next', 'r5.' .. ARGV[3])
local following, left, turned = tonumber(meta[1] or 0), tonumber(meta[2] or 0), 0
if left <= 0 then return {'ok', -1, 0} end
local upto = math.min(from + tonumber(ARGV[2]), following)
if from >= upto then return {'ok', -1, 0} end
local before = redis.call('GETRANGE', KEYS[2], 4 * from, 4 * upto - 1)
for i = 0, #before / 4 - 1 do
  local head, generation, why, flags = string.byte(before, 4 * i + 1, 4 * i + 4)
  if math.floor(head / 16) == 5 and why == reason and generation < 255 then
    turned = turned + 1
    if ARGV[5] ~= '1' then
      redis.call('SETRANGE', KEYS[2], 4 * (from + i), string.char(4 * 16, generation, why, flags))
      redis.call('ZADD', KEYS[3], now, from + i)
    end
  end
end
if turned > 0 and ARGV[5] ~= '1' then
  redis.call('HINCRBY', KEYS[1], 's5', -turned)
  redis.call('HINCRBY', KEYS[1], 'r5.' .. ARGV[3], -turned)
  redis.call('HINCRBY', KEYS[1], 's4', turned)
end
if upto >= following then upto = -1 end
return {'ok', upto, turned}

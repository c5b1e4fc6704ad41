#!lua flags=allow-oom
-- Counts people who are about to be written to against the budget of their portfolio, or takes them back. Flagged so that a
-- full Redis can still take back: it refuses the claims before this anyway.
-- KEYS    1 people (zset: person → last business-initiated send, µs of this Redis' clock)  2 what Meta said (hash: people or 'unlimited')
-- ARGV    1 'take' | 'back'  2 people at most, or '' for what Meta said alone  3 window in µs
--         take: 4… persons, at most 1000 · back: 4… person, score, score before (or 0), at most 1000 persons
-- RETURNS {people counted, people at most or -1, µs until there is room again or -1 if there is or nobody knows,
--         and for take per person: score, score before (0: was not counted); score 0: no room}
-- INVARIANT within a window never more persons are counted than the smaller of both limits allows, but for those who were
--         counted before it was lowered; who is counted is free and moves on; a score of a person is never given twice while
--         it is counted, so that only the latest send can be taken back.
local take, window = ARGV[1] == 'take', tonumber(ARGV[3])
local each = take and 1 or 3
local count = (#ARGV - 3) / each
if not (take or ARGV[1] == 'back') or not window then return redis.error_reply('ERR budget: take or back, and a window') end
if count > 1000 or count % 1 ~= 0 then return redis.error_reply('ERR budget: at most 1000 whole items') end
local limit = tonumber(ARGV[2]) or math.huge
if ARGV[2] ~= '' and limit == math.huge then return redis.error_reply('ERR budget: no limit') end
for at = 4, #ARGV do
  if not tonumber(ARGV[at]) then return redis.error_reply('ERR budget: no number') end
end
local said = redis.call('HGET', KEYS[2], 'people')
limit = math.min(limit, tonumber(said or '') or math.huge)

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number) return string.format('%.0f', number) end
local past = redis.call('ZCOUNT', KEYS[1], '-inf', text(now - window))
-- Who is past is removed little by little: after a day at rest there may be very many.
local gone = math.min(past, 1000)
if gone > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, gone - 1) end
past = past - gone
local used = redis.call('ZCARD', KEYS[1]) - past

local reply = {0, 0, 0}
for at = 4, #ARGV, each do
  local person = ARGV[at]
  local known = tonumber(redis.call('ZSCORE', KEYS[1], person) or '')
  local live = known and known > now - window
  if take then
    if live or used < limit then
      local score = math.max(now, live and known + 1 or 0)
      redis.call('ZADD', KEYS[1], text(score), person)
      if not live then
        used = used + 1
        if known then past = past - 1 end
      end
      reply[#reply + 1], reply[#reply + 2] = score, live and known or 0
    else
      reply[#reply + 1], reply[#reply + 2] = 0, 0
    end
  elseif known and known == tonumber(ARGV[at + 1]) then
    local before = tonumber(ARGV[at + 2])
    if before > now - window then
      redis.call('ZADD', KEYS[1], text(before), person)
    else
      redis.call('ZREM', KEYS[1], person)
      if live then used = used - 1 else past = past - 1 end
    end
  end
end

-- When so many have left that one more has room: none has yet, or there is nothing to wait for.
local wait = -1
if used >= limit then
  local rank = past + used - limit
  local oldest = redis.call('ZRANGE', KEYS[1], rank, rank, 'WITHSCORES')
  if oldest[2] then wait = math.max(0, tonumber(oldest[2]) + window - now) end
end
reply[1], reply[2], reply[3] = used, limit == math.huge and -1 or limit, wait
return reply

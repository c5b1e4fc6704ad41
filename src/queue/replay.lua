#!lua flags=allow-oom
-- Writes again what this Redis may have forgotten of a lane: the last that is known of each message.
-- KEYS    1 meta  2 state  3 retry  4 log  5 doubt
-- ARGV    1 the last request that gave something back  2 now in wall ms  3 first index of the chunk  4 its last four bytes, or '' for any
--         5 reason of a doubt  6 messages, lowest index first, 16 bytes each: index (u32), generation, state (15: given
--           back), attempt, reason (u8 each), due in wall ms (f64), or the request that claimed it, if it is sending; of one
--           given back the generation of its claim and the attempts it had
--         7 and on: the tokens under which the lane was the caller's lately, at most 16
-- RETURNS {'ok', written, messages beyond the lane's end} · {'differs'}: the log holds another chunk there · {'missing'}: the lane ends before that chunk, or is
--         not there
-- INVARIANT a record only moves forward: what is as new as what is said, or newer, stays as it is, also where somebody
--         gave back what the next owner claimed again. Untouched messages that are passed over become due, so none is left
--         out. 'said' only grows.
local meta = redis.call('HMGET', KEYS[1], 'tok', 'n', 'next', 'req', 'said')
if not meta[2] then return {'missing'} end
if #ARGV[6] % 16 ~= 0 or #ARGV[6] > 16000 or #ARGV > 22 then return redis.error_reply('ERR replay: malformed arguments') end
if ARGV[4] ~= '' then
  local id = string.format('%.0f-0', tonumber(ARGV[3]) + 1)
  local entry = redis.call('XRANGE', KEYS[4], id, id)
  if not entry[1] and tonumber(meta[2]) <= tonumber(ARGV[3]) then return {'missing'} end
  if not entry[1] or string.sub(entry[1][2][2], -4) ~= ARGV[4] then return {'differs'} end
end
local n, following, ours = tonumber(meta[2]), tonumber(meta[3] or 0), false
-- The lane may have been adopted anew, by the caller or by another, and this Redis may have forgotten that: the newest token
-- that anybody said is that of its last owner. What somebody before gave back may be claimed by that one.
local token, known = tonumber(meta[1] or 0), tonumber(meta[5] or 0)
local newest = math.max(token, known)
for at = 7, #ARGV do newest = math.max(newest, tonumber(ARGV[at])) end
local heard = 0
for at = 7, #ARGV do
  ours = ours or tonumber(ARGV[at]) == newest
  -- Of ours everything up to this request was heard here.
  if tonumber(ARGV[at]) == token then heard = tonumber(meta[4] or 0) end
end
if newest > math.max(token, known) then redis.call('HSET', KEYS[1], 'said', string.format('%.0f', newest)) end
-- A later request was heard here: what was given back may have been claimed again.
local forgot_release = ours and (token < newest or tonumber(meta[4] or 0) < tonumber(ARGV[1]))
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local deltas, written, highest, beyond = {}, 0, -1, 0
local function count(field, by) deltas[field] = (deltas[field] or 0) + by end
local function stands(state, reason, by)
  if state > 0 then count('s' .. state, by) end
  if state == 5 or state == 6 or state == 8 or state == 9 then count('r' .. state .. '.' .. reason, by) end
end
local function record_of(index) return redis.call('GETRANGE', KEYS[2], 4 * index, 4 * index + 3) end

for at = 1, #ARGV[6], 16 do
  local index, generation, state, attempt, reason, due = struct.unpack('<I4BBBBd', ARGV[6], at)
  if index >= n then
    -- One that was given back untouched is as it was loaded.
    if state ~= 15 or generation > 1 then beyond = beyond + 1 end
  else
    local head, held, why, flags = string.byte(record_of(index), 1, 4)
    local was, to = math.floor(head / 16), nil
    local open = was == 0 or was == 1 or was == 4 or was == 6
    -- As a claim does it: what a receipt said of the generation before is of another one now (domain/receipt.rs).
    local aged = bit.bor(bit.band(flags, 159), 2 * bit.band(flags, 64))
    if state == 15 then
      local before = generation - 1
      if was == 1 and held == generation and forgot_release then
        to, attempt = 0, head % 16
      elseif open and held < before or held == before and (was == 1 or was == 6) then
        -- How the attempt before the claim that was given back ended is forgotten, too. That it did is known.
        if held < before then flags = aged end
        to, attempt, highest = 0, math.max(attempt, head % 16), math.max(highest, index)
      end
      generation, reason, due = before, why, tonumber(ARGV[2])
    else
      highest = math.max(highest, index)
      -- A claim that was heard here and is not there was given back since, although the caller does not know it yet.
      local given_back = state == 1 and due <= heard
      if open and held < generation and not given_back then
        flags = aged
        to = state
        -- Under another owner nobody waits for its end.
        if state == 1 and not ours then to, reason = 6, tonumber(ARGV[5]) end
      elseif held == generation and (was == 1 or was == 6) and state ~= 1 and state ~= was then
        to = state
      end
    end
    if to then
      redis.call('SETRANGE', KEYS[2], 4 * index, string.char(16 * to + attempt, generation, reason, flags))
      stands(was, why, -1)
      stands(to, reason, 1)
      if to == 0 or to == 4 then
        redis.call('ZADD', KEYS[3], due, index)
      elseif was == 0 or was == 4 then
        redis.call('ZREM', KEYS[3], index)
      end
      if to == 6 and was ~= 6 then redis.call('ZADD', KEYS[5], now, index) end
      if was == 6 and to ~= 6 then redis.call('ZREM', KEYS[5], index) end
      written = written + 1
    end
  end
end

if highest >= following then
  if highest - following > 100000 then return redis.error_reply('ERR replay: too many messages are passed over') end
  for index = following, highest do
    if record_of(index) == '\0\0\0\0' then redis.call('ZADD', KEYS[3], ARGV[2], index) end
  end
  redis.call('HSET', KEYS[1], 'next', highest + 1)
end
for field, by in pairs(deltas) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end
end
return {'ok', written, beyond}

#!lua flags=allow-oom
-- Records what became of claimed messages.
-- KEYS    1 meta  2 state  3 retry  4 doubt
-- ARGV    1 runs of equal settlements, 18 bytes each: first index (u32), count (u16), generation, state, attempt,
--           reason (u8 each), due in wall ms (f64)
-- RETURNS {applied, ignored}
-- INVARIANT applies to sending and in doubt of the same generation, whoever owns the lane: a fact is a fact.
local deltas, applied, ignored, now = {}, 0, 0, nil
local function count(field, by) deltas[field] = (deltas[field] or 0) + by end

-- In doubt since now, by the clock that all nodes share.
local function since()
  local time = now or redis.call('TIME')
  now = time
  return string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
end

local function left(head, reason, by)
  local state = math.floor(head / 16)
  count('s' .. state, -by)
  if state == 6 then count('r6.' .. reason, -by) end
end

for at = 1, #ARGV[1], 18 do
  local first, n, generation, state, attempt, reason, due = struct.unpack('<I4I2BBBBd', ARGV[1], at)
  local before = redis.call('GETRANGE', KEYS[2], 4 * first, 4 * (first + n) - 1)
  local wrote, moved, doubted = 0, {}, false
  local head, held, why, flags = string.byte(before, 1, 4)
  local function applies(h, g) return (math.floor(h / 16) == 1 or math.floor(h / 16) == 6) and g == generation end
  if before == string.rep(string.sub(before, 1, 4), n) and head and applies(head, held) then
    local record = string.char(state * 16 + attempt, generation, reason, flags)
    redis.call('SETRANGE', KEYS[2], 4 * first, string.rep(record, n))
    left(head, why, n)
    doubted = math.floor(head / 16) == 6
    wrote = n
    for i = 0, n - 1 do moved[#moved + 1] = first + i end
  else
    local after = {}
    for i = 0, #before / 4 - 1 do
      head, held, why, flags = string.byte(before, 4 * i + 1, 4 * i + 4)
      if applies(head, held) then
        after[#after + 1] = string.char(state * 16 + attempt, generation, reason, flags)
        left(head, why, 1)
        doubted = doubted or math.floor(head / 16) == 6
        wrote = wrote + 1
        moved[#moved + 1] = first + i
      else
        after[#after + 1] = string.sub(before, 4 * i + 1, 4 * i + 4)
      end
    end
    if wrote > 0 then redis.call('SETRANGE', KEYS[2], 4 * first, table.concat(after)) end
  end
  if wrote > 0 then
    count('s' .. state, wrote)
    if state == 5 or state == 6 or state == 8 or state == 9 then count('r' .. state .. '.' .. reason, wrote) end
    if state == 6 then
      for _, index in ipairs(moved) do redis.call('ZADD', KEYS[4], 'NX', since(), index) end
    elseif doubted then
      redis.call('ZREM', KEYS[4], unpack(moved))
    end
    if state == 4 then
      for _, index in ipairs(moved) do redis.call('ZADD', KEYS[3], due, index) end
    end
  end
  applied, ignored = applied + wrote, ignored + n - wrote
end
for field, by in pairs(deltas) do
  if by ~= 0 then redis.call('HINCRBY', KEYS[1], field, by) end
end
return {applied, ignored}

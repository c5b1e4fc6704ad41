#!lua flags=allow-oom
-- Notes contacts of people of one class, bucket by bucket, if nobody else has noted any of them meanwhile.
-- KEYS    per bucket: 1 notes of this stretch of time  2 notes of the one before
-- ARGV    1 number of this stretch  2 its length in ms  3 how long notes are kept, in ms  4 most entries looked through
--         then per bucket: 1 entries known of this stretch  2 entries known of the one before
--           3 first bytes of the last known entry, '' without one  4 people asked about, 5 bytes each  5 notes, 11 bytes each
-- RETURNS {now in ms} when another stretch has begun, else {now in ms, per bucket one of}
--         {'ok', known, what was added since, ours among it ...}
--         {'again', known, what was added since ...}: some of it is about the people asked about
--         {'behind'}: too much was added, or it is not the list that is known
-- INVARIANT notes are only added; those of a bucket are added if the caller knows all notes about their people.
-- An entry is the time within the stretch (u32, ms) and any number of notes.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stretch, length, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4])
local answer = {string.format('%.0f', now)}
if math.floor(now / length) ~= stretch then return answer end
local head = struct.pack('<I4', now - stretch * length)

local function about(tail, people)
  local asked = {}
  for at = 1, #people, 5 do asked[string.sub(people, at, at + 4)] = true end
  for _, entry in ipairs(tail) do
    for at = 5, #entry, 11 do
      if asked[string.sub(entry, at, at + 4)] then return true end
    end
  end
  return false
end

for bucket = 1, #KEYS, 2 do
  local list, first = KEYS[bucket], 4 + (bucket - 1) / 2 * 5
  local known, before = tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  local last, people, notes = ARGV[first + 3], ARGV[first + 4], ARGV[first + 5]
  local n, tail, word = redis.call('LLEN', list), {}, 'ok'
  if n < known or n > known + most or redis.call('LLEN', KEYS[bucket + 1]) ~= before then
    word = 'behind'
  elseif known > 0 and string.sub(redis.call('LINDEX', list, known - 1), 1, #last) ~= last then
    word = 'behind'
  elseif n > known then
    tail = redis.call('LRANGE', list, known, -1)
    if about(tail, people) then word = 'again' end
  end
  if word == 'ok' and #notes > 0 then
    local entry = head .. notes
    redis.call('RPUSH', list, entry)
    if n == 0 then redis.call('PEXPIRE', list, ARGV[3]) end
    tail[#tail + 1] = entry
  end
  local one = {word}
  if word ~= 'behind' then
    one[2] = known
    for _, entry in ipairs(tail) do one[#one + 1] = entry end
  end
  answer[#answer + 1] = one
end
return answer

#!lua flags=allow-oom
-- Notes contacts of people of one class, if nobody else has noted any of them meanwhile.
-- KEYS    1 notes of this stretch of time  2 notes of the one before
-- ARGV    1 number of this stretch  2 its length in ms  3 how long notes are kept, in ms  4 most entries looked through
--         5 entries known of this stretch  6 entries known of the one before  7 first bytes of the last known entry, ''
--         without one  8 people asked about of whom nothing is to be noted, 5 bytes each  9 notes, 11 bytes each
-- RETURNS {now in ms, one of}
--         'ok', what others added since ...: it is about other people, and the notes were added after it
--         'again', what others added since ...: some of it is about the people asked about
--         'behind': too much was added · 'other': it is not the list that is known · 'later': another stretch has begun
-- INVARIANT notes are only added, and only if the caller knows all notes about the people it asks about.
-- An entry is the time within the stretch (u32, ms) and any number of notes; that of the notes added here is now.
local call, sub = redis.call, string.sub
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local stretch, length, most, known = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local last, people, notes = ARGV[7], ARGV[8], ARGV[9]
if math.floor(now / length) ~= stretch then return {now, 'later'} end

-- The last known entry, to see whether it still is that, and what was added since.
local entries = call('LRANGE', KEYS[1], math.max(known - 1, 0), known + most)
local first = 1
if known > 0 then
  if not entries[1] or sub(entries[1], 1, #last) ~= last then return {now, 'other'} end
  first = 2
end
if call('LLEN', KEYS[2]) ~= tonumber(ARGV[6]) then return {now, 'other'} end
if #entries - first >= most then return {now, 'behind'} end

local word = 'ok'
if entries[first] then
  local asked = {}
  for at = 1, #people, 5 do asked[sub(people, at, at + 4)] = true end
  for at = 1, #notes, 11 do asked[sub(notes, at, at + 4)] = true end
  for entry = first, #entries do
    for at = 5, #entries[entry], 11 do
      if asked[sub(entries[entry], at, at + 4)] then word = 'again' end
    end
  end
end
if word == 'ok' and #notes > 0 then
  local added = call('RPUSH', KEYS[1], struct.pack('<I4', now - stretch * length) .. notes)
  if added == 1 then call('PEXPIRE', KEYS[1], ARGV[3]) end
end
return {now, word, unpack(entries, first)}

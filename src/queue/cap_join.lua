#!lua flags=allow-oom
-- Copies the notes of a class and a stretch, which layout 1 kept in buckets, into the one list that layout 2 has.
-- KEYS    1 the list  2.. the buckets
-- ARGV    none
-- RETURNS entries copied
-- INVARIANT a list that is there already is left alone: it has them, or is newer. Those of one person stay in their order,
--           since they are of one bucket. The buckets stay for whoever still reads them, and expire by themselves.
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local slice, copied, left = 1000, 0, -1
for bucket = 2, #KEYS do
  local from = 0
  repeat
    local entries = redis.call('LRANGE', KEYS[bucket], from, from + slice - 1)
    if entries[1] then redis.call('RPUSH', KEYS[1], unpack(entries)) end
    from = from + #entries
  until #entries < slice
  copied = copied + from
  left = math.max(left, redis.call('PTTL', KEYS[bucket]))
end
if left >= 0 then redis.call('PEXPIRE', KEYS[1], left) end
return copied

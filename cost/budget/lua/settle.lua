-- KEYS: the receipt's record, then the bucket of each charge.
-- ARGV: milliseconds that a settled receipt is remembered, id, the same for a receipt that is not known; then of each
-- charge: difference to the reserved amount, rate, per (microseconds, 0 = slots), 1 = capped, slots to release.
-- Returns 1 when it had an effect. A receipt that is not known is marked all the same: its Spend may still be on the way.
local state = redis.call('GET', KEYS[1])
if not state or state == 's' then
  if not state then
    redis.call('SET', KEYS[1], 's', 'PX', ARGV[3])
  end
  return 0
end
local charged = tonumber(string.sub(state, 3)) or now
redis.call('SET', KEYS[1], 's', 'PX', ARGV[1])
for i = 2, #KEYS do
  local key, arg = KEYS[i], 5 * (i - 2) + 3
  local difference, per = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 3])
  if per == 0 then
    for slot = 1, tonumber(ARGV[arg + 5]) do
      redis.call('ZREM', key, ARGV[2] .. ':' .. (i - 1) .. ':' .. slot)
    end
  elseif difference ~= 0 then
    local rate = tonumber(ARGV[arg + 2])
    local bucket = drained(key, rate, per)
    bucket.used = math.max(0, bucket.used + difference)
    local age = math.max(0, (part(bucket.at, per)) - (part(charged, per)))
    if age <= parts and bucket.last[age] >= charged then
      bucket.spent[age] = math.max(0, bucket.spent[age] + difference)
    elseif difference > 0 then
      charge(bucket, difference)
    end
    store(key, bucket, rate, per, ARGV[arg + 4] == '1')
  end
end
return 1

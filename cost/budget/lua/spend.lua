-- KEYS: the receipt's record, then the bucket of each charge.
-- ARGV: milliseconds that the record lives, id, slots' lease in milliseconds; then of each charge: amount, rate, per
-- (microseconds, 0 = slots), 1 = capped (no per may have more than rate), capacity.
-- Returns a verdict and each bucket's level before its charge (of slots how many are held):
--   ok       all are charged
--   no       one refuses, none is charged
--   again    the same call was carried out before (the client sent it twice); levels are as of now, with all its charges
--   settled  the receipt was settled or cancelled before this call arrived; nothing is charged
local state = redis.call('GET', KEYS[1])
if state == 's' then
  return {'settled'}
end
local verdict = 'ok'
local levels = {}
local slots, buckets = {}, {} -- by key, so that charges on one bucket add up

for i = 2, #KEYS do
  local key, arg = KEYS[i], 5 * (i - 2) + 3
  local amount, rate = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  local per, capacity = tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 5])
  local admits
  if per == 0 then
    slots[key] = slots[key] or held(key)
    levels[i - 1] = exact(slots[key])
    admits = slots[key] + amount <= capacity
  else
    buckets[key] = buckets[key] or drained(key, rate, per)
    local bucket = buckets[key]
    levels[i - 1] = text(bucket)
    admits = bucket.used + amount <= capacity and (ARGV[arg + 4] ~= '1' or spent(bucket) + amount <= rate)
  end
  if state then
    verdict = 'again'
  elseif not admits then
    verdict = 'no'
  elseif per == 0 then
    slots[key] = slots[key] + amount
  else
    buckets[key].used = buckets[key].used + amount
    charge(buckets[key], amount)
  end
end

if verdict ~= 'ok' then
  return {verdict, unpack(levels)}
end

local lease = tonumber(ARGV[3])
for i = 2, #KEYS do
  local key, arg = KEYS[i], 5 * (i - 2) + 3
  local per = tonumber(ARGV[arg + 3])
  if per ~= 0 then
    store(key, buckets[key], tonumber(ARGV[arg + 2]), per, ARGV[arg + 4] == '1')
  elseif tonumber(ARGV[arg + 1]) > 0 then
    local expiry = string.format('%.0f', now + lease * 1000)
    for slot = 1, tonumber(ARGV[arg + 1]) do
      redis.call('ZADD', key, expiry, ARGV[2] .. ':' .. (i - 1) .. ':' .. slot)
    end
    if redis.call('PTTL', key) < lease then
      redis.call('PEXPIRE', key, lease)
    end
  end
end
redis.call('SET', KEYS[1], string.format('o %.0f', now), 'PX', ARGV[1])
return {'ok', unpack(levels)}

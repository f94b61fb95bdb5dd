-- KEYS: the receipt's record, then the bucket of each charge.
-- ARGV: milliseconds that the record lives, id, slots' lease in milliseconds; then of each charge: amount, rate, per
-- (microseconds, 0 = slots), capacity.
-- Returns a verdict and each bucket's level before its charge:
--   ok       all are charged
--   no       one refuses, none is charged
--   again    the same call was carried out before (the client sent it twice); levels are as of now
--   settled  the receipt was settled or cancelled before this call arrived; nothing is charged
local state = redis.call('GET', KEYS[1])
if state == 's' then
  return {'settled'}
end
local again = state == 'o'
local verdict = 'ok'
local levels = {}
local used, at = {}, {} -- by key, so that charges on one bucket add up

for i = 2, #KEYS do
  local key, arg = KEYS[i], 4 * (i - 2) + 3
  local amount, rate = tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2])
  local per, capacity = tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
  if not used[key] then
    if per == 0 then
      used[key] = held(key)
    else
      used[key], at[key] = drained(key, rate, per)
    end
  end
  levels[i - 1] = exact(used[key])
  if not again then
    if used[key] + amount <= capacity then
      used[key] = used[key] + amount
    else
      verdict = 'no'
    end
  end
end

if again then
  return {'again', unpack(levels)}
end
if verdict == 'no' then
  return {'no', unpack(levels)}
end

local lease = tonumber(ARGV[3])
for i = 2, #KEYS do
  local key, arg = KEYS[i], 4 * (i - 2) + 3
  local per = tonumber(ARGV[arg + 3])
  if per ~= 0 then
    store(key, used[key], at[key], tonumber(ARGV[arg + 2]), per)
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
redis.call('SET', KEYS[1], 'o', 'PX', ARGV[1])
return {'ok', unpack(levels)}

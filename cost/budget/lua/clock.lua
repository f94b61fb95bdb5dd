-- Put before each of the other scripts. Time is the server's, in microseconds.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- As many parts of a window are counted apart; the arithmetic from here to spent is that of bucket.go and gcra.go.
local parts = 8

-- part is the number and the length of the part that a time lies in.
local function part(at, per)
  local length = math.ceil(per / parts)
  local number = math.floor(at / length)
  if number * length > at then -- the quotient was rounded up
    number = number - 1
  end
  return number, length
end

-- A window's bucket is the text "used at spent last ...", with what was spent in each part, by age, and when last, up to
-- the oldest that is not zero; an absent one is full. Returns it drained to now. rate units drain each per microseconds.
local function drained(key, rate, per)
  local bucket = {used = 0, at = now, spent = {}, last = {}}
  local value = redis.call('GET', key)
  if value then
    local numbers = {}
    for word in string.gmatch(value, '%S+') do
      numbers[#numbers + 1] = tonumber(word)
    end
    if #numbers < 2 or #numbers % 2 == 1 then
      error('not a bucket: ' .. value)
    end
    local used, at = numbers[1], numbers[2]
    local elapsed, aged = now - at, 0
    if elapsed > 0 then
      used = math.max(0, used - elapsed * rate / per)
      aged = (part(now, per)) - (part(at, per))
    elseif -elapsed <= per then
      bucket.at = at
    end
    bucket.used = used
    for age = 0, parts - aged do
      bucket.spent[age + aged], bucket.last[age + aged] = numbers[2 * age + 3], numbers[2 * age + 4]
    end
  end
  for age = 0, parts do
    if not bucket.last[age] or bucket.last[age] <= bucket.at - per then
      bucket.spent[age], bucket.last[age] = 0, 0
    end
  end
  return bucket
end

local function spent(bucket)
  local sum = 0
  for age = 0, parts do
    sum = sum + bucket.spent[age]
  end
  return sum
end

local function charge(bucket, amount)
  if amount > 0 then
    bucket.spent[0], bucket.last[0] = bucket.spent[0] + amount, bucket.at
  end
end

local function exact(number)
  return string.format('%.17g', number)
end

local function text(bucket)
  local words, last = {exact(bucket.used), string.format('%.0f', bucket.at)}, 2
  for age = 0, parts do
    words[2 * age + 3], words[2 * age + 4] = exact(bucket.spent[age]), string.format('%.0f', bucket.last[age])
    if bucket.spent[age] > 0 then
      last = 2 * age + 4
    end
  end
  return table.concat(words, ' ', 1, last)
end

-- A bucket lives until it is full again, and a second more. capped: what was spent in the last window counts.
local function store(key, bucket, rate, per, capped)
  local full = bucket.at + bucket.used * per / rate
  if capped then
    for age = 0, parts do
      if bucket.spent[age] > 0 then
        full = math.max(full, bucket.last[age] + per)
      end
    end
  end
  if full <= now then
    redis.call('DEL', key)
    return
  end
  local ms = math.ceil((full - now) / 1000) + 1000
  redis.call('SET', key, text(bucket), 'PX', string.format('%.0f', math.min(ms, 1e14)))
end

-- Slots are a sorted set: one member a slot held, scored with the end of its lease.
local function held(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  return redis.call('ZCARD', key)
end

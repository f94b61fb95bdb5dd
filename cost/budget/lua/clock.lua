-- Put before each of the other scripts. Time is the server's, in microseconds.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- A window's bucket is the text "used at"; an absent one is full. Returns it drained to now; level.drain in gcra.go
-- is the same arithmetic. rate units drain each per microseconds.
local function drained(key, rate, per)
  local value = redis.call('GET', key)
  if not value then
    return 0, now
  end
  local used, at = string.match(value, '^(%S+) (%S+)$')
  used, at = tonumber(used), tonumber(at)
  local elapsed = now - at
  if elapsed > 0 then
    return math.max(0, used - elapsed * rate / per), now
  end
  if -elapsed > per then
    return used, now
  end
  return used, at
end

-- A bucket lives until it is full again, and a second more.
local function store(key, used, at, rate, per)
  if used <= 0 then
    redis.call('DEL', key)
    return
  end
  local ms = math.ceil((at - now + used * per / rate) / 1000) + 1000
  redis.call('SET', key, string.format('%.17g %.0f', used, at), 'PX', string.format('%.0f', math.min(ms, 1e14)))
end

-- Slots are a sorted set: one member a slot held, scored with the end of its lease.
local function held(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
  return redis.call('ZCARD', key)
end

local function exact(number)
  return string.format('%.17g', number)
end

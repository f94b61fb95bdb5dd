-- KEYS: one bucket. ARGV: rate, per (microseconds, 0 = slots). Returns its level.
local per = tonumber(ARGV[2])
if per == 0 then
  return exact(held(KEYS[1]))
end
return exact((drained(KEYS[1], tonumber(ARGV[1]), per)))

-- KEYS: one bucket. ARGV: rate, per (microseconds, 0 = slots). Returns its level: of slots how many are held.
local per = tonumber(ARGV[2])
if per == 0 then
  return exact(held(KEYS[1]))
end
return text(drained(KEYS[1], tonumber(ARGV[1]), per))

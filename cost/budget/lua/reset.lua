-- KEYS: one bucket. Slots stay with those who hold them.
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  redis.call('DEL', KEYS[1])
end
return 1

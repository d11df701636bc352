-- publish: how a turn ends on a single Redis, where every inbox is heard.
for i = 1, #messages, 2 do
    -- A push is a hint: one that can not be sent must not turn a written answer into an error.
    redis.pcall('PUBLISH', messages[i], messages[i + 1])
end
return answers

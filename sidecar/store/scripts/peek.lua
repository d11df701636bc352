-- peek: look at a record.
--
-- Argument  '\12'
-- Answers   record limit:4 tenures:4 queue:4, tenures x [ incarnation:16 seq:8 units:4 remaining_ms:8 ],
--           queue x [ incarnation:16 seq:8 units:4 offered:1 ]: the first PEEKED_MAX of each that are not due
-- Keeps     nothing is written, nobody is offered anything; a queue of thousands is not taken apart.

local function peek(whole)
    if not whole then
        return RECORD .. pack('<I4I4I4', 0, 0, 0)
    end
    local _, raw = split(whole)
    if #raw < HEADER_BYTES or raw:sub(1, 3) ~= 'SL\1' then
        -- Says what is wrong with it.
        decode(raw)
    end
    local _, _, _, _, limit, tenures, queue, _, done = unpack_at(HEADER, raw)
    if #raw ~= HEADER_BYTES + tenures * TENURE_BYTES + queue * ENTRY_BYTES + done * DONE_BYTES then
        decode(raw)
    end
    local held, waiting = {}, {}
    for i = 0, math.min(tenures, PEEKED_MAX) - 1 do
        local inc, seq, units, due = unpack_at(TENURE, raw, HEADER_BYTES + 1 + i * TENURE_BYTES)
        if due > now then
            held[#held + 1] = pack('<c16I8I4I8', inc, seq, units, math.floor((due - now) / 1000))
        end
    end
    local from = HEADER_BYTES + 1 + tenures * TENURE_BYTES
    for i = 0, math.min(queue, PEEKED_MAX) - 1 do
        local inc, seq, units, due, offered = unpack_at(ENTRY, raw, from + i * ENTRY_BYTES)
        if due > now then
            waiting[#waiting + 1] = pack('<c16I8I4I1', inc, seq, units, offered % 2)
        end
    end
    return RECORD .. pack('<I4I4I4', limit, #held, #waiting) .. table.concat(held) .. table.concat(waiting)
end

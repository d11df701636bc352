-- force: end every tenure of a key and every offer, by order of a person (P19).
--
-- Counterpart of src/force.rs; what the victims are told is in record.lua.
--
-- Argument  '\13' incarnation:16 seq:8 (0) refuse_after:8 by:4 reason                                  (times in us)
-- Answers   unlocked { incarnation:16 seq:8 units:4 left_us:8 } per tenure | too_late
--           To ask, renew, give_back and withdraw of a victim:  taken seq:8 by:4 reason
-- Keeps     `last` stays the highest fence ever reserved; a tenure that was taken can not come back, and is remembered
--           until its deadline or until its sidecar gives it back whole, whichever is first.

local function force(raw, arg)
    local from, _, refuse_after, by, at = unpack_at('<c16I8I8I4', arg, 2)
    if not raw then
        return now > refuse_after and TOO_LATE or UNLOCKED
    end
    local record = decode(raw)
    settle(record)
    if now > refuse_after then
        return TOO_LATE, record
    end
    local reason, answer, tenures = arg:sub(at), { UNLOCKED }, record.tenures
    record.tenures = {}
    for _, t in ipairs(tenures) do
        answer[#answer + 1] = pack('<c16I8I4I8', t.inc, t.seq, t.units, t.due - now)
        -- Copies of its ask may still be on their way, and none was sent later than now.
        bury(record, t.inc, t.seq, now + REFUSE_AFTER)
        record.forced[#record.forced + 1] = { inc = t.inc, seq = t.seq, due = t.due, by = by, reason = reason }
        if t.inc ~= from then
            wake(t.inc, LOST, t.inc, t.seq)
        end
    end
    for i = #record.queue, 1, -1 do
        if record.queue[i].offered then
            table.remove(record.queue, i)
        end
    end
    offer_on(record)
    return table.concat(answer), record
end

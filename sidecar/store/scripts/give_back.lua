-- give_back: return all but `keep` units of a tenure, and offer on.
--
-- Argument  '\3' incarnation:16 seq:8 keep:4 issued:8 tombstone:8                    (times in us, 0: no tombstone)
-- Answers   returned | gone | taken (see force) | forgotten (see strict)
-- Keeps     only exactly this tenure shrinks, however late or often this arrives (P7); with a tombstone, the ask that
--           made it does not wait any more and can not come back, whatever the answer.

local function give_back(raw, arg)
    local me, seq, keep, issued, tombstone = unpack_at('<c16I8I4I8I8', arg, 2)
    if not raw and tombstone == 0 then
        return quarantine and FORGOTTEN or GONE
    end
    local record = raw and decode(raw) or blank(0)
    settle(record)
    local tenure, i = find(record.tenures, me, seq)
    -- Before its own burial.
    local answer = tenure and RETURNED or (quarantine and forgotten_or_gone or taken_or_gone)(record, me, seq)
    bury(record, me, seq, tombstone)
    if not tenure then
        offer_on(record)
        if keep == 0 then
            acknowledged(record, me, seq)
        end
        return answer, record
    end
    keep_units(record, tenure, i, keep, issued)
    offer_on(record)
    return answer, record
end

-- withdraw: undo an ask, whatever became of it. Queued or offered: removed; granted: shrunk to `keep` units.
--
-- Argument  '\4' incarnation:16 seq:8 keep:4 tombstone:8                             (times in us, 0: no tombstone)
-- Answers   withdrawn | granted (as in ask: a tenure of `keep` units stands) | taken (see force)
-- Keeps     as give_back. `last` stays: whether a fence was handed out under the tenure is not known.

local function withdraw(raw, arg)
    local me, seq, keep, tombstone = unpack_at('<c16I8I4I8', arg, 2)
    if not raw and tombstone == 0 then
        return WITHDRAWN
    end
    local record = raw and decode(raw) or blank(0)
    settle(record)
    bury(record, me, seq, tombstone)
    drop(record.queue, me, seq)
    local forced = taken(record, me)
    if keep == 0 then
        acknowledged(record, me, seq)
    elseif forced then
        offer_on(record)
        return forced, record
    end
    local tenure, i = find(record.tenures, me, seq)
    if tenure then
        keep_units(record, tenure, i, keep)
    end
    offer_on(record)
    if tenure and tenure.units > 0 then
        return granted(record, tenure), record
    end
    return WITHDRAWN, record
end
